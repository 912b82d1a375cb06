"""The progress of a run and the time that it still needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import fmean

from prorl_mega.config.schema import ScheduleConfig
from prorl_mega.run.console import duration
from prorl_mega.run.timers import SERVERS_IDLE, TIMING_PREFIX
from prorl_mega.types import Metrics

RECENT = 20  # steps, evaluations and saves that the estimate looks back on
EVALUATE, SAVE = "evaluate", "save"  # phases that come at their own cadence
WAITING = f"{TIMING_PREFIX}rollout"  # what the learner does nothing in

SHOWN = {
    "reward/mean": ("reward", ".2f"),
    "pass/train": ("pass", ".2f"),
    "policy/kl": ("kl", ".4f"),
    "policy/entropy": ("entropy", ".2f"),
    "length/mean": ("len", ".0f"),
    "evaluation/pass@1": ("held-out pass@1", ".2f"),
}


def due(step: int, every: int, steps: int) -> bool:
    """Whether an action of every `every` steps (0: only at the end) is due after `step` of `steps`."""
    return step == steps or (every > 0 and step % every == 0)


def times_due(step: int, every: int, steps: int) -> int:
    """How often it is due after the steps that come after `step`, in constant time: runs may be endless on purpose."""
    if step >= steps:
        return 0
    return 1 + ((steps - 1) // every - step // every if every > 0 else 0)


class RunProgress:
    """Measures how long steps, evaluations and saves take and adds up those that are still to come."""

    def __init__(self, schedule: ScheduleConfig) -> None:
        self._schedule = schedule
        self.current = 0  # the step that is being done, or was done last
        self._seconds: dict[str, deque[float]] = {name: deque(maxlen=RECENT) for name in ("step", EVALUATE, SAVE)}

    def step_done(self, seconds: Mapping[str, float]) -> None:
        """Take in `seconds` per phase and "step" for their sum, as the phase timer gives them."""
        evaluating = seconds.get(EVALUATE, 0.0)
        self._seconds["step"].append(seconds["step"] - evaluating)
        if evaluating > 0:
            self._seconds[EVALUATE].append(evaluating)

    def save_done(self, seconds: float) -> None:
        self._seconds[SAVE].append(seconds)

    def seconds_left(self, step: int) -> float | None:
        """Seconds until the last step is done and saved; None before anything is known."""
        if not self._seconds["step"]:
            return None
        steps = self._schedule.steps
        left = max(0, steps - step) * fmean(self._seconds["step"])
        for name, every in ((EVALUATE, self._schedule.evaluate_every), (SAVE, self._schedule.save_every)):
            if known := self._seconds[name]:
                left += fmean(known) * times_due(step, every, steps)
        return left

    def line(self, step: int, metrics: Metrics, seconds: float) -> str:
        """ "step 12/40  reward 0.53  pass 0.41  kl 0.0030  entropy 0.31  len 24  2.1 s/step  left 1 min 05 s".

        With servers also "idle 35 % / 10 %": the shares of the step in which the learner waited for samples, and in
        which a server had nothing to sample.
        """
        parts = [f"step {step:>{len(str(self._schedule.steps))}}/{self._schedule.steps}"]
        parts += [f"{label} {metrics[name]:{shape}}" for name, (label, shape) in SHOWN.items() if name in metrics]
        parts.append(f"{seconds:.1f} s/step")
        if SERVERS_IDLE in metrics and seconds > 0:
            learner, servers = metrics.get(WAITING, 0.0) / seconds, metrics[SERVERS_IDLE] / seconds
            parts.append(f"idle {learner:.0%} / {min(servers, 1.0):.0%}".replace("%", " %"))
        left = self.seconds_left(step)
        if left is not None and step < self._schedule.steps:
            parts.append(f"left {duration(left)}")
        return "  ".join(parts)
