"""Going back to the last checkpoint when numbers are no longer finite: the same weights, other problems.

It is what a start from that checkpoint does (`TrainingRun.resume`), in the same process. The problems that were drawn
since are not drawn again: on the same ones, the same weights would compute the same NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prorl_mega.errors import ExitCode, NumericsError
from prorl_mega.run.run_directory import TrainingRun

if TYPE_CHECKING:
    from prorl_mega.build import Parts


def with_rollbacks(train: Callable[[], ExitCode], run: TrainingRun, parts: Parts) -> ExitCode:
    """`train`, again from the last checkpoint after every NumericsError, as often as `optimizer.max_rollbacks` says."""
    while True:
        try:
            return train()
        except NumericsError as error:
            state = run.last_good_state(error)
            run.go_back(error, problems=parts.go_back(state))
