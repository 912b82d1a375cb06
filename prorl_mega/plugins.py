"""Code of your own, named in the settings: "package.module:name" or "path/to/file.py:name".

It is imported with your rights, so only settings and the command line may name it, never a data file; a file that
everybody can write is refused. The folder of a file becomes importable after everything else, so that nothing in it
replaces another module. Paths are relative to the working directory.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import stat
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from prorl_mega.errors import ConfigError

FORMS = "package.module:name or path/to/file.py:name"


def resolve(value: str, known: Mapping[str, Any], *, what: str, key: str) -> Any:
    """The entry of `known` called `value`, or the object that `load` finds under it.

    Raises ConfigError, which names the setting `key` and says which values of this kind (`what`) would work.
    """
    if value in known:
        return known[value]
    if ":" in value:
        return load(value, what=what, key=key)
    names = ", ".join(sorted(known))
    raise ConfigError(f"{key}={value}: no such {what}{_guess(value, known)}; it is one of {names}, or yours: {FORMS}")


def load(reference: str, *, what: str, key: str, kind: type | None = None) -> Any:
    """The function or class, or the object of `kind`, that `reference` names. Raises ConfigError, which names `key`."""
    source, _, name = reference.rpartition(":")
    if not source or not name:
        raise ConfigError(f"{key}={reference}: does not name a {what}; write {FORMS}")
    module = load_module(source, key=key)
    if not hasattr(module, name):
        fits = callable if kind is None else lambda value: isinstance(value, kind)
        names = [each for each, value in vars(module).items() if fits(value) and not each.startswith("_")]
        listed = ", ".join(names) or f"no {what}"
        raise ConfigError(f"{key}={reference}: {source} has no {name!r}{_guess(name, names)}; it has {listed}")
    found = getattr(module, name)
    if not (callable(found) if kind is None else isinstance(found, kind)):
        wanted = "a function or a class" if kind is None else f"a {kind.__name__}"
        raise ConfigError(f"{key}={reference}: {name} has the type {type(found).__name__}; a {what} has to be {wanted}")
    return found


def load_module(source: str, *, key: str) -> ModuleType:
    """The module "package.module", or the one in the file "path/to/file.py". Raises ConfigError, which names `key`."""
    return _file(Path(source), key) if source.endswith(".py") else _module(source, key)


def _file(path: Path, key: str) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise ConfigError(f"{key}: {path}: no such file")
    if path.stat().st_mode & stat.S_IWOTH:
        raise ConfigError(f"{key}: {path} is code, and everybody may change it; take that right away (chmod o-w)")
    name = path.stem
    if not name.isidentifier():
        raise ConfigError(f"{key}: {path}: the name of a module consists of letters, digits and underscores")
    if name not in sys.modules and str(path.parent) not in sys.path:
        if importlib.util.find_spec(name) is not None:
            raise ConfigError(f"{key}: {path}: there is another module called {name!r}; choose another name")
        sys.path.append(str(path.parent))
    module = _module(name, key)
    if Path(module.__file__ or "").resolve() != path:
        raise ConfigError(f"{key}: {path}: there is another module called {name!r} ({module.__file__}); rename one")
    return module


def _module(name: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ConfigError:
        raise
    except Exception as error:
        place = _place(error, name)
        raise ConfigError(f"{key}: {name} cannot be imported: {type(error).__name__}: {error}{place}") from error


def _place(error: Exception, name: str) -> str:
    """The file and line in the module, or below it, that raised while it was imported."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [each for each in frames if Path(each.filename).stem == name.rpartition(".")[2]] or frames
    return f" ({inside[-1].filename}:{inside[-1].lineno})"


def _guess(name: str, names: Mapping[str, Any] | list[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""
