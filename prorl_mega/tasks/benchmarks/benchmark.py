"""The description of a benchmark: how rows become problems, where they come from, which number is the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from prorl_mega.data.canonical import Domain


class Headline(StrEnum):
    """The metric of an evaluation that is reported as the result."""

    pass_at_1 = "pass@1"  # share of the answers that earn full marks: a strictly binary reward
    reward = "reward"  # mean of a continuous score, which is never thresholded for it


HEADLINES = {
    Domain.math: Headline.pass_at_1,
    Domain.code: Headline.pass_at_1,
    Domain.stem: Headline.pass_at_1,
    Domain.instruction: Headline.reward,
    Domain.logic: Headline.reward,
}
"""ProRL (arXiv 2505.24864, section 3.4): binary for mathematics, code and STEM, the mean score elsewhere."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Benchmark:
    """A named benchmark whose rows lie in files."""

    name: str
    domain: Domain  # in reports; `task` may be one of another domain, whose judge suits the answers better
    task: str
    source: str  # where the rows are usually taken from: a data set of the Hugging Face hub, in words
    options: Mapping[str, Any] = field(default_factory=dict)  # of the task, but for the path
    rows: tuple[int, ...] = ()  # the numbers of rows that its editions have; empty: none is usual
    files: tuple[str, ...] = ()  # other names of its file or folder; case, dashes and underscores do not matter
    split: str = "test"  # of a folder with several
    source_name: str = ""  # its rows' `data_source` in the validation file of PRIME, which mixes benchmarks

    @property
    def headline(self) -> Headline:
        return HEADLINES[self.domain]
