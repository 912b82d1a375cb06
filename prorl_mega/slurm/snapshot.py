"""A copy of the code that submits a job: a job that waits for days is run by what was there when it was submitted."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from prorl_mega.config.compose import config_directory
from prorl_mega.errors import StorageError
from prorl_mega.run.provenance import COMMIT, commit

_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")
SCRIPTS = "slurm"


def copy_code(destination: Path) -> None:
    """The packages, the configuration files and the scripts of Slurm, so that `destination` is a place to import from.

    What is installed beside them (torch, vLLM) is not copied. Raises StorageError.
    """
    configs = config_directory()
    parts = {"prorl_mega": _package("prorl_mega"), "prorl_kernels": _package("prorl_kernels"), "configs": configs}
    scripts = configs.parent / SCRIPTS
    if scripts.is_dir():  # a checkout
        parts[SCRIPTS] = scripts
    try:
        for name, source in parts.items():
            shutil.copytree(source, destination / name, ignore=_LEFT_OUT)
        (destination / COMMIT).write_text(commit() + "\n")
    except (OSError, shutil.Error) as error:
        raise StorageError(f"{destination}: the code cannot be copied there: {error}") from None


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None, name
    locations = found.submodule_search_locations
    assert locations, name
    return Path(next(iter(locations))).resolve()
