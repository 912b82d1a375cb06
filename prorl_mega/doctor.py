"""Examinations of a set-up: each builds what a run builds, looks at one thing, and leaves nothing on disk.

    python -m prorl_mega.doctor parity experiment=demo              do sampler and learner compute the same model?
    python -m prorl_mega.doctor sync experiment=demo                do weights reach the engines, and how fast?
    python -m prorl_mega.doctor parity --help                       how it examines, what it takes, its exit codes

Settings are those of `prorl_mega.train`: whatever is started there can be examined here first, under torchrun and srun
as well. (`python -m prorl_mega.sandbox doctor` examines the isolation of programs that a model wrote.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from prorl_mega import parity_examination, sync_examination
from prorl_mega.errors import ConfigError, exit_status

EXAMINATIONS: dict[str, Callable[[list[str]], NoReturn]] = {
    "parity": parity_examination.examine,
    "sync": sync_examination.examine,
}
"""The programs by name. Each gets the rest of the command line, and imports what takes seconds once it is checked."""


def main(arguments: list[str]) -> NoReturn:
    name = next((each for each in arguments if each in EXAMINATIONS), None)  # flags may stand before it
    if name is not None:
        arguments.remove(name)
        EXAMINATIONS[name](arguments)
    if {"--help", "-h"} & set(arguments):
        print(__doc__)
        sys.exit(0)
    sys.exit(exit_status(_refuse))


def _refuse() -> NoReturn:
    examples = ", ".join(f"`python -m prorl_mega.doctor {name} experiment=demo`" for name in EXAMINATIONS)
    raise ConfigError(f"say what to examine: {examples}; --help has more")


if __name__ == "__main__":
    main(sys.argv[1:])
