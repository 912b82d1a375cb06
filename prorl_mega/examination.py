"""The beginning that all examinations of `prorl_mega.doctor` share: the settings of one job, under a name."""

from __future__ import annotations

import sys
from typing import NoReturn

from omegaconf import DictConfig, OmegaConf

from prorl_mega.config.compose import to_config
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ConfigError, exit_status
from prorl_mega.tasks.benchmarks import with_benchmarks


def refuse_sweeps() -> None:
    """End the program where its command line asks for several jobs."""
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        sys.exit(exit_status(_refuse_sweep))


def examined_config(settings: DictConfig, world_size: int) -> RunConfig:
    """The settings of a run of `world_size` ranks, which needs no name here: nothing is written under it."""
    if OmegaConf.is_missing(settings, "name"):
        settings.name = "doctor"
    return to_config(settings, RunConfig, world_size, with_benchmarks)


def _refuse_sweep() -> NoReturn:
    raise ConfigError("--multirun: one examination has one set of settings; start it once for each")
