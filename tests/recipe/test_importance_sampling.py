"""Importance weights between sampler and learner, against loops over tokens and answers."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers.groups import scored_group

from prorl_mega.config.recipe import ImportanceSamplingConfig, ImportanceSamplingKind, PolicyLossKind, RecipeConfig
from prorl_mega.recipe.importance_sampling import (
    IMPORTANCE_WEIGHTS,
    ImportanceSamplingInputs,
    resolve_auto,
    rollout_mismatch,
)
from prorl_mega.recipe.train_samples import to_train_samples
from prorl_mega.types import TrainSample

KINDS = [kind for kind in ImportanceSamplingKind if kind is not ImportanceSamplingKind.auto]
BOUNDS = ImportanceSamplingConfig(floor=0.7, cap=1.5)


def inputs(spread: float = 0.5) -> ImportanceSamplingInputs:
    draw = np.random.default_rng(0)
    return ImportanceSamplingInputs(
        log_ratio=torch.tensor(draw.normal(0, spread, 40)),
        sequence_ids=torch.tensor(np.repeat(np.arange(10), 4)),
        metric_weights=torch.full((40,), 1 / 40, dtype=torch.float64),
    )


def plain(batch: ImportanceSamplingInputs, kind: ImportanceSamplingKind) -> list[float]:
    logs, sequence_ids = batch.log_ratio.tolist(), batch.sequence_ids.tolist()
    factors = []
    for log, owner in zip(logs, sequence_ids, strict=True):
        answer = [x for x, o in zip(logs, sequence_ids, strict=True) if o == owner]
        ratio, mean, product = math.exp(log), math.exp(sum(answer) / len(answer)), math.exp(sum(answer))
        factors.append(
            {
                ImportanceSamplingKind.none: 1.0,
                ImportanceSamplingKind.tis: min(max(ratio, 0.7), 1.5),
                ImportanceSamplingKind.icepop: ratio if 0.7 <= ratio <= 1.5 else 0.0,
                ImportanceSamplingKind.sequence_mask: ratio if 0.7 <= mean <= 1.5 else 0.0,
                ImportanceSamplingKind.mis: product if 0.7 <= product <= 1.5 else 0.0,
            }[kind]
        )
    return factors


def test_every_kind_has_a_function() -> None:
    assert set(IMPORTANCE_WEIGHTS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_factors(kind: ImportanceSamplingKind) -> None:
    batch = inputs()
    outputs = IMPORTANCE_WEIGHTS[kind](batch, BOUNDS)
    wanted = plain(batch, kind)
    np.testing.assert_allclose(outputs.factors.numpy(), wanted, rtol=1e-12)
    if kind is ImportanceSamplingKind.none:
        assert outputs.sums == {}
        return
    assert outputs.sums["sampler/correction"].item() == pytest.approx(np.mean(wanted))
    assert 0 < outputs.sums["sampler/corrected"].item() < 1
    if kind is not ImportanceSamplingKind.tis:
        assert outputs.sums["sampler/corrected"].item() == pytest.approx(np.mean([each == 0 for each in wanted]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("log_ratio", [-math.inf, -1e30, 3000.0, math.inf])
def test_extreme_gaps_stay_finite(kind: ImportanceSamplingKind, log_ratio: float) -> None:
    batch = ImportanceSamplingInputs(
        log_ratio=torch.tensor([log_ratio]), sequence_ids=torch.tensor([0]), metric_weights=torch.ones(1)
    )
    assert IMPORTANCE_WEIGHTS[kind](batch, BOUNDS).factors.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows(kind: ImportanceSamplingKind) -> None:
    nothing = torch.zeros(0)
    batch = ImportanceSamplingInputs(log_ratio=nothing, sequence_ids=nothing.long(), metric_weights=nothing)
    assert IMPORTANCE_WEIGHTS[kind](batch, BOUNDS).factors.shape == (0,)


def test_auto_depends_on_the_precision() -> None:
    auto = ImportanceSamplingKind.auto
    assert RecipeConfig().importance_sampling.kind is auto
    assert resolve_auto(auto, PolicyLossKind.ppo_clip, torch.float32) is ImportanceSamplingKind.none
    assert resolve_auto(auto, PolicyLossKind.ppo_clip, torch.bfloat16) is ImportanceSamplingKind.tis
    assert resolve_auto(auto, PolicyLossKind.gspo, torch.bfloat16) is ImportanceSamplingKind.none
    stale = partial(resolve_auto, dtype=torch.float32, sampled_ahead=True)
    assert stale(auto, PolicyLossKind.ppo_clip) is ImportanceSamplingKind.tis
    assert stale(auto, PolicyLossKind.gspo) is ImportanceSamplingKind.mis
    assert stale(ImportanceSamplingKind.none, PolicyLossKind.ppo_clip) is ImportanceSamplingKind.none
    for kind in KINDS:
        assert resolve_auto(kind, PolicyLossKind.cispo, torch.float32) is kind


def sequences(gaps: list[list[float]], versions: list[int]) -> list[TrainSample]:
    group = scored_group([1.0, 0.0, 0.0][: len(gaps)], lengths=[len(each) for each in gaps])
    made = to_train_samples([group], RecipeConfig())
    for sequence, gap, version in zip(made, gaps, versions, strict=True):
        sequence.old_logprobs = (sequence.rollout_logprobs + np.array(gap)).astype(np.float32)
        sequence.version = version
    return made


def test_mismatch_of_one_version_counts_tokens_beyond_the_bound() -> None:
    found = rollout_mismatch(sequences([[0.0, 0.5, -0.8], [0.9]], [7, 7]), bound=2.0)
    assert found == {"sampler/beyond_bound": 0.5}


def test_mismatch_of_several_versions_is_told_apart() -> None:
    found = rollout_mismatch(sequences([[0.1, -0.3], [0.9], [0.0, 0.0]], [9, 7, 9]), bound=2.0)
    assert found["sampler/logprob_gap/lag_0"] == pytest.approx(0.1)
    assert found["sampler/logprob_gap_max/lag_0"] == pytest.approx(0.3)
    assert found["sampler/logprob_gap/lag_2"] == pytest.approx(0.9)
    assert found["sampler/kl/lag_2"] == pytest.approx(math.exp(0.9) - 1 - 0.9, rel=1e-5)
    assert (found["sampler/beyond_bound/lag_0"], found["sampler/beyond_bound/lag_2"]) == (0.0, 1.0)
    assert found["sampler/beyond_bound"] == pytest.approx(1 / 5)


def test_mismatch_of_an_answer_that_weights_of_two_versions_sampled() -> None:
    made = sequences([[0.0, 0.2, 0.4], [0.1]], [7, 9])
    made[0].versions = np.array([7, 9, 9], dtype=np.int32)
    found = rollout_mismatch(made, bound=2.0)
    assert found["sampler/logprob_gap/lag_2"] == pytest.approx(0.0, abs=1e-6)
    assert found["sampler/logprob_gap/lag_0"] == pytest.approx(0.7 / 3, rel=1e-5)
