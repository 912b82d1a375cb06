"""Decides about a run from its global metrics: learning rate, reference resets, warnings.

Hard reset (ProRL, arXiv 2505.24864, section 2.2): when validation stagnates, the reference policy becomes the current
policy and the optimizer starts afresh. The paper leaves "stagnates" to the eye; here it is `reset.patience` evaluations
in a row without a score better than the best since the last reset by more than `reset.min_delta`. ProRL v2 resets on a
schedule (`reset.every`). Two resets are at least `reset.min_distance` steps apart, whatever triggers them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from prorl_mega.config.schema import OptimizerConfig, RecipeConfig, ScheduleConfig
from prorl_mega.errors import CheckpointError
from prorl_mega.types import Coefficients, Decision, Metrics

SCORE = "evaluation/pass@1"  # what a plateau is judged by
ENTROPY = "policy/entropy"
WARMUP_START = 0.1  # of the learning rate


@dataclass(slots=True)
class _State:
    """Everything that is remembered between steps; plain JSON values."""

    last_reset: int = 0  # step; the start of the run counts as one, the reference being the base model
    best: float | None = None  # score since the last reset
    best_step: int = 0
    latest: float | None = None  # score
    stale: int = 0  # evaluations without improvement since `best`
    entropy_low: bool = False  # so that the warning comes once, not at every step


class ProRLController:
    """Pure: the same metrics in the same order give the same decisions. Implements `protocols.Controller`."""

    def __init__(self, schedule: ScheduleConfig, recipe: RecipeConfig, optimizer: OptimizerConfig) -> None:
        self._reset = schedule.reset
        self._entropy_floor = schedule.entropy_floor
        self._recipe = recipe
        self._optimizer = optimizer
        self._state = _State()

    def coefficients(self, step: int) -> Coefficients:
        """For the updates of one step; `step` is the number of completed ones.

        Linear warm-up, then constant. A cleared optimizer knows no second moments and its first steps are as large as
        the learning rate in every parameter, so the warm-up begins again after a reset that clears it.
        """
        age = step - self._state.last_reset if self._reset.clear_optimizer else step
        warmup = self._optimizer.warmup_steps
        done = 1.0 if age >= warmup else age / warmup
        return Coefficients(
            kl=self._recipe.kl_coef,
            entropy=self._recipe.entropy_coef,
            learning_rate=self._optimizer.learning_rate * (WARMUP_START + (1 - WARMUP_START) * done),
        )

    def observe(self, step: int, metrics: Metrics) -> Decision:
        """Take in the metrics of step `step` (the first is 1). What is missing or not finite decides nothing."""
        reasons = self._watch_entropy(step, metrics.get(ENTROPY))
        evaluated = SCORE in metrics
        if evaluated:
            reasons += self._watch_score(step, metrics[SCORE])
        triggers = self._triggers(step)
        distance = step - self._state.last_reset
        if triggers and distance >= self._reset.min_distance:
            reasons += [f"reference reset: {trigger}" for trigger in triggers]
            self._restart(step)
            return Decision(reset_reference=True, reset_optimizer=self._reset.clear_optimizer, reasons=tuple(reasons))
        if triggers and evaluated:
            earliest = self._state.last_reset + self._reset.min_distance
            reasons += [f"reference reset waits for step {earliest} (min_distance): {trigger}" for trigger in triggers]
        return Decision(reasons=tuple(reasons))

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was called. Raises CheckpointError for a state of another program."""
        expected = {field.name for field in fields(_State)}
        if set(state) != expected:
            raise CheckpointError(f"controller state has the keys {sorted(state)}; expected {sorted(expected)}")
        self._state = _State(**state)

    def _watch_entropy(self, step: int, entropy: float | None) -> list[str]:
        floor = self._entropy_floor
        if not floor or entropy is None or not math.isfinite(entropy):
            return []
        was_low, self._state.entropy_low = self._state.entropy_low, entropy < floor
        if self._state.entropy_low == was_low:
            return []
        now = "fell below" if self._state.entropy_low else "is back above"
        return [f"entropy {now} the floor: {entropy:.4g} nats at step {step}, entropy_floor={floor:g}"]

    def _watch_score(self, step: int, score: float) -> list[str]:
        state = self._state
        if not math.isfinite(score):
            return [f"{SCORE}={score} at step {step} is ignored"]
        state.latest = score
        if state.best is None or score > state.best + self._reset.min_delta:
            state.best, state.best_step, state.stale = score, step, 0
        else:
            state.stale += 1
        return []

    def _triggers(self, step: int) -> list[str]:
        state, reset = self._state, self._reset
        triggers = []
        if reset.every and step - state.last_reset >= reset.every:
            triggers.append(f"{step - state.last_reset} steps since step {state.last_reset}, every={reset.every}")
        if reset.patience and state.stale >= reset.patience:
            triggers.append(
                f"{SCORE}={state.latest:.4g} after {state.stale} evaluations without improvement over "
                f"{state.best:.4g} at step {state.best_step}, patience={reset.patience}, min_delta={reset.min_delta:g}"
            )
        return triggers

    def _restart(self, step: int) -> None:
        """A plateau after a reset is judged against the score that the policy was reset with."""
        state = self._state
        state.last_reset = step
        state.best, state.best_step, state.stale = state.latest, step, 0
