"""Packages whose `__init__` files need more than the kernel that is wanted."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from types import ModuleType


def replace_parents(*names: str) -> None:
    """Packages with the same folders whose `__init__` files do not run; parents come before their children.

    Raises ImportError for one that is not installed.
    """
    for name in names:
        parent = sys.modules.get(name.rpartition(".")[0])
        spec = PathFinder.find_spec(name, None if parent is None else parent.__path__)
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError(f"no package {name}")
        package = ModuleType(name)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[name] = package
