"""Results on held-out problems of a run: `evaluation/<label>.json`, and the parts of one that is not finished."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.run import evaluations
from prorl_mega.run.kept_parts import KeptParts, remove_kept_parts
from prorl_mega.run.storage import storage_errors
from prorl_mega.types import Metrics


class EvaluationFolder:
    """The folder `evaluation/` of a run."""

    def __init__(self, directory: Path, ranks: Ranks) -> None:
        self._directory, self._ranks = directory, ranks

    def write(
        self,
        label: str,
        *,
        step: int,
        settings: dict[str, Any],
        metrics: Metrics,
        problems: list[dict[str, Any]],
        keep_answers: Callable[[Path], None] = lambda directory: None,
    ) -> None:
        """Write `<label>.json`; see `prorl_mega.run.evaluations` for the fields of a problem. Before that,
        `keep_answers(<label>)`. On rank 0 only."""
        if self._ranks.is_first:
            with storage_errors(f"writing {self._directory}"):
                keep_answers(self._directory / label)
                evaluations.write_evaluation(
                    self._directory, label=label, step=step, settings=settings, metrics=metrics, problems=problems
                )

    def known(self, label: str, *, step: int, settings: dict[str, Any]) -> Metrics | None:
        """The metrics of that evaluation if it exists already, of this step and under these settings. Collective."""
        found = evaluations.read_evaluation(self._directory / f"{label}.json")
        is_same = found is not None and found["step"] == step and found["settings"] == settings
        metrics = self._ranks.broadcast(found["metrics"] if found and is_same else None)
        return metrics and {name: math.nan if value is None else float(value) for name, value in metrics.items()}

    def kept_parts(self, identity: str) -> KeptParts:
        """The finished parts of an evaluation, until a checkpoint is written or the run has finished."""
        return KeptParts(self._directory, identity, self._ranks)

    def remove_parts(self) -> None:
        """Delete all finished parts. On rank 0 only."""
        if self._ranks.is_first:
            remove_kept_parts(self._directory)

    def go_on(self, kept: int, *, is_last: bool) -> None:
        """Delete results of policies after step `kept` (-1: all). `is_last`: it was the last step. Rank 0 only."""
        evaluations.remove_after(self._directory, kept, is_last=is_last)
