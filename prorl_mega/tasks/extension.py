"""Tasks of your own: Python files or installed modules that `tasks.modules` names.

A module registers its tasks when it is imported, here and in every worker process; `prorl_mega.plugins` says which
files are refused.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType

from prorl_mega.plugins import load_module


def load(names: list[str], where: str) -> list[ModuleType]:
    """Import what `tasks.modules` names: files ("examples/my_task.py") and modules ("our_tasks.puzzles").

    Raises ConfigError, which names the setting `where`.
    """
    return [load_module(name, key=where) for name in names]


def digests(names: list[str]) -> dict[str, str]:
    """Hashes of the files of loaded modules; what these import is not covered."""
    found = {}
    for name in names:
        if file := name if name.endswith(".py") else sys.modules[name].__file__:
            found[name] = hashlib.blake2b(Path(file).read_bytes(), digest_size=16).hexdigest()
    return found
