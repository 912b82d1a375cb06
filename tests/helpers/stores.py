"""Evaluations with known answers, written as `python -m prorl_mega.evaluate` writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prorl_mega.run import sample_store
from prorl_mega.run.sample_store import StoredProblem, StoredSample, StoredVerdict, StoreHeader


def header(label: str = "policy", samples: int = 4, **changes: object) -> StoreHeader:
    fields: dict[str, object] = {
        "label": label, "step": 0, "policy": "weights", "identity": label, "seed": 1, "samples": samples,
        "settings": {"evaluation.temperature": 0.6, "evaluation.top_p": 0.95, "evaluation.samples": samples},
        "config": {}, "provenance": {"prorl_mega": "0.2"},
    } | changes  # fmt: skip
    return StoreHeader(**fields)  # type: ignore[arg-type]


def write_store(
    directory: Path,
    problems: Iterable[StoredProblem],
    samples: Iterable[StoredSample],
    verdicts: Iterable[StoredVerdict] = (),
    about: StoreHeader | None = None,
) -> Path:
    """Write a whole store; returns its folder."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    sample_store.write_store(directory, about or header(), problems, samples, verdicts)
    return directory


def sample(problem: int, number: int, text: str = "7", **changes: object) -> StoredSample:
    fields: dict[str, object] = {
        "problem": problem, "sample": number, "seed": 1000 * problem + number, "text": text, "finish": "stop",
        "length": len(text) + 1, "tokens": [*range(len(text) + 1)], "logprobs": [-0.5] * (len(text) + 1),
    } | changes  # fmt: skip
    return StoredSample(**fields)  # type: ignore[arg-type]
