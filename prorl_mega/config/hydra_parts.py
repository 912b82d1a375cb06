"""The objects that Hydra's own settings name and Hydra calls: those of this project, and no others.

Hydra makes launchers, callbacks and the handlers of loggers from names in its settings, `_target_: os.system` as well.
An experiment file could bring any of them along, and whoever tries out a file of somebody else would run it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prorl_mega.config.optuna_study import OptunaSweeperConfig
from prorl_mega.errors import ConfigError

_SUBMITIT = "hydra_plugins.hydra_submitit_launcher.submitit_launcher"
_TARGETS = {
    "hydra.launcher._target_": (
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        f"{_SUBMITIT}.SlurmLauncher",
        f"{_SUBMITIT}.LocalLauncher",
    ),
    "hydra.sweeper._target_": (
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        OptunaSweeperConfig._target_,
    ),
}
_LOGGING = ("hydra.hydra_logging.", "hydra.job_logging.")
_HANDLERS = ("logging.StreamHandler", "logging.FileHandler")
_LOG_FILE = "${hydra.runtime.output_dir}/${hydra.job.name}.log"
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_DEEPEST = 64
_load_configuration = ConfigLoaderImpl.load_configuration


def guard_hydra() -> None:
    """Check all settings that are composed in this process, before Hydra acts on them."""
    ConfigLoaderImpl.load_configuration = _checked


def _checked(self: ConfigLoaderImpl, *arguments: Any, **options: Any) -> DictConfig:
    settings = _load_configuration(self, *arguments, **options)
    refuse_foreign_parts(settings.hydra)
    return settings


def refuse_foreign_parts(settings: DictConfig) -> None:
    """Raise ConfigError for the first object that Hydra's settings `hydra` name and this project does not use."""
    for key, value in _leaves(settings, "hydra"):
        name = key.rpartition(".")[2]
        known: tuple[str, ...] | None = None
        if name in ("_target_", "()"):
            known = _TARGETS.get(key, ())
        elif key.startswith(_LOGGING) and name in ("class", "filename"):
            known = _HANDLERS if name == "class" else (_LOG_FILE,)
        elif isinstance(value, str) and value.startswith("ext://"):
            known = _STREAMS
        if known is not None and value not in known:
            works = f"these work: {', '.join(known)}" if known else "leave it out"
            raise ConfigError(f"{key}={str(value)[:100]!r}: settings name no code for Hydra to call; {works}")


def _leaves(container: DictConfig | ListConfig, key: str) -> Iterator[tuple[str, Any]]:
    """Every value that is no container, as it is written, with its dotted key; also of what is referred to."""
    if key.count(".") > _DEEPEST:
        raise ConfigError(f"{key[:100]}: settings that contain themselves")
    written = OmegaConf.to_container(container, resolve=False)
    for name in list(container) if isinstance(container, DictConfig) else range(len(container)):
        inner = f"{key}.{name}"
        try:
            value = container[name]
        except OmegaConfBaseException:  # it has no value, for Hydra neither
            value = None
        if isinstance(value, DictConfig | ListConfig):
            yield from _leaves(value, inner)
        else:
            yield inner, written[name]  # type: ignore[index]  # a dict or a list
