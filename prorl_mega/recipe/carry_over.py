"""A controller's memory when the run goes on with changed settings.

Whatever the controller has adjusted stays adjusted and whatever it has counted stays counted, with three exceptions:

- A new value in the settings wins over an adjustment of the former one: a changed `recipe.kl.coef` begins at what the
  settings say, not at that times the factor of the adaptive KL. So does a value whose adjusting was switched off.
- Steps and evaluations that were counted against a bound are counted anew when the bound is another.
- Scores of other problems, other sampling or other limits are not compared: with changed evaluations the search for
  the best score begins anew, and with another mixture or limit the past that alarms compare with. So does that search
  where the best policy was not kept until now (`schedule.reset.to`).

Adjusted values are kept inside of changed bounds. The state says which settings it was made under, so the same holds
for every checkpoint and for a backtest.
"""

from __future__ import annotations

import copy
from typing import Any

from prorl_mega.config.keys import get_setting
from prorl_mega.config.schedule import ALARMS, EntropyAction
from prorl_mega.config.schema import RunConfig
from prorl_mega.config.scoring import SCORED_UNDER

Forgotten = tuple[str, dict[str, Any], str]
"""A part of the state, its fields as they are in the beginning, and what that is in words."""

_RECORD = {"record": None, "record_step": 0, "record_at_reset": None}
_SCORES = _RECORD | {"best": None, "best_step": 0, "latest": None, "stale": 0, "down": 0}
_KL = ("progress", {"kl_factor": 1.0}, "the adjustment of recipe.kl.coef")
_KNOB = ("progress", {"knob": None, "entropy_integral": 0.0}, "the adjustment of the knob")
_BAND = ("entropy", {"alarm": "", "side": "", "outside": 0}, "the steps outside of the band")
_EVALUATIONS = ("triggers", _SCORES, "the scores so far")

_NO_PAST = {"present": {}, "past": {}, "lowest": None, "reward": None, "squares": {"total": 0.0, "weight": 0.0}}
_PAST: Forgotten = ("alarms", _NO_PAST, "the past that alarms compare with")
_ALARMS: dict[str, Forgotten] = {
    sign: ("alarms", {sign: {"lasts": False, "steps": 0}}, f"the alarm {sign}") for sign in ALARMS
}

FORGETS: dict[str, tuple[Forgotten, ...]] = {
    "recipe.kl.coef": (_KL,),
    "schedule.kl.target": (_KL,),
    "schedule.entropy.target": (_KNOB,),
    "schedule.entropy.knob": (_KNOB,),
    "schedule.entropy.on_low": (_KNOB,),
    "schedule.entropy.low": (_BAND,),
    "schedule.entropy.high": (_BAND,),
    "schedule.reset.kl_bound": (("triggers", {"far": 0}, "the steps above the bound"),),
    "schedule.reset.decline": (("triggers", {"down": 0}, "the evaluations below the best"),),
    "schedule.reset.min_delta": (("triggers", {"stale": 0}, "the evaluations without improvement"),),
    "schedule.reset.to": (("triggers", _RECORD, "the best score so far"),),
    **{f"schedule.alarms.{sign}.above": (_ALARMS[sign],) for sign in ALARMS},
    **dict.fromkeys(SCORED_UNDER, (_EVALUATIONS,)),
    "rollout.max_response_tokens": (_EVALUATIONS, _PAST),
    "tasks.mixture": (_EVALUATIONS, _PAST),
}
"""Settings, and what they make the controller forget."""


def watched(config: RunConfig, stage: RunConfig) -> dict[str, Any]:
    """The values of the settings of `FORGETS`, as far as they count, in plain JSON; `stage` has those in force."""
    entropy, reset = config.schedule.entropy, config.schedule.reset
    scored = {key: get_setting(stage, key) for key in SCORED_UNDER if key != "tasks.mixture"}
    return {
        "recipe.kl.coef": stage.recipe.kl.coef,
        "schedule.kl.target": config.schedule.kl.target > 0,
        "schedule.entropy.target": entropy.target > 0,
        "schedule.entropy.knob": [entropy.knob.name, get_setting(stage, entropy.knob.key)],
        "schedule.entropy.on_low": _adjusts_knob(config),
        "schedule.entropy.low": entropy.low,
        "schedule.entropy.high": entropy.high,
        "schedule.reset.kl_bound": reset.kl_bound,
        "schedule.reset.decline": reset.decline,
        "schedule.reset.min_delta": reset.min_delta,
        "schedule.reset.to": reset.to.name,
        **{f"schedule.alarms.{sign}.above": getattr(config.schedule.alarms, sign).above for sign in ALARMS},
        **scored,
        "tasks.mixture": sorted(config.tasks.mixture),
    }


def carried_over(
    state: dict[str, dict[str, Any]], before: dict[str, Any], config: RunConfig, stage: RunConfig
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The parts of a controller's state as they are under `config`, and a sentence for everything that is forgotten.

    `before` are the `watched` settings that the state was made under; what it lacks has not changed.
    """
    state = {name: dict(part) for name, part in state.items()}
    notes: list[str] = []
    for key, value in watched(config, stage).items():
        for part, fresh, words in FORGETS[key] if before.get(key, value) != value else ():
            if any(state[part][name] != each for name, each in fresh.items()):
                notes.append(f"the controller begins anew with {words}, because {key} has changed")
            state[part].update(copy.deepcopy(fresh))
    _bound(state["progress"], config)
    return state, notes


def _bound(progress: dict[str, Any], config: RunConfig) -> None:
    """Keep values that are adjusted between their bounds."""
    entropy, kl = config.schedule.entropy, config.schedule.kl
    bounds = {
        "knob": (entropy.target > 0 or _adjusts_knob(config), entropy.knob_min, entropy.knob_max),
        "kl_factor": (kl.target > 0, kl.min_factor, kl.max_factor),
    }
    for name, (is_adjusted, low, high) in bounds.items():
        if is_adjusted and progress[name] is not None:
            progress[name] = min(max(progress[name], low), high)


def _adjusts_knob(config: RunConfig) -> bool:
    return EntropyAction.adjust in (config.schedule.entropy.on_low, config.schedule.entropy.on_high)
