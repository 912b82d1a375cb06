"""The memory of a controller in a checkpoint: read with the type and the range of every value, and checked for what
cannot have happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import msgspec

from prorl_mega.config.schedule import ALARMS
from prorl_mega.errors import CheckpointError
from prorl_mega.recipe.alarms import AlarmsState
from prorl_mega.recipe.entropy_band import BandState
from prorl_mega.recipe.triggers import Step, TriggerState

SETTINGS = "settings"  # key of the state


@dataclass(slots=True)
class ProgressState:
    """The position of the run and what has been adjusted; plain JSON values."""

    stage: Step = 0
    stage_start: Step = 0  # step after which the stage began
    last_clear: Step = 0  # step after which the optimizer was last fresh
    kl_factor: Annotated[float, msgspec.Meta(gt=0, le=1e30)] = 1.0  # of the recipe's coefficient
    entropy_integral: Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)] = 0.0  # Σ (target − filtered entropy)
    knob: Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)] | None = None  # None: not moved in this stage


@dataclass(kw_only=True, slots=True)
class ControllerState:
    """Everything that a controller remembers, and the settings (`carry_over.watched`) under which it came about."""

    triggers: TriggerState
    entropy: BandState
    alarms: AlarmsState
    progress: ProgressState
    settings: dict[str, Any]

    def parts(self) -> dict[str, dict[str, Any]]:
        """Plain values, without the settings."""
        return {name: asdict(getattr(self, name)) for name in _PARTS}


_PARTS: dict[str, type] = {
    "triggers": TriggerState,
    "entropy": BandState,
    "alarms": AlarmsState,
    "progress": ProgressState,
}


def read_state(state: Any) -> ControllerState:
    """The state that a controller's `state_dict` has given. Raises CheckpointError that names what it cannot be."""
    state = _current_form(state)
    before = {}
    if isinstance(state, dict) and isinstance(state.get(SETTINGS), dict):  # version 0.1 had none
        before, state = state[SETTINGS], {name: part for name, part in state.items() if name != SETTINGS}
    _check_keys(state, _PARTS, "controller state")
    return to_parts(state, before)


def to_parts(plain: dict[str, Any], settings: dict[str, Any] | None = None) -> ControllerState:
    """The state from the plain values of its parts. Raises CheckpointError."""
    parts: dict[str, Any] = {}
    for name, kind in _PARTS.items():
        _check_keys(plain[name], [field.name for field in fields(kind)], f"controller state {name!r}")
        try:
            parts[name] = msgspec.convert(plain[name], kind)
        except msgspec.ValidationError as error:
            raise CheckpointError(f"controller state {name!r}: {error}") from None
    return ControllerState(**parts, settings=settings or {})


def contradictions(state: ControllerState, step: int) -> Iterator[str]:
    """Sentences on what cannot be, given that the state was saved after `step`."""
    triggers, progress = state.triggers, state.progress
    moments = {
        "triggers.last_reset": triggers.last_reset,
        "triggers.best_step": triggers.best_step,
        "triggers.record_step": triggers.record_step,
        "progress.stage_start": progress.stage_start,
        "progress.last_clear": progress.last_clear,
    }
    for name, moment in moments.items():
        if moment > step:
            yield f"controller {name}={moment} lies after step {step}"
    since_best, since_reset = step - triggers.best_step, step - triggers.last_reset
    counts = {
        "triggers.stale": (triggers.stale, since_best),
        "triggers.down": (triggers.down, since_best),
        "triggers.far": (triggers.far, since_reset),
        "triggers.futile": (triggers.futile, step),
        "entropy.outside": (state.entropy.outside, step),
        "progress.stage": (progress.stage, progress.stage_start),  # stages last a step or more
    } | {f"alarms.{sign}.steps": (getattr(state.alarms, sign).steps, step) for sign in ALARMS}
    for name, (count, most) in counts.items():
        if count > max(0, most):
            yield f"controller {name}={count} cannot have come about; at most {max(0, most)} until step {step}"
    if progress.last_clear > triggers.last_reset:
        yield f"controller progress.last_clear={progress.last_clear} is after the last reset, {triggers.last_reset}"
    if progress.stage == 0 and progress.stage_start > 0:
        yield f"controller progress.stage_start={progress.stage_start} in the first stage"
    if triggers.best is None and (triggers.stale or triggers.down):
        yield "controller triggers.stale counts from a best score that there is not"
    if triggers.record is None and triggers.record_at_reset is not None:
        yield "controller triggers.record_at_reset without a record"


def _check_keys(found: Any, expected: Iterable[str], what: str) -> None:
    if not isinstance(found, dict) or set(found) != set(expected):
        keys = sorted(found) if isinstance(found, dict) else found
        raise CheckpointError(f"{what} has the keys {str(keys)[:200]}; expected {sorted(expected)}")


def _current_form(state: Any) -> Any:
    """The current form of a controller state.

    Version 0.1 called the knob a lever. Until 0.3 an adaptive entropy coefficient had a place of its own beside the
    knob, and entropy was not filtered. Earlier versions had no alarms.
    """
    if not isinstance(state, dict):
        return state
    progress, entropy = state.get("progress"), state.get("entropy")
    if isinstance(progress, dict):
        progress = {("knob" if key == "lever" else key): value for key, value in progress.items()}
        coefficient = progress.pop("entropy_coef", None)
        progress = progress | ({} if coefficient is None else {"knob": coefficient})
        state = state | {"progress": progress}
    if isinstance(entropy, dict) and "outside" in entropy:
        state = state | {"entropy": {"filtered": None, "weight": 0.0} | entropy}
        state = {"alarms": asdict(AlarmsState())} | state
    return state
