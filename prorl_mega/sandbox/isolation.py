"""The kinds of isolation that this machine offers, and the commands that start a sandbox with them.

The first tier is bubblewrap: a user, mount, process, network, IPC and host name-space for each sandbox, and an empty
root with the interpreter and the system's libraries alone, read-only; on top of that, every run gets a scratch, a
process name-space and a system-call filter. The second tier, where name-spaces are forbidden, is Landlock and the same
filter; there is no scratch and no C++, and a program can find out that a path exists, though not what is in it. On a
machine with neither, nothing is run.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from prorl_mega.sandbox import seccomp

GUEST = Path(__file__).with_name("guest")
NOBODY = 65534
_GUEST_FILES = tuple(sorted(GUEST.glob("*.py")))
_GUEST_INSIDE = "/prorl_mega/sandbox/guest"  # where its files are behind bubblewrap
_STAGE = "/mnt"  # where root mounts the interpreter for user nobody, in a mount name-space of the sandbox's own
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/local/lib")
_TOOLCHAIN = ("/usr/bin", "/usr/include", "/usr/libexec", "/usr/local/include", "/bin")
_SMALL = ("/etc/ld.so.cache", "/etc/localtime")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


class IsolationTier(StrEnum):
    """The kinds of isolation of a program from this machine, the strongest first."""

    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    UNCONFINED = "unconfined"  # limits only; never chosen unless a setting asks for it by name


@dataclass(kw_only=True, slots=True, frozen=True)
class SandboxSpec:
    """The way to start one sandbox of a tier."""

    tier: IsolationTier
    command: list[str]
    configuration: dict[str, Any]  # the first message to the guest
    as_nobody: bool = False
    keep: tuple[Path, ...] = field(default=())  # opened for the sandbox; {0}, {1}... in the command


def sandbox_specs(tier: IsolationTier) -> list[SandboxSpec]:
    """The ways to start a sandbox of a tier here, the best first; empty when something that it needs is missing."""
    if tier is not IsolationTier.UNCONFINED and not seccomp.supported():
        return []
    configuration = _configuration(tier)
    if tier is not IsolationTier.BUBBLEWRAP:
        return [SandboxSpec(tier=tier, command=_interpreter(str(GUEST)), configuration=configuration)]
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        return []
    command = _bubblewrap(bubblewrap, sys.base_prefix)
    own = SandboxSpec(tier=tier, command=command, configuration=configuration, keep=_GUEST_FILES)
    tools = [shutil.which(name) for name in ("unshare", "setpriv", "sh", "mount")]
    if os.geteuid() != 0 or None in tools or not Path(_STAGE).is_dir():
        return [own]
    # Root becomes the user `nobody` first, who may lack access to the interpreter's own path.
    stage = 'mount --bind "$1" "$2" && shift 2 && exec setpriv --reuid="$0" --regid="$0" --clear-groups -- "$@"'
    command = ["unshare", "--mount", "sh", "-c", stage, str(NOBODY), sys.base_prefix, _STAGE]
    command += _bubblewrap(bubblewrap, _STAGE)
    return [dataclasses.replace(own, command=command, as_nobody=True), own]


def _configuration(tier: IsolationTier) -> dict[str, Any]:
    """The first message to the guest."""
    readable = [sys.base_prefix, *_LIBRARIES, *_SMALL, *_DEVICES]
    return {
        "namespaces": tier is IsolationTier.BUBBLEWRAP,
        "landlock": [path for path in readable if os.path.exists(path)] if tier is IsolationTier.LANDLOCK else [],
        "filter": None if tier is IsolationTier.UNCONFINED else seccomp.program_filter().hex(),
        "compiler_filter": None if tier is IsolationTier.UNCONFINED else seccomp.compiler_filter().hex(),
        "parent": 0 if tier is IsolationTier.BUBBLEWRAP else os.getpid(),
    }


def _interpreter(guest: str) -> list[str]:
    """The command for the interpreter: no environment, no packages at all, no byte code written."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [os.path.join(sys.base_prefix, "bin", version), "-I", "-S", "-B", guest]


def _bubblewrap(executable: str, interpreter_at: str) -> list[str]:
    """The command line, with {0}, {1}... for the descriptors of the guest's files."""
    command = [executable, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--as-pid-1"]
    command += ["--clearenv", "--setenv", "PYTHONHASHSEED", "0", "--setenv", "LC_ALL", "C.UTF-8"]
    command += ["--hostname", "sandbox", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    command += ["--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"]  # for the scratch; no program has it
    for path in (*_LIBRARIES, *_TOOLCHAIN):
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            command += ["--ro-bind", path, path]
    for path in _SMALL:
        command += ["--ro-bind-try", path, path]
    command += ["--ro-bind", interpreter_at, sys.base_prefix]
    for path in _DEVICES:
        command += ["--dev-bind", path, path]
    for number, file in enumerate(_GUEST_FILES):
        command += ["--ro-bind-data", f"{{{number}}}", f"{_GUEST_INSIDE}/{file.name}"]
    command += ["--dir", "/tmp", "--remount-ro", "/", "--chdir", "/"]
    return [*command, "--", *_interpreter(_GUEST_INSIDE)]
