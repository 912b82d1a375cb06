"""Sequences whose log-probabilities of sampler and learner differ by given numbers, and reports on them."""

from __future__ import annotations

import numpy as np

from prorl_mega.recipe.parity import parity_report
from prorl_mega.types import ParityReport, TrainSample


def differing(key: str, gaps: list[float], *, version: int = 3, prompt: int = 2, first: int = 10) -> TrainSample:
    """An answer to problem `key` with tokens `first`, `first` + 1, …; the prompt's are 0, 1, …"""
    sampler = np.full(len(gaps), -2.0, np.float32)
    return TrainSample(
        tokens=np.concatenate([np.arange(prompt), np.arange(len(gaps)) + first]).astype(np.int32),
        prompt_length=prompt,
        advantage=0.0,
        reward=0.0,
        rollout_logprobs=sampler,
        version=version,
        key=key,
        old_logprobs=(sampler + np.array(gaps)).astype(np.float32),
    )


def as_words(ids: np.ndarray) -> str:
    """A tokenizer whose tokens are numbers with a space in front, which the first one loses."""
    return " ".join(str(each) for each in ids)


def report_on(*sequences: TrainSample, version: int = 3) -> ParityReport:
    return parity_report(sequences, version, as_words)
