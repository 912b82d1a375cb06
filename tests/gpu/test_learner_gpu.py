"""The learner on a GPU: the same log-probabilities as transformers on the CPU, and updates that go somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.distributed import run_ranks
from helpers.plain import plain_annotation
from helpers.tiny import tiny_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def three_updates(path: Path) -> dict[str, Any]:
    from helpers.learning import TWO_UPDATES, make_learner, make_sequences

    from prorl_mega.types import StepHyperparams

    learner = make_learner(path, recipe=TWO_UPDATES)
    sequences = make_sequences(10)
    learner.compute_log_probs(sequences)
    old = [sequence.old_logprobs for sequence in sequences]
    coefficients = StepHyperparams(kl=0.1, entropy=0.0, learning_rate=1e-2)
    metrics = [learner.update(sequences, coefficients) for _ in range(3)]
    devices = {value.device.type for value in learner.parameters().values()}
    return {"old": old, "metrics": metrics, "devices": devices, "kernels": learner.kernels}


def test_log_probabilities_and_updates(tmp_path: Path) -> None:
    from helpers.learning import make_sequences

    path = tiny_checkpoint(tmp_path, "qwen2")
    (seen,) = run_ranks(three_updates, 1, path)
    assert seen["devices"] == {"cuda"}
    assert seen["kernels"].refused == {}, str(seen["kernels"])
    for actual, expected in zip(seen["old"], plain_annotation(path, make_sequences(10)), strict=True):
        np.testing.assert_allclose(actual, expected, atol=2e-3)
    divergences = [metrics["policy/kl"] for metrics in seen["metrics"]]
    assert abs(divergences[0]) < abs(divergences[-1])
    assert np.isfinite([value for metrics in seen["metrics"] for value in metrics.values()]).all()
