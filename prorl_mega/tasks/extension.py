"""Tasks of your own: Python files or installed modules that `tasks.modules` names.

A module registers its tasks when it is imported, here and in every worker process. It is code and runs with your
rights: only settings and the command line can name one, never a data file, and a world-writable file is refused. The
folder of a file goes to the end of the import path, so that nothing in it replaces another module.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import stat
import sys
import traceback
from pathlib import Path
from types import ModuleType

from prorl_mega.errors import ConfigError


def load(names: list[str], where: str) -> list[ModuleType]:
    """Import what `tasks.modules` names: files ("examples/my_task.py") and modules ("our_tasks.puzzles").

    Raises ConfigError, which names the setting `where`.
    """
    return [_file(Path(name), where) if name.endswith(".py") else _module(name, where) for name in names]


def digests(names: list[str]) -> dict[str, str]:
    """Hashes of the files of loaded modules; what these import is not covered."""
    found = {}
    for name in names:
        if file := name if name.endswith(".py") else sys.modules[name].__file__:
            found[name] = hashlib.blake2b(Path(file).read_bytes(), digest_size=16).hexdigest()
    return found


def _file(path: Path, where: str) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise ConfigError(f"{where}: {path}: no such file")
    if path.stat().st_mode & stat.S_IWOTH:
        raise ConfigError(f"{where}: {path} is code, and everybody may change it; take that right away (chmod o-w)")
    name = path.stem
    if not name.isidentifier():
        raise ConfigError(f"{where}: {path}: the name of a module consists of letters, digits and underscores")
    if name not in sys.modules and str(path.parent) not in sys.path:
        if importlib.util.find_spec(name) is not None:
            raise ConfigError(f"{where}: {path}: there is another module called {name!r}; choose another name")
        sys.path.append(str(path.parent))
    module = _module(name, where)
    if Path(module.__file__ or "").resolve() != path:
        raise ConfigError(f"{where}: {path}: there is another module called {name!r} ({module.__file__}); rename one")
    return module


def _module(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{where}: {name} cannot be imported: {type(error).__name__}: {error}{_place(error)}"
        ) from error


def _place(error: BaseException) -> str:
    """File and line of the innermost frame of an error's traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
