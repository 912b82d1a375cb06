"""The settings of each stage of `schedule.stages`: those of the run, changed stage after stage.

A stage changes only what can change while a run goes on; it cannot change the model, its layout or the engine's
memory, which are built once. The engine is therefore built for the longest answer of all stages (`longest_response`).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prorl_mega.config.keys import Branch, flatten, setting_keys
from prorl_mega.config.messages import explain, unknown_key
from prorl_mega.config.schema import RunConfig, TasksConfig
from prorl_mega.errors import ConfigError

MAY_CHANGE = {
    "rollout": ("temperature", "max_response_tokens"),
    "optimizer": ("learning_rate", "warmup_steps"),
}
"""The only keys of these groups that a stage may set; in `recipe` all but `curriculum`, in `tasks` entries' weights."""


def stage_settings(config: RunConfig) -> list[RunConfig]:
    """The settings in force in every stage, `[config]` when there are no stages.

    They are resolved, not validated: `validate` looks at each of them. Raises ConfigError, which starts with
    "schedule.stages[2].recipe.x", for what a stage cannot set and for values of the wrong type.
    """
    settings = []
    current = config
    for index, stage in enumerate(config.schedule.stages):
        try:
            current = dataclasses.replace(
                current,
                recipe=_changed("recipe", current.recipe, stage.recipe),
                rollout=_changed("rollout", current.rollout, stage.rollout),
                optimizer=_changed("optimizer", current.optimizer, stage.optimizer),
                tasks=_reweighed(current.tasks, stage.tasks),
            )
        except ConfigError as error:
            raise ConfigError(f"schedule.stages[{index}].{error}") from None
        settings.append(_scaled(current, config) if stage.sqrt_batch else current)
    return settings or [config]


def longest_response(config: RunConfig, stages: list[RunConfig]) -> int:
    """`rollout.max_response_tokens` that an engine for all stages and evaluations has to be built for."""
    return max(config.evaluation.max_response_tokens, _longest_trained(config, stages))


def compared_response(config: RunConfig, stages: list[RunConfig]) -> int:
    """The response tokens of evaluations that are compared: those at both ends of a run, and of `evaluate`."""
    return config.evaluation.max_response_tokens or _longest_trained(config, stages)


def _longest_trained(config: RunConfig, stages: list[RunConfig]) -> int:
    return max(each.rollout.max_response_tokens for each in (config, *stages))


def _changed(group: str, branch: Branch, changes: dict[str, Any]) -> Branch:
    """A copy of a settings object with some keys set, each checked for existence and type."""
    if not changes:
        return branch
    tree = OmegaConf.create({group: OmegaConf.structured(branch)})
    known = setting_keys(RunConfig)
    for key, value in flatten(changes).items():
        name = f"{group}.{key}"
        if name not in known:
            raise ConfigError(unknown_key(name, RunConfig))
        if name.startswith("recipe.curriculum"):
            raise ConfigError(
                f"{name} cannot change while a run goes on: what was learned about problems depends on it"
            )
        allowed = MAY_CHANGE.get(group)
        if allowed is not None and key not in allowed:
            works = ", ".join(f"{group}.{each}" for each in allowed)
            raise ConfigError(f"{name} cannot change while a run goes on; of this group a stage may set {works}")
        try:
            OmegaConf.update(tree, name, value)
        except OmegaConfBaseException as error:
            raise ConfigError(explain(error, RunConfig)) from None
    changed = OmegaConf.to_object(tree[group])
    assert isinstance(changed, type(branch))
    return changed


def _reweighed(tasks: TasksConfig, changes: dict[str, Any]) -> TasksConfig:
    mixture = dict(tasks.mixture)
    for key, weight in flatten(changes).items():
        group, _, rest = key.partition(".")
        entry, _, setting = rest.rpartition(".")
        if group != "mixture" or setting != "weight":
            raise ConfigError(
                f"tasks.{key} cannot change while a run goes on; a stage may set tasks.mixture.<entry>.weight"
            )
        if entry not in mixture:
            raise ConfigError(f"tasks.{key}: the mixture has no such entry; it has {', '.join(mixture)}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise ConfigError(f"tasks.{key}={weight!r} must be a number of at least 0 (0: not drawn in this stage)")
        mixture[entry] = dataclasses.replace(mixture[entry], weight=float(weight))
    reweighed = dataclasses.replace(tasks, mixture=mixture)
    if mixture and not any(weight > 0 for weight in reweighed.training_weights().values()):
        raise ConfigError("tasks.mixture: every weight is 0; there has to be something to learn from")
    return reweighed


def _scaled(settings: RunConfig, outside: RunConfig) -> RunConfig:
    """BroRL (arXiv 2510.01180): η_new = η_0 √(B_new / B_0), B being the samples of one update."""
    factor = math.sqrt(_samples_per_update(settings) / _samples_per_update(outside))
    rate = settings.optimizer.learning_rate * factor
    return dataclasses.replace(settings, optimizer=dataclasses.replace(settings.optimizer, learning_rate=rate))


def _samples_per_update(config: RunConfig) -> int:
    return max(1, config.recipe.prompts_per_update * config.recipe.samples_per_prompt)
