"""When engine and learner count as one model."""

from __future__ import annotations

import numpy as np
import pytest

from prorl_mega.errors import NumericsError
from prorl_mega.recipe.agreement import check_agreement
from prorl_mega.types import TrainSample


def sampled(gaps: list[float], version: int = 3) -> TrainSample:
    engine = np.full(len(gaps), -2.0, np.float32)
    return TrainSample(
        tokens=np.zeros(len(gaps) + 1, np.int32),
        prompt_length=1,
        advantage=0.0,
        reward=0.0,
        rollout_logprobs=engine,
        version=version,
        old_logprobs=(engine + np.array(gaps)).astype(np.float32),
    )


def test_the_mean_over_all_tokens_counts_whatever_its_sign() -> None:
    assert check_agreement([sampled([0.25]), sampled([0.0, 0.0, -0.15])], 3, 0.11)
    with pytest.raises(NumericsError, match=r"4 tokens.* -2 in the engine and -1.975 in .*by 0.1 per.*is 0.09"):
        check_agreement([sampled([0.25]), sampled([0.0, 0.0, -0.15])], 3, 0.09)


def test_answers_of_earlier_weights_differ_by_right() -> None:
    assert check_agreement([sampled([5.0, 5.0], version=2), sampled([0.0])], 3, 1e-3)
    assert not check_agreement([sampled([5.0, 5.0], version=2)], 3, 1e-3), "the next step compares"
    with pytest.raises(NumericsError):
        check_agreement([sampled([0.0] * 9, version=2), sampled([0.1])], 3, 1e-3)


def test_a_step_without_tokens_says_nothing() -> None:
    assert not check_agreement([], 3, 1e-3)
