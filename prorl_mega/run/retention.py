"""The checkpoints that are kept: the newest few, every one at a certain distance, and the best by validation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from prorl_mega.config.schema import RunConfig
from prorl_mega.config.scoring import SCORED_UNDER
from prorl_mega.config.stages import stage_settings
from prorl_mega.types import Metrics

_STAGE = re.compile(r"schedule\.stages\[\d+\]\.")
SCORE = "evaluation/pass@1"  # validation of the step that a checkpoint holds


@dataclass(kw_only=True, slots=True)
class Retention:
    """A rule for `Checkpoints`. It remembers the scores of steps; those of a resumed run come from its metrics.

    Scores are compared as long as they measure the same: changed evaluations, and a next stage if the stages have
    different response limits, begin the search for the best anew.
    """

    newest: int  # so many, at least 1
    every: int = 0  # all at multiples of it; 0: none for that reason
    best: bool = False
    limits_differ: bool = False  # between stages
    scores: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, config: RunConfig) -> Retention:
        schedule = config.schedule
        limits = {settings.rollout.max_response_tokens for settings in stage_settings(config)}
        return cls(
            newest=schedule.keep_checkpoints,
            every=schedule.keep_every,
            best=schedule.keep_best,
            limits_differ=len(limits) > 1,
        )

    def resume(self, metrics: Iterable[dict[str, Any]], decisions: Iterable[dict[str, Any]]) -> None:
        """Take in the rows of the steps so far, and forget all others."""
        self.scores = {}
        for row in metrics:
            self.observe(row["step"], row)
        for row in decisions:
            self.decide(row)

    def decide(self, row: dict[str, Any]) -> None:
        """Take in a row of decisions.jsonl: the scores of steps up to that one may be of another kind."""
        changed = row.get("trigger") == "settings" and _decides_scores(str(row.get("key")))
        if changed or (row.get("action") == "next_stage" and self.limits_differ):
            self.scores = {step: score for step, score in self.scores.items() if step > row["step"]}

    def observe(self, step: int, metrics: Metrics) -> None:
        """Take in the metrics of a step, which need not have a score."""
        score = metrics.get(SCORE)
        if step > 0 and score is not None and math.isfinite(score):
            self.scores[step] = score

    def is_best(self, step: int) -> bool:
        """Whether the best policy is to be kept and this step's is better than that of every step before it."""
        score = self.scores.get(step)
        earlier = (value for each, value in self.scores.items() if each < step)
        return self.best and score is not None and all(value < score for value in earlier)

    def best_of(self, steps: Iterable[int]) -> int | None:
        """The step with the best score among these, the first of equal ones; None without a score or the setting."""
        scored = [step for step in steps if step in self.scores]
        return max(scored, key=lambda step: (self.scores[step], -step)) if self.best and scored else None

    def kept(self, steps: list[int]) -> set[int]:
        """Which of these steps stay, given that all of their checkpoints are intact."""
        distant = {step for step in steps if self.every and step % self.every == 0}
        return {*sorted(steps)[-self.newest :], *distant, *filter(None, [self.best_of(steps)])}


def _decides_scores(key: str) -> bool:
    """Whether scores depend on a setting, also as one of a stage; by how much a task is trained on changes none."""
    return _STAGE.sub("", key).startswith(SCORED_UNDER) and not key.endswith(".weight")
