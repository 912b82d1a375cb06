"""Packages beyond the standard library for programs in a sandbox: their folders alone, read-only, imported early.

They come from the environment of this process, whose interpreter is the sandbox's as well.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from prorl_mega.errors import ConfigError
from prorl_mega.sandbox.isolation import IsolationTier, SandboxSpec
from prorl_mega.sandbox.job import Ending, Limits, script
from prorl_mega.sandbox.pool import Sandbox

_INSIDE = "/packages"  # where the folders are behind bubblewrap
_STAGE = "/media"  # where root mounts them for user nobody, in a mount name-space of the sandbox's own
_MOUNT = (
    'mount -t tmpfs packages "$0" && while [ "$1" != -- ]; do '
    'if [ -d "$1" ]; then mkdir "$0/$2"; else : > "$0/$2"; fi && mount --bind "$1" "$0/$2" || exit 1; shift 2; '
    'done && shift && exec "$@"'
)


def provide(spec: SandboxSpec, names: Sequence[str]) -> SandboxSpec:
    """The same way to start a sandbox, with these packages in it. Raises ConfigError if one is not installed."""
    files = [file for name in dict.fromkeys(names) for file in _files(name)]
    if not files:
        return spec
    inside = [_INSIDE] if spec.tier is IsolationTier.BUBBLEWRAP else sorted({str(file.parent) for file in files})
    configuration = {**spec.configuration, "packages": {"paths": inside, "names": list(names)}}
    if spec.tier is not IsolationTier.BUBBLEWRAP:
        configuration["landlock"] = spec.configuration["landlock"] and [
            *spec.configuration["landlock"],
            *map(str, files),
        ]
        return dataclasses.replace(spec, configuration=configuration)
    sources = {file.name: f"{_STAGE}/{file.name}" if spec.as_nobody else str(file) for file in files}
    command, last = spec.command, spec.command.index("--remount-ro")
    binds = [part for name, source in sources.items() for part in ("--ro-bind", source, f"{_INSIDE}/{name}")]
    command = [*command[:last], *binds, *command[last:]]
    if spec.as_nobody:
        pairs = [part for file in files for part in (str(file), file.name)]
        command = ["unshare", "--mount", "sh", "-c", _MOUNT, _STAGE, *pairs, "--", *command]
    return dataclasses.replace(spec, command=command, configuration=configuration)


def prove(spec: SandboxSpec, names: Sequence[str]) -> None:
    """Import the packages in a sandbox. Raises ConfigError with the reason if that does not work."""
    source = "".join(f"import {name}\n" for name in names)
    with Sandbox(spec) as sandbox:
        (result,) = sandbox.run([script(source, "", Limits())])
    if result.ending is not Ending.FINISHED:
        raise ConfigError(
            f"packages {', '.join(names)}: cannot be imported in the sandbox ({' '.join(result.detail.split())}); "
            "packages that they need have to be named too"
        )


def _files(name: str) -> list[Path]:
    """The folder or the file of a package, and the folder with the libraries that its wheel brought along."""
    if not name.isidentifier():
        raise ConfigError(f"packages: {name[:40]!r} is not the name of a package, as one imports it")
    if name in sys.stdlib_module_names:
        return []
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    places = [] if found is None else [*(found.submodule_search_locations or ()), found.origin]
    if not places or places[0] is None:
        raise ConfigError(f"packages: {name} is not installed in the environment of {sys.executable}")
    file = Path(places[0]).resolve()
    return [each for each in (file, file.with_name(f"{name}.libs")) if each.exists()]
