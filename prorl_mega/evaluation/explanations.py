"""Rival explanations of a difference between two evaluations, other than ability, measured as far as they tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from prorl_mega.evaluation.pass_at_k import pass_at_k
from prorl_mega.types import Metrics

NOTABLE_TRUNCATION = 0.05  # difference of the shares of samples that hit the limit
NOTABLE_LENGTH = 1.25  # ratio of the mean lengths


@dataclass(kw_only=True, slots=True, frozen=True)
class Explanation:
    """One rival explanation. `found` None: these evaluations cannot tell."""

    name: str
    found: bool | None
    text: str


def truncation(models: Sequence[str], metrics: Sequence[Metrics]) -> Explanation:
    """Whether one of two models ran into the token limit more often: what it cuts off counts as unsolved."""
    shares = [_metric(each, "truncated") for each in metrics]
    if any(map(math.isnan, shares)):
        return Explanation(name="truncation", found=None, text="the evaluations do not say how many answers were cut")
    first, second = (f"{model} {share:.1%}" for model, share in zip(models, shares, strict=True))
    return Explanation(
        name="truncation",
        found=abs(shares[0] - shares[1]) > NOTABLE_TRUNCATION,
        text=f"answers that hit the token limit: {first}, {second}",
    )


def tokens(
    models: Sequence[str],
    metrics: Sequence[Metrics],
    counts: Sequence[Sequence[tuple[int, int]]],
    k: int,
) -> Explanation:
    """Whether the models spent other numbers of tokens per sample; then pass@k at equal tokens is given as well."""
    lengths = [_metric(each, "length") for each in metrics]
    if not all(length > 0 for length in lengths):
        return Explanation(name="tokens", found=None, text="the evaluations do not say how long the answers were")
    equal = [max(1, int(k * min(lengths) / length)) for length in lengths]
    passes = [_mean_pass(each, size) for each, size in zip(counts, equal, strict=True)]
    said = [
        f"{model} {length:.0f} per sample, pass@{size} {share:.3f}"
        for model, length, size, share in zip(models, lengths, equal, passes, strict=True)
    ]
    return Explanation(
        name="tokens",
        found=max(lengths) > NOTABLE_LENGTH * min(lengths),
        text=f"at equal tokens: {'; '.join(said)}",
    )


def contamination(prompts: int | None, hits: Sequence[str], gained: int) -> Explanation:
    """Whether `gained` problems share text with training prompts: `hits` do. `prompts` None: not looked for."""
    if prompts is None:
        return Explanation(
            name="contamination", found=None, text="not looked for; name the training files with --training"
        )
    listed = f": {', '.join(hits[:5])}" if hits else ""
    return Explanation(
        name="contamination",
        found=bool(hits),
        text=f"{len(hits)} of {gained} gained problems share text with {prompts:,} training prompts{listed}",
    )


def _metric(metrics: Metrics, name: str) -> float:
    value = metrics.get(f"evaluation/{name}")
    return math.nan if value is None else float(value)


def _mean_pass(counts: Sequence[tuple[int, int]], k: int) -> float:
    return sum(pass_at_k(n, c, min(k, n)) for n, c in counts) / len(counts)
