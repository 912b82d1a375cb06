"""One mixture for all ranks of a job.

Only rank 0 reads the data files and holds their rows, which may be gigabytes; it sends the problems that it draws to
the other ranks. Every rank checks the options, and whether its machine has what scoring needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from prorl_mega.config.schema import EvaluationConfig, TasksConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.tasks.mixture import Mixture, create_all
from prorl_mega.tasks.objection import Check
from prorl_mega.types import Metrics, Problem

T = TypeVar("T")


class SharedMixture:
    """Implements `protocols.ProblemSource`. Every method is collective; an error of rank 0 is raised on every rank."""

    def __init__(
        self,
        tasks: TasksConfig,
        seed: int,
        ranks: Ranks,
        *,
        check: Check | None = None,
        evaluates: bool = False,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Load the mixture on rank 0, with `check` for its problems; its errors are raised on every rank.

        `evaluates`: files have to have held-out problems, too. `report` gets lines for people.
        """
        self._ranks = ranks
        self._report = report
        self._mixture: Mixture | None = None
        with ranks.raise_on_all_ranks("reading the data files"):
            if ranks.is_first:
                self._mixture = Mixture(tasks, seed, check)
                if evaluates:
                    self._mixture.check_files()
            else:
                for task in create_all(tasks).values():
                    task.check_machine()

    def draw(self, count: int, times: Mapping[str, int] | None = None) -> list[Problem]:
        return self._problems("drawing problems", lambda mixture: mixture.draw(count, times))

    def draw_metrics(self) -> Metrics:
        counts = self._on_first("counting problems", lambda mixture: mixture.draw_metrics())
        return dict(self._ranks.broadcast(counts))

    def held_out(self, per_task: int) -> list[Problem]:
        return self._problems("drawing held-out problems", lambda mixture: mixture.held_out(per_task))

    def set_weights(self, weights: dict[str, float]) -> None:
        self._on_first("changing weights", lambda mixture: mixture.set_weights(weights))

    def loaded(self, evaluation: EvaluationConfig) -> list[str]:
        """`Mixture.loaded` on rank 0, nothing elsewhere."""
        return [] if self._mixture is None else self._mixture.loaded(evaluation)

    def state_dict(self) -> dict[str, Any]:
        """The mixture's state on rank 0, which checkpoints keep; empty elsewhere."""
        return {} if self._mixture is None else self._mixture.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._on_first("comparing the data files", lambda mixture: mixture.load_state_dict(state))

    def _problems(self, doing: str, work: Callable[[Mixture], list[Problem]]) -> list[Problem]:
        drawn = self._on_first(doing, work)
        return msgspec.convert(self._ranks.broadcast(msgspec.to_builtins(drawn)), list[Problem])

    def _on_first(self, doing: str, work: Callable[[Mixture], T]) -> T | None:
        with self._ranks.raise_on_all_ranks(doing):
            if self._mixture is None:
                return None
            result = work(self._mixture)
            for line in self._mixture.take_notes():
                self._report(line)
            return result
