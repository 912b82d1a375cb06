"""Rival explanations of a difference between two evaluations, other than ability, measured as far as they tell.

Format, truncation, unequal tokens, contamination and derivation; whether the settings differ is `conditions.py`. Each
has a rule that names it, a sentence with its numbers, and the numbers themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prorl_mega.evaluation.answer_evidence import AnswerEvidence
from prorl_mega.evaluation.budget import Spending, pass_at_budget
from prorl_mega.evaluation.comparison import Record
from prorl_mega.evaluation.pass_at_k import Estimate, bootstrap_rows, passes
from prorl_mega.evaluation.summary import powers_of_two
from prorl_mega.types import Metrics

NOTABLE_TRUNCATION = 0.05  # difference of the shares of samples that hit the limit
NOTABLE_LENGTH = 1.25  # ratio of the mean lengths
NOTABLE_GAIN = 0.01  # of pass@k: smaller ones need no explanation
NOTABLE_LOSS = 0.25  # share of the gain that is gone without the rival explanation; of unsolved answers that were cut


@dataclass(kw_only=True, slots=True, frozen=True)
class Explanation:
    """One rival explanation. `found` None: these evaluations cannot tell. `numbers` are plain values by what they are,
    `examples` lines of text."""

    name: str
    found: bool | None
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Side:
    """One of the two models: its records of the problems that are compared, in the same order for both.

    `evidence` is what its answers say, None where they were not kept.
    """

    model: str
    records: Sequence[Record]
    metrics: Metrics
    evidence: AnswerEvidence | None = None

    @property
    def counts(self) -> list[tuple[int, int]]:
        """(samples, solved) of every problem."""
        return [(int(each["samples"]), int(each["solved"])) for each in self.records]

    def metric(self, name: str) -> float:
        value = self.metrics.get(f"evaluation/{name}")
        return math.nan if value is None else float(value)


def form(base: Side, last: Side, gained: Sequence[str], k: int) -> Explanation:
    """How much of the gain is left if the form of the answers does not matter."""
    known = sum("relaxed" in one or "relaxed" in two for one, two in zip(base.records, last.records, strict=True))
    if not known:
        text = "no verdict looks beyond the form of an answer; grade again with a verifier that does"
        return Explanation(name="format", found=None, text=text)
    numbers: dict[str, Any] = {"problems with relaxed verdicts": known, "problems": len(base.records)}
    parts, lost = [], []
    for size in dict.fromkeys((1, k)):
        strict, relaxed = _gain(base.counts, last.counts, size), _gain(_relaxed(base), _relaxed(last), size)
        numbers |= {f"gain of pass@{size}": strict, f"gain of pass@{size}, form relaxed": relaxed}
        parts.append(f"pass@{size} {strict:+.3f} as scored and {relaxed:+.3f} in any form")
        lost.append(_lost(strict, relaxed))
    in_any_form = {str(each["key"]) for each, (_, solved) in zip(base.records, _relaxed(base), strict=True) if solved}
    other = [key for key in gained if key in in_any_form]
    by_task = _by_task(base, last, k)
    numbers |= {"gained problems": len(gained), "of these solved by the base in another form": len(other)}
    share = len(other) / len(gained) if gained else 0.0
    return Explanation(
        name="format",
        found=bool(by_task) or max(*lost, share) >= NOTABLE_LOSS,
        text=f"gain of {', '.join(parts)}; {base.model} solved {len(other)} of {len(gained)} gained problems in "
        "another form",
        numbers=numbers,
        examples=by_task[:10] + [f"{key}: solved by {base.model}, in another form" for key in other[:5]],
    )


def truncation(base: Side, last: Side, k: int) -> Explanation:
    """Whether one of two models ran into the token limit more often, and that can matter: what it cuts off counts as
    unsolved."""
    shares = [side.metric("truncated") for side in (base, last)]
    if any(map(math.isnan, shares)):
        return Explanation(name="truncation", found=None, text="the evaluations do not say how many answers were cut")
    numbers: dict[str, Any] = {
        f"{side.model}: answers cut off": share for side, share in zip((base, last), shares, strict=True)
    }
    said = [f"{side.model} {share:.1%}" for side, share in zip((base, last), shares, strict=True)]
    text = f"answers that hit the token limit: {', '.join(said)}"
    lost, share = 0.0, 1.0
    if base.evidence and base.evidence.unsolved:
        share = base.evidence.unsolved_truncated / base.evidence.unsolved
        numbers[f"{base.model}: unsolved answers cut off"] = share
        text += f"; {share:.1%} of {base.model}'s unsolved ones"
    if whole := _untruncated(base, last):
        sizes = [min(k, *(samples for samples, _ in pair)) for pair in zip(*whole, strict=True)]
        before, after = (_mean_of_own(each, sizes) for each in whole)
        strict = _gain(base.counts, last.counts, k)
        lost = _lost(strict, after - before)
        numbers |= {
            "problems with answers that were not cut off": len(sizes),
            f"{base.model}: pass@{k} of these answers": before,
            f"{last.model}: pass@{k} of these answers": after,
        }
        text += (
            f"; pass@{k} of those that did not: {before:.3f}, {after:.3f}, a gain of {after - before:+.3f} instead of "
        )
        text += f"{strict:+.3f}"
    differ = abs(shares[0] - shares[1]) > NOTABLE_TRUNCATION
    found = (differ and share >= NOTABLE_LOSS) or lost >= NOTABLE_LOSS
    return Explanation(name="truncation", found=found, text=text, numbers=numbers)


def unequal_tokens(base: Side, last: Side, k: int) -> Explanation:
    """Whether the models spent other numbers of tokens per sample; pass@k with the same samples and the same tokens."""
    spent = [_spending(side) for side in (base, last)]
    if not all(spent):
        return Explanation(name="tokens", found=None, text="the evaluations do not say how long the answers were")
    lengths = [float(np.mean([each.tokens for each in of_side])) for of_side in spent]
    budget = k * min(lengths)
    bought = [pass_at_budget(of_side, budget) for of_side in spent]
    before, after, gain = bootstrap_rows(
        np.array([*(each.values for each in bought), bought[1].values - bought[0].values])
    )
    bounded = max(each.bounded for each in bought)
    text = (
        f"{base.model} {lengths[0]:,.0f} per sample, {last.model} {lengths[1]:,.0f}; pass@{k} "
        f"{_gain(base.counts, last.counts, k):+.3f} with equal samples, and with equal tokens, {budget:,.0f} per "
        f"problem, {before.mean:.3f} and {after.mean:.3f}: {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    )
    if bounded:
        text += f" (for {bounded} problems there are too few samples for it: lower bounds)"
    return Explanation(
        name="tokens",
        found=max(lengths) > NOTABLE_LENGTH * min(lengths),
        text=text,
        numbers={
            f"{base.model}: tokens per sample": lengths[0],
            f"{last.model}: tokens per sample": lengths[1],
            "tokens per problem": budget,
            f"{base.model}: pass with these": before.mean,
            f"{last.model}: pass with these": after.mean,
            "gain with equal tokens": gain.mean,
            f"gain with equal samples, pass@{k}": _gain(base.counts, last.counts, k),
        },
    )


@dataclass(kw_only=True, slots=True, frozen=True)
class BudgetCurves:
    """pass@B over all problems, by model, for `budgets` of tokens per problem, ascending."""

    budgets: list[float]
    passes: dict[str, list[Estimate]]


def budget_curves(sides: Sequence[Side], k: int) -> BudgetCurves | None:
    """pass@B from one answer of the model with the shortest ones on to k of them; None if lengths are not known."""
    spent = [_spending(side) for side in sides]
    if not all(spent):
        return None
    shortest = min(float(np.mean([each.tokens for each in of_side])) for of_side in spent)
    budgets = [shortest * size for size in powers_of_two(k)]
    return BudgetCurves(
        budgets=budgets,
        passes={
            side.model: bootstrap_rows(np.array([pass_at_budget(of_side, budget).values for budget in budgets]))
            for side, of_side in zip(sides, spent, strict=True)
        },
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
        numbers={"training prompts": prompts, "gained problems": gained, "of these in training": len(hits)},
    )


def _by_task(base: Side, last: Side, k: int) -> list[str]:
    """A line on every task whose gain is form for a good part, the most first."""
    places: dict[str, list[int]] = {}
    for place, each in enumerate(base.records):
        places.setdefault(str(each["task"]), []).append(place)
    pairs = [(side.counts, _relaxed(side)) for side in (base, last)]
    found = []
    for task, of_task in places.items():
        strict, relaxed = (
            _gain([before[place] for place in of_task], [after[place] for place in of_task], k)
            for before, after in zip(*pairs, strict=True)
        )
        if _lost(strict, relaxed) >= NOTABLE_LOSS:
            found.append(
                (strict - relaxed, f"{task}: gain of pass@{k} {strict:+.3f} as scored, {relaxed:+.3f} in any form")
            )
    return [line for _, line in sorted(found, reverse=True)]


def _relaxed(side: Side) -> list[tuple[int, int]]:
    return [(int(each["samples"]), int(each.get("relaxed") or each["solved"])) for each in side.records]


def _gain(before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]], k: int) -> float:
    return float(passes(after, k).mean() - passes(before, k).mean())


def _lost(gain: float, left: float) -> float:
    """The share of a gain that is gone where only `left` is left of it; 0 for gains too small to explain."""
    return 1 - left / gain if gain > NOTABLE_GAIN else 0.0


def _untruncated(base: Side, last: Side) -> list[list[tuple[int, int]]]:
    """(samples, solved) of both sides without what the limit cut off, of the problems where something is left in both.

    From the answers where they were kept; otherwise from the counts, as if nothing that was cut off had been right.
    """

    def of(side: Side, record: Record) -> tuple[int, int]:
        if side.evidence:
            return side.evidence.untruncated.get(str(record["key"]), (0, 0))
        solved = int(record["solved"])
        return max(int(record["samples"]) - int(record["truncated"]), solved), solved

    if not all(side.evidence or all("truncated" in each for each in side.records) for side in (base, last)):
        return []
    pairs = [(of(base, one), of(last, two)) for one, two in zip(base.records, last.records, strict=True)]
    left = [pair for pair in pairs if min(pair)[0] > 0]
    return [[pair[side] for pair in left] for side in (0, 1)] if left else []


def _mean_of_own(counts: Sequence[tuple[int, int]], sizes: Sequence[int]) -> float:
    """The mean of pass@k, every problem with its own k."""
    values = np.zeros(len(counts))
    of_k = np.asarray(sizes)
    numbers = np.asarray(counts)
    for k in np.unique(of_k).tolist():
        values[of_k == k] = passes(numbers[of_k == k], k)
    return float(values.mean())


def _spending(side: Side) -> list[Spending]:
    """Samples and tokens of every problem; the mean length of all stands for those that were not counted one by one."""
    mean = side.metric("length")
    found = []
    for each in side.records:
        answers = int(each.get("answers") or each["samples"])
        tokens = each["tokens"] / answers if each.get("tokens") and answers else mean
        found.append(Spending(samples=int(each["samples"]), solved=int(each["solved"]), tokens=tokens))
    return found if all(each.tokens > 0 for each in found) else []
