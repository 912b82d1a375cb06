"""Settings that have another name now.

An old name is refused with the new one; `config.yaml` of an old run is translated when it is read.
"""

from __future__ import annotations

import copy
from typing import Any

RENAMED = {
    "recipe.advantage": "recipe.advantage.estimator",
    "recipe.group_std": "recipe.advantage.group_std",
    "recipe.batch_moments": "recipe.advantage.batch_moments",
    "recipe.objective": "recipe.policy_loss.kind",
    "recipe.clip_low": "recipe.policy_loss.clip_low",
    "recipe.clip_high": "recipe.policy_loss.clip_high",
    "recipe.dual_clip": "recipe.policy_loss.dual_clip",
    "recipe.force_on_policy": "recipe.policy_loss.force_on_policy",
    "recipe.aggregation": "recipe.loss.aggregation",
    "recipe.fixed_length": "recipe.loss.fixed_length",
    "recipe.entropy_coef": "recipe.loss.entropy_coef",
    "recipe.kl_coef": "recipe.kl.coef",
    "recipe.kl_estimator": "recipe.kl.estimator",
    "recipe.kl_placement": "recipe.kl.placement",
    "recipe.kl_clamp": "recipe.kl.clamp",
    "recipe.kl_output_clamp": "recipe.kl.output_clamp",
    "recipe.dynamic_sampling": "recipe.selection.dynamic_sampling",
    "recipe.oversampling": "recipe.selection.oversampling",
    "recipe.max_sampling_rounds": "recipe.selection.max_sampling_rounds",
    "recipe.min_groups_fraction": "recipe.selection.min_groups_fraction",
    "recipe.pass_rate_min": "recipe.selection.pass_rate_min",
    "recipe.pass_rate_max": "recipe.selection.pass_rate_max",
    "recipe.keep_uniform_groups": "recipe.selection.keep_uniform_groups",
    "recipe.correction": "recipe.importance_sampling",
    "recipe.correction.kind": "recipe.importance_sampling.kind",
    "recipe.correction.floor": "recipe.importance_sampling.floor",
    "recipe.correction.cap": "recipe.importance_sampling.cap",
    "recipe.correction.report_bound": "recipe.importance_sampling.report_bound",
    "schedule.entropy.coef_min": "schedule.entropy.knob_min",  # of `target` alone
    "schedule.entropy.coef_max": "schedule.entropy.knob_max",
    "schedule.entropy.lever": "schedule.entropy.knob",
    "schedule.entropy.lever_step": "schedule.entropy.knob_step",
    "schedule.entropy.lever_min": "schedule.entropy.knob_min",
    "schedule.entropy.lever_max": "schedule.entropy.knob_max",
    "slips": "label_noise",  # of a warm start
}


def translated(tree: dict[str, Any]) -> dict[str, Any]:
    """A copy of a run's settings, or of one stage of them, under the current names, which are left as they are."""
    tree = copy.deepcopy(tree)
    _unite_bounds(tree)
    moved = {new: value for old, new in RENAMED.items() if (value := _taken(tree, old.split("."))) is not None}
    for new, value in moved.items():
        *groups, name = new.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[name] = value
    stages = (tree.get("schedule") or {}).get("stages")
    if isinstance(stages, list):
        tree["schedule"]["stages"] = [translated(stage) if isinstance(stage, dict) else stage for stage in stages]
    return tree


def _unite_bounds(tree: dict[str, Any]) -> None:
    """An entropy target used to move the entropy coefficient, beside the knob and with bounds of its own; now it moves
    the knob. Those bounds are the knob's where there was a target."""
    entropy = (tree.get("schedule") or {}).get("entropy")
    if not isinstance(entropy, dict) or not {"coef_min", "coef_max"} & entropy.keys():
        return
    if entropy.get("target"):
        for name in ("lever", "lever_min", "lever_max"):
            entropy.pop(name, None)
        entropy["knob"] = "entropy_coef"
        entropy.setdefault("coef_min", 0.0)
        entropy.setdefault("coef_max", 0.01)
    else:
        entropy.pop("coef_min", None)
        entropy.pop("coef_max", None)


def _taken(tree: Any, key: list[str]) -> Any:
    """Remove a value, and the groups that it leaves empty; None where there is none. Groups are not values."""
    name, *rest = key
    if not isinstance(tree, dict) or name not in tree:
        return None
    value = _taken(tree[name], rest) if rest else tree[name]
    if value is None or isinstance(value, dict):
        return None
    if not rest or not tree[name]:
        del tree[name]
    return value
