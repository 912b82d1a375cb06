"""Recipes that contradict themselves are refused with a sentence; the others are not."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from helpers.settings import model_directory, run_config

from prorl_mega.config.compose import config_directory
from prorl_mega.errors import ConfigError

PRESETS = sorted(file.stem for file in (config_directory() / "recipe").glob("*.yaml"))
LONG_ANSWERS = ("rollout.max_response_tokens=8192", "parallel.max_tokens_per_microbatch=16384")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("recipes") / "model")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["samples_per_prompt=1", "advantage.estimator=rloo"],
            r"samples_per_prompt=1: rloo compares .* 2 or more work",
        ),
        (
            ["samples_per_prompt=1", "advantage.estimator=reinforce_pp"],
            r"one sample has no spread.*keep_uniform_groups=true",
        ),
        (
            ["selection.keep_uniform_groups=true"],
            r"selection.keep_uniform_groups=true keeps what recipe\.selection\.dynamic_sampling=true",
        ),
        (
            ["selection.pass_rate_min=0.6", "selection.pass_rate_max=0.4"],
            r"selection.pass_rate_min=0\.6 is not below recipe\.selection\.pass_rate_max=0\.4",
        ),
        (
            ["policy_loss.force_on_policy=true", "prompts_per_update=16"],
            r"policy_loss.force_on_policy=true .*; prompts_per_update=32 works",
        ),
        (
            ["policy_loss.kind=gspo", "importance_sampling.kind=tis"],
            r"importance_sampling\.kind=tis weighs single tokens .*kind=mis, none or",
        ),
        (["policy_loss.kind=gspo", "importance_sampling.kind=icepop"], r"kind=icepop weighs single tokens"),
        (
            ["policy_loss.kind=gspo", "importance_sampling.kind=sequence_mask"],
            r"kind=sequence_mask weighs single tokens",
        ),
        (
            ["importance_sampling.floor=1", "importance_sampling.cap=1"],
            r"importance_sampling\.floor=1 is not below recipe\.importance_sampling\.cap=1",
        ),
        (["importance_sampling.cap=0.5"], r"recipe\.importance_sampling\.cap=0\.5 must be at least 1"),
        (
            ["policy_loss.clip_cov=0.01", "policy_loss.clip_cov_low=6"],
            r"clip_cov_low=6 is above clip_cov_high=5: no token is drawn",
        ),
        (
            ["policy_loss.kind=dual_clip", "policy_loss.dual_clip=1.3"],
            r"policy_loss.dual_clip=1\.3 is not above 1 \+ recipe\.policy_loss\.clip_high=1\.4",
        ),
        (["kl.placement=reward", "kl.estimator=exact_reverse"], r"exact_reverse measures a distribution.*k1, k2 or k3"),
        (["shaping.length_weight=0.1", "shaping.overlong_buffer=8"], r"length_weight=0\.1 and .*=8 both punish length"),
        (["shaping.termination=scale", "shaping.overlong_buffer=8"], r"termination=scale and .* truncated"),
        (["shaping.termination=fixed", "shaping.overlong_filtering=true"], r"termination=fixed punishes answers"),
        (["shaping.overlong_buffer=65"], r"overlong_buffer=65 is more than rollout\.max_response_tokens=64"),
        (["shaping.length_reward_min=1"], r"length_reward_min=1 is above .*=0: long answers would be rewarded"),
        (["shaping.termination_reward=0.5"], r"termination_reward=0\.5 must be at most 0"),
        (["curriculum.low=0.9", "curriculum.high=0.1"], r"curriculum\.low=0\.9 is above"),
    ],
)
def test_contradictions(overrides: list[str], message: str, model: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(model, *(f"recipe.{each}" for each in overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "advantage.estimator=reinforce_pp",
            "samples_per_prompt=1",
            "selection.keep_uniform_groups=true",
            "selection.dynamic_sampling=false",
        ],
        [
            "advantage.estimator=reinforce_pp_baseline",
            "advantage.batch_moments=token",
            "kl.placement=reward",
            "kl.estimator=k1",
        ],
        [
            "policy_loss.kind=gspo",
            "importance_sampling.kind=mis",
            "loss.aggregation=sequence_mean",
            "policy_loss.clip_low=3e-4",
            "policy_loss.clip_high=4e-4",
        ],
        ["policy_loss.kind=cispo", "policy_loss.clip_low=1", "importance_sampling.kind=tis"],
        [
            "policy_loss.force_on_policy=true",
            "importance_sampling.kind=sequence_mask",
            "importance_sampling.floor=0.999",
            "importance_sampling.cap=1.002",
        ],
        [
            "loss.aggregation=fixed_length",
            "loss.fixed_length=64",
            "advantage.estimator=dr_grpo",
            "kl.estimator=exact_forward",
        ],
        ["shaping.overlong_buffer=64", "shaping.overlong_filtering=true"],
        ["shaping.length_weight=0.1", "shaping.termination=scale", "selection.pass_rate_max=0.9"],
    ],
)
def test_combinations_that_work(overrides: list[str], model: Path) -> None:
    recipe: Any = run_config(model, *(f"recipe.{each}" for each in overrides)).recipe
    for key, _, value in (each.partition("=") for each in overrides):
        found = functools.reduce(getattr, key.split("."), recipe)
        assert found == {"true": True, "false": False}.get(value, type(found)(value))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_consistent(preset: str, model: Path) -> None:
    config = run_config(model, f"recipe={preset}", *LONG_ANSWERS)
    assert config.recipe.loss.fixed_length == 8192
