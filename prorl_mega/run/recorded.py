"""The settings of a run that is on disk, with changes from a command line on top."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prorl_mega.config.messages import explain
from prorl_mega.config.schema import EvaluateConfig
from prorl_mega.errors import ConfigError
from prorl_mega.run.changes import CONFIG
from prorl_mega.run.checkpoints import MODEL
from prorl_mega.run.chosen import finished_checkpoints
from prorl_mega.run.evaluations import BASE, FINAL
from prorl_mega.run.settings import read_tree, with_defaults


def run_directory(root: str, run: str) -> Path:
    """The directory of a run, given by its name under `root` or by a path. Raises ConfigError if there is none."""
    candidates = [Path(root) / run, Path(run)]
    for directory in candidates:
        if (directory / CONFIG).is_file():
            return directory if directory.name not in ("", "..") else directory.resolve()
    raise ConfigError(f"run={run}: there is no {candidates[0] / CONFIG}; name a run under {root}/, or its directory")


def with_recorded(settings: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The settings of the run that `settings.run` names; where `overrides`, those of the command line, set a key or
    choose a file of a group, what `settings` has in its place.

    Raises ConfigError for a run that is not there or cannot be read.
    """
    directory = run_directory(settings.root, settings.run)
    tree = with_defaults(read_tree(directory / CONFIG))
    try:
        found = OmegaConf.merge(OmegaConf.structured(EvaluateConfig), tree)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{directory / CONFIG}: {explain(error, EvaluateConfig)}") from None
    assert isinstance(found, DictConfig)
    found.root, found.name = str(directory.parent), directory.name
    checkpoints = finished_checkpoints(directory)
    if models := [each / MODEL for each in checkpoints if (each / MODEL).is_dir()]:  # those of all are the same
        found.model.path = str(models[-1])
    parser = OverridesParser.create()
    for text in overrides:
        override = parser.parse_override(text)
        key = override.key_or_group
        if key == "experiment":
            raise ConfigError(f"{text}: run={settings.run} has its own settings; leave one of the two out")
        if override.is_delete():
            parent, _, name = key.rpartition(".")
            with suppress(KeyError, OmegaConfBaseException):
                del OmegaConf.select(found, parent)[name]
            continue
        OmegaConf.update(found, key, OmegaConf.select(settings, key), merge=False, force_add=True)
    found.label = settings.label  # a sweep may have given it
    if found.label in (BASE, FINAL):
        raise ConfigError(f"label={found.label}: training keeps its own results under this name; choose another one")
    return found
