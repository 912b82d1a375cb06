"""A look at every final verdict: rewards have to be in the range that their task declares, and failures are said.

Verifiers that fail make a run slow and its data few, long before a step is over; so the caller hears of it as soon as
the share of answers without a verdict passes `tasks.report_failures`, once for every batch.
"""

from __future__ import annotations

from collections.abc import Callable

from prorl_mega.config.schema import TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.tasks import extension
from prorl_mega.tasks.second_opinion import verifier_class
from prorl_mega.types import Outcome, Problem, Verdict
from prorl_mega.verifiers.messages import LARGEST_REWARD, infra_error

ENOUGH = 8  # failures, from which the share is told before the batch is over

Say = Callable[[str], None]


class VerdictAudit:
    """The audit of one pool, batch after batch."""

    def __init__(self, tasks: TasksConfig, say: Say | None) -> None:
        """Raises ConfigError for an unknown task, or one that declares an impossible range of rewards."""
        extension.load(tasks.modules, "tasks.modules")
        self._ranges = {entry: _range(each.name, entry) for entry, each in tasks.mixture.items()}
        self._bound, self._say = tasks.report_failures, say
        self.begin()

    def begin(self) -> None:
        """A new batch."""
        self._judged = self._failed = 0
        self._first = ""
        self._has_said = False

    def take(self, problem: Problem, verdict: Verdict) -> Verdict:
        """The verdict that counts: a reward outside the declared range is none."""
        low, high = self._ranges[problem.task]
        if verdict.outcome is Outcome.SCORED and not low <= verdict.reward <= high:
            verdict = infra_error(f"the verifier returned {verdict.reward!r}, not a number from {low:g} to {high:g}")
        self._judged += 1
        if verdict.outcome is Outcome.INFRA_ERROR:
            self._failed += 1
            self._first = self._first or f"{problem.key}: {verdict.detail}"
            if self._failed >= ENOUGH:
                self._tell()
        return verdict

    def end(self) -> None:
        """The batch is over, with a verdict about every answer or given up."""
        self._tell()

    def _tell(self) -> None:
        if self._say is None or self._has_said or self._failed <= self._bound * self._judged:
            return
        self._has_said = True
        share = f"{self._failed} of {self._judged} answers so far ({self._failed / self._judged:.0%})"
        self._say(f"verifiers fail: {share} have no verdict; the first: {self._first}")


def _range(name: str, entry: str) -> tuple[float, float]:
    cls = verifier_class(name, f"tasks.mixture.{entry}.name")
    low, high = cls.rewards
    if not -LARGEST_REWARD <= low <= 0 < 1 <= high <= LARGEST_REWARD:
        raise ConfigError(
            f"tasks.mixture.{entry}: the task {name!r} declares rewards from {low:g} to {high:g}; a range has to "
            f"contain 0 (wrong) and 1 (right), and to end at {LARGEST_REWARD:g} at most"
        )
    return float(low), float(high)
