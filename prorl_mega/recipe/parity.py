"""Parity: how far sampler and learner are apart on every token that was sampled, and on which tokens most.

`agreement.py` looks at one mean, once; this looks at the whole distribution, every `schedule.parity_every` steps. A
mean of 0.01 nats that rounding makes everywhere, and one that a few broken tokens make, are the same number there and
different pictures here: a fault of RoPE grows with the position, staleness with the version, the worst tokens have
names.

Everything is a function of the set of sequences: their order, and so the split over ranks, changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from prorl_mega.types import Metrics, ParityReport, ParitySlice, ParityToken, TrainSample

EDGES = tuple(float(f"{10 ** (power / 2):.3g}") for power in range(-14, 3))  # 1e-7 to 10 nats, two per decade
WORST = 10  # tokens that are named
CONTEXT = 24  # tokens before each of them that are shown as text
LONGEST = 400  # characters of such a text

Decode = Callable[[np.ndarray], str]
"""The text of token ids `[n]` int32, control tokens included."""


def is_parity_due(step: int, every: int) -> bool:
    """Whether step `step`, from 1, gets a report: the first one does, and then every `every` steps (0: no other)."""
    return step == 1 or (every > 0 and step % every == 0)


def parity_report(sequences: Sequence[TrainSample], version: int, decode: Decode) -> ParityReport:
    """The report on sequences whose `old_logprobs` are those of the learner's weights `version`."""
    ordered = sorted(sequences, key=lambda each: (each.key, each.version, each.tokens.tobytes(), each.prompt_length))
    lengths = np.array([each.completion_length for each in ordered], dtype=np.int64)
    owners = np.repeat(np.arange(len(ordered)), lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(starts[-1]) - starts[owners]
    versions = np.concatenate([np.empty(0, np.int64), *(each.token_versions() for each in ordered)])
    sampler = _joined([each.rollout_logprobs for each in ordered])
    learner = _joined([_learner_logprobs(each) for each in ordered])
    with np.errstate(invalid="ignore"):  # infinity less infinity
        difference = np.abs(learner - sampler)
    is_finite = np.isfinite(difference)
    falling = np.argsort(np.where(is_finite, -difference, -np.inf), kind="stable")
    not_finite = int((~is_finite).sum())

    def token(index: int) -> ParityToken:
        sequence = ordered[owners[index]]
        position = int(positions[index])
        text, before = _texts(sequence.tokens, sequence.prompt_length + position, decode)
        return ParityToken(
            key=sequence.key,
            position=position,
            version=int(sequence.token_versions()[position]),
            token=int(sequence.tokens[sequence.prompt_length + position]),
            text=text,
            before=before,
            sampler=_finite(sampler[index]),
            learner=_finite(learner[index]),
            difference=_finite(difference[index]),
        )

    ranked = falling[not_finite:]  # finite ones, the largest difference first
    values, versions, positions_ranked = difference[ranked], versions[ranked], positions[ranked]
    octaves = np.where(positions_ranked > 0, np.frexp(positions_ranked)[1], 0)
    return ParityReport(
        version=version,
        answers=len(ordered),
        not_finite=not_finite,
        edges=list(EDGES),
        whole=_slice(values, 0, int(positions_ranked.max(initial=0))),
        by_version=[_slice(values[versions == each], int(each), int(each)) for each in np.unique(versions)[::-1]],
        by_position=[_slice(values[octaves == each], *_octave(int(each))) for each in np.unique(octaves)],
        worst=[token(index) for index in _first_distinct(falling, ordered, owners, positions)],
    )


def parity_metrics(report: ParityReport) -> Metrics:
    """The numbers for metrics.jsonl; per version, by its distance to the learner's, where there are several."""
    metrics = _numbers(report.whole) | {"sampler/parity_not_finite": float(report.not_finite)}
    if len(report.by_version) > 1:
        for each in report.by_version:
            lag = report.version - each.first
            metrics |= {f"{name}/lag_{lag}": value for name, value in _numbers(each).items()}
    return metrics


def _numbers(part: ParitySlice) -> Metrics:
    return {
        "sampler/parity_mean": part.mean,
        "sampler/parity_p50": part.p50,
        "sampler/parity_p99": part.p99,
        "sampler/parity_max": part.max,
    }


def _first_distinct(
    falling: np.ndarray, sequences: Sequence[TrainSample], owners: np.ndarray, positions: np.ndarray
) -> list[int]:
    """The first WORST of the tokens `falling` that differ in problem, version or text so far: answers to a problem are
    often equal for a while, and one of them says it all."""
    found: dict[tuple[str, int, bytes], int] = {}
    for index in falling.tolist():
        sequence = sequences[owners[index]]
        end = sequence.prompt_length + int(positions[index]) + 1
        found.setdefault((sequence.key, sequence.version, sequence.tokens[:end].tobytes()), index)
        if len(found) == WORST:
            break
    return list(found.values())


def _slice(falling: np.ndarray, first: int, last: int) -> ParitySlice:
    """The slice of these differences, `[tokens]` float64, the largest first."""
    count = len(falling)
    bins = np.searchsorted(EDGES, falling, side="right")
    return ParitySlice(
        first=first,
        last=last,
        tokens=count,
        mean=float(falling.sum() / max(count, 1)),
        p50=_quantile(falling, 50),
        p99=_quantile(falling, 99),
        max=float(falling.max(initial=0.0)),
        counts=np.bincount(bins, minlength=len(EDGES) + 1).tolist(),
    )


def _quantile(falling: np.ndarray, per_cent: int) -> float:
    """The smallest value that at least `per_cent` of all values do not exceed; 0 without values."""
    if not len(falling):
        return 0.0
    return float(falling[len(falling) - math.ceil(len(falling) * per_cent / 100)])


def _octave(number: int) -> tuple[int, int]:
    """The first and the last position of a bin: 0, 1, 2 to 3, 4 to 7, 8 to 15, …"""
    return (0, 0) if number == 0 else (2 ** (number - 1), 2**number - 1)


def _texts(tokens: np.ndarray, at: int, decode: Decode) -> tuple[str, str]:
    """The text of token `at`, and that of the tokens before it.

    Decoded together, because a first token may lose its space; alone if it ends inside of a character.
    """
    start = max(0, at - CONTEXT)
    before, both = decode(tokens[start:at]), decode(tokens[start : at + 1])
    text = both[len(before) :] if both.startswith(before) and len(both) > len(before) else decode(tokens[at : at + 1])
    return text[:LONGEST], before[-LONGEST:]


def _learner_logprobs(sequence: TrainSample) -> np.ndarray:
    assert sequence.old_logprobs is not None, "the learner's log-probabilities come first"
    return sequence.old_logprobs


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *arrays], dtype=np.float64)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
