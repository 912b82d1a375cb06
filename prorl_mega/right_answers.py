"""The right answers of an evaluation as worked solutions: supervised training on a model's own successes.

Rejection fine-tuning keeps what verifiers accept of what a model samples and trains on it. Its problems have to be
others than those that are evaluated later: `evaluate` with entries of other names draws such.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from prorl_mega.errors import ConfigError, DataError
from prorl_mega.evaluation.problem_counts import SOLVED
from prorl_mega.run.sample_store import HEADER, SampleStore
from prorl_mega.types import Problem


class RightAnswers:
    """Draws problems whose solution is a right answer; every answer once in each pass, in an order of its own."""

    def __init__(self, directory: Path, seed: int) -> None:
        """`directory` is `runs/x/evaluation/LABEL`. Raises ConfigError, and DataError where no answer is right."""
        if not (directory / HEADER).is_file():
            raise ConfigError(f"answers={directory}: is no folder with the answers of an evaluation")
        store = SampleStore(directory)
        problems = store.problems()
        self.answers = [
            Problem(
                key=f"{problems[sample.problem].key}/{sample.sample}",
                task=problems[sample.problem].task,
                prompt=problems[sample.problem].prompt,
                system=problems[sample.problem].system,
                entry=problems[sample.problem].entry,
                solution=sample.text,
            )
            for sample, verdict in store.judged()
            if verdict is not None and (verdict.reward or 0.0) >= SOLVED and not sample.is_truncated
        ]
        if not self.answers:
            raise DataError(f"answers={directory}: no answer is right, so there is nothing to train on")
        self._seed = seed
        self._drawn = 0
        self._order: list[int] = []

    def draw(self, count: int) -> list[Problem]:
        """The next `count`."""
        drawn = []
        for _ in range(count):
            place = self._drawn % len(self.answers)
            if place == 0:
                self._order = list(range(len(self.answers)))
                Random(f"{self._seed}/{self._drawn}").shuffle(self._order)
            drawn.append(self.answers[self._order[place]])
            self._drawn += 1
        return drawn

    def describe(self) -> str:
        """How many right answers there are, by task, and on how many problems."""
        tasks = sorted({each.task for each in self.answers})
        counts = ", ".join(f"{task} {sum(each.task == task for each in self.answers):,}" for task in tasks)
        solved = len({each.prompt for each in self.answers})
        return f"{len(self.answers):,} right answers to {solved:,} problems: {counts}"
