"""The Creativity Index of the models beside their boundary: the numbers of `prorl_mega.creativity score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from prorl_mega.documents import read_json
from prorl_mega.errors import DataError

if TYPE_CHECKING:
    from prorl_mega.evaluation.creativity.comparison import MeanIndex

HEADS = ["task", "model", "answers", "index of right answers", "of wrong ones", "longest copied run"]


def creativity_rows(path: Path) -> list[list[str]]:
    """A row for each task and model, under HEADS. Raises DataError for a file of another kind."""
    from prorl_mega.evaluation.creativity.comparison import CreativityGroup  # compiles its search: seconds

    try:
        content: Any = read_json(path)
        groups = msgspec.convert(content["groups"], list[CreativityGroup])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is no result of `python -m prorl_mega.creativity score` ({error}); name its creativity.json"
        ) from None
    return [
        [
            group.name,
            row.evaluation,
            f"{row.index.answers:,}",
            _mean(row.right),
            _mean(row.wrong),
            f"{row.longest:.1f}" if row.index.answers else "–",
        ]
        for group in groups
        if group.kind != "domain"
        for row in group.rows
    ]


def _mean(value: MeanIndex) -> str:
    if value.mean is None or value.low is None or value.high is None:
        return "–"
    return f"{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}]"
