"""The resolved settings of a run on disk: config.yaml."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from prorl_mega.config.bounds import LARGEST
from prorl_mega.config.keys import flatten
from prorl_mega.config.renamed import translated
from prorl_mega.config.schedule import StageConfig
from prorl_mega.config.schema import RunConfig, TaskConfig
from prorl_mega.documents import brief, read_yaml
from prorl_mega.errors import ConfigError
from prorl_mega.run.storage import write_durably

CONFIG = "config.yaml"

_SECRET = re.compile(
    r"token|password|passwd|secret|credentials?|(.*_)?(api_key|access_key|auth_token|access_token)", re.I
)

_ALIKE: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int, float), float: (int, float)}


def to_plain(config: RunConfig) -> dict[str, Any]:
    """Nested dicts of plain values, enums by name; values of options that look like secrets are hidden."""
    return _plain(dataclasses.asdict(config))


def is_secret(key: str) -> bool:
    """Whether a setting's last name says that its value is a secret."""
    return _SECRET.fullmatch(key.rpartition(".")[2]) is not None


def write_settings(path: Path, config: RunConfig) -> None:
    """Write the settings. Raises ConfigError for those that could not be read back when the run goes on."""
    header = "# The settings of this run, as they were resolved. Written by the program; changing it has no effect.\n"
    write_durably(path, header + yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True))
    try:
        read_tree(path)
    except ConfigError as error:
        raise ConfigError(
            f"these settings cannot be read back, as a run that shall go on later has to: {error}"
        ) from None


def read_settings(path: Path) -> dict[str, Any]:
    """Dotted settings of a run directory; see `read_tree`."""
    return flatten(read_tree(path))


def read_tree(path: Path) -> dict[str, Any]:
    """Nested settings of a run directory, those of version 0.1 under their current names.

    Raises ConfigError when the file is not what `write_settings` writes.
    """
    try:
        tree = read_yaml(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return checked_tree(tree, path)


def checked_tree(tree: Any, path: Path) -> dict[str, Any]:
    """Nested settings, those of version 0.1 under their current names.

    Raises ConfigError for a tree that `to_plain` does not make: a group that is none, a number that is not finite.
    """
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} does not contain settings")
    try:
        tree = translated(tree)
    except (AttributeError, TypeError):
        raise ConfigError(f"{path} does not contain settings: a group is none") from None
    for key, fault in _faults(tree, to_plain(RunConfig())):
        raise ConfigError(f"{path}: {key} {fault}; put the file back as it was")
    return tree


def _faults(found: Any, default: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of settings that cannot have been written, and what is wrong with them."""
    if isinstance(default, dict) and not isinstance(found, dict):
        yield key, f"is {brief(found)} and not a group of settings"
    elif isinstance(default, list) and not isinstance(found, list):
        yield key, f"is {brief(found)} and not a list"
    elif isinstance(default, int | float) and type(found) not in _ALIKE[type(default)]:
        yield key, f"is {brief(found)}, where {brief(default)} would do"
    elif isinstance(default, str) and isinstance(found, dict | list):
        yield key, f"is {brief(found)} and not a text"
    elif isinstance(found, dict):
        inner = default if isinstance(default, dict) else {}
        each_is_group: Any = {} if key == "tasks.mixture" else None
        for name, value in found.items():
            if not isinstance(name, str):
                yield f"{key}.{brief(name)}", "is not the name of a setting"
            else:
                yield from _faults(value, inner.get(name, each_is_group), f"{key}.{name}".lstrip("."))
    elif isinstance(found, list):
        for index, value in enumerate(found):
            yield from _faults(value, {} if key == "schedule.stages" else None, f"{key}[{index}]")
    elif isinstance(found, int | float) and not abs(found) <= LARGEST[float]:  # NaN as well
        yield key, f"is {brief(found)} and not a number that settings may have"


def with_defaults(tree: dict[str, Any]) -> dict[str, Any]:
    """A copy of nested settings in which those that are newer than the run have their defaults."""
    tree = _completed(tree, to_plain(RunConfig()))
    entry, stage = _plain(dataclasses.asdict(TaskConfig())), _plain(dataclasses.asdict(StageConfig()))
    mixture, schedule = tree["tasks"]["mixture"], tree["schedule"]
    tree["tasks"] = tree["tasks"] | {"mixture": {name: _completed(each, entry) for name, each in mixture.items()}}
    tree["schedule"] = schedule | {"stages": [_completed(each, stage) for each in schedule["stages"]]}
    return tree


def _completed(tree: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    filled = {
        key: _completed(tree[key], value) if isinstance(value, dict) and isinstance(tree.get(key), dict) else value
        for key, value in defaults.items()
        if key not in tree or isinstance(value, dict)
    }
    return tree | filled


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {
            str(key): "(hidden)" if is_secret(str(key)) and isinstance(each, str) else _plain(each)
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
