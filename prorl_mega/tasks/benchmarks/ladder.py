"""Puzzles of reasoning-gym as benchmarks, at one difficulty or at several.

    gym/acre                                     the data set `acre` at its default settings; `acre` alone is the same
    graph_color:num_vertices=5/8/10              a ladder: one entry of the mixture for each number of vertices
    chain_sum:level=0-3                          the levels of the data set's curriculum
    graph_color:num_vertices=5/10:num_colors=4   further settings are the same on every rung

A parameter is a setting of the data set, `x` for `min_x` and `max_x` together, or `level`.
"""

from __future__ import annotations

import re
from typing import Any

from prorl_mega.config.schema import TaskConfig
from prorl_mega.errors import ConfigError
from prorl_mega.tasks.logic import gym
from prorl_mega.tasks.registry import nearest

PROBLEMS = 100  # of each data set (section 4 of the paper)
MOST_RUNGS = 64
PREFIX = "gym/"
_LEVEL = "level"
_RANGE = re.compile(r"(\d{1,6})-(\d{1,6})")


def is_known(name: str) -> bool:
    """Whether this is the name of a data set that can be used, without parameters."""
    return name.removeprefix(PREFIX) in gym.datasets()


def rungs(text: str) -> dict[str, TaskConfig]:
    """The entries of a data set or a ladder of it. Raises ConfigError for parameters that it does not have."""
    name, *settings = text.split(":")
    dataset = name.removeprefix(PREFIX)
    values = dict(_setting(each, text) for each in settings)
    if len(values) < len(settings):
        raise ConfigError(f"{text}: a parameter is there twice")
    several = [parameter for parameter, each in values.items() if len(each) > 1]
    if len(several) > 1:
        raise ConfigError(f"{text}: {' and '.join(several)} have several values; one parameter may, as a ladder has")
    parameter = several[0] if several else next(iter(values), None)
    entries = {}
    for value in values[parameter] if parameter else [None]:
        chosen = {key: value if key == parameter else each[0] for key, each in values.items()}
        suffix = "".join(f"_{key}_{_word(each)}" for key, each in chosen.items())
        entries[f"gym_{dataset}{suffix}"] = TaskConfig(
            name="reasoning_gym", weight=0.0, problems=PROBLEMS, options=_options(dataset, chosen, text)
        )
    _need_sound(entries, text)
    return entries


def parameters(dataset: str) -> list[str]:
    """The parameters of a data set, in the order of its settings."""
    names = list(gym.settings(dataset))
    both = {name: name[4:] for name in names if name.startswith("min_") and f"max_{name[4:]}" in names}
    listed = [both[name] for name in names if name in both]
    return [*listed, *names, *([_LEVEL] if gym.levels(dataset) else [])]


def _setting(text: str, whole: str) -> tuple[str, list[Any]]:
    parameter, equals, values = text.partition("=")
    if not equals or not parameter or not values:
        raise ConfigError(f"{whole}: {text!r} is no parameter=value, or parameter=value/value/…")
    found: list[Any] = []
    for value in values.split("/"):
        if match := _RANGE.fullmatch(value):
            first, last = int(match[1]), int(match[2])
            if not first <= last < first + MOST_RUNGS:
                raise ConfigError(f"{whole}: {value} must go up, by less than {MOST_RUNGS}")
            found += range(first, last + 1)
        else:
            found.append(_parsed(value))
    if len(found) > MOST_RUNGS or len(set(map(str, found))) < len(found):
        raise ConfigError(f"{whole}: {parameter} must have different values, at most {MOST_RUNGS}")
    return parameter, found


def _parsed(value: str) -> Any:
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _options(dataset: str, chosen: dict[str, Any], text: str) -> dict[str, Any]:
    """Options of the task `reasoning_gym`, with its published scores of partial solutions."""
    options: dict[str, Any] = {"dataset": dataset, "credit": "all"}
    config: dict[str, Any] = {}
    names = gym.settings(dataset)
    for parameter, value in chosen.items():
        known = parameters(dataset)
        if parameter not in known:
            near = nearest(parameter, known)
            raise ConfigError(f"{text}: {dataset} has no parameter {parameter!r}{near}. It has {', '.join(known)}")
        if parameter == _LEVEL:
            options[_LEVEL] = value
            continue
        for name in [parameter] if parameter in names else [f"min_{parameter}", f"max_{parameter}"]:
            config[name] = _typed(value, names[name], f"{text}: {name}")
    return options | ({"config": config} if config else {})


def _typed(value: Any, default: Any, where: str) -> Any:
    """A value of the type of the setting's default. Raises ConfigError."""
    fits = isinstance(value, bool) is isinstance(default, bool)
    if isinstance(default, bool | int | float):
        kinds = (int, float) if isinstance(default, float) else (int,)
        if not fits or not isinstance(value, kinds):
            raise ConfigError(f"{where} must be of type {type(default).__name__}, as {default!r}, not {value!r}")
    return value


def _word(value: Any) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", str(value))


def _need_sound(entries: dict[str, TaskConfig], text: str) -> None:
    """Raise ConfigError for a rung that the data set itself refuses."""
    for entry, config in entries.items():
        try:
            gym.check_options(entry, config.options)
        except ConfigError as error:
            reason = str(error).removeprefix(f"tasks.mixture.{entry}.")
            raise ConfigError(f"{text}: {reason}") from None
