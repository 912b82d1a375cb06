"""Sampler and learner that compute in the same order of sums: their log-probabilities are equal to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.distributed import run_ranks
from helpers.programs import metrics, run_program
from helpers.rollouts import ENDS, TEMPERATURE, VALID_VOCABULARY, checkpoint_tensors, engine_checkpoint, stream

from prorl_mega.types import TrainSample


def learned(checkpoint: str, batch_invariant: bool, sequences: list[TrainSample]) -> dict[str, Any]:
    """The largest differences to the sampler's log-probabilities, before an update and in it, in packs of two sizes."""
    from prorl_mega.config.recipe import KLConfig
    from prorl_mega.config.schema import ModelConfig, OptimizerConfig, ParallelConfig, Precision, RecipeConfig
    from prorl_mega.learner.learner import MegatronLearner
    from prorl_mega.types import StepHyperparams
    from prorl_mega.weights.load import load_weights

    gaps, norms = [], []
    for capacity in (512, 8192):
        learner = MegatronLearner(
            model=ModelConfig(path=checkpoint, precision=Precision.fp32),
            parallel=ParallelConfig(max_tokens_per_microbatch=capacity),
            optimizer=OptimizerConfig(),
            recipe=RecipeConfig(prompts_per_step=2, prompts_per_update=1, kl=KLConfig(coef=0.0)),
            temperature=TEMPERATURE,
            valid_vocab=VALID_VOCABULARY,
            seed=3,
            batch_invariant=batch_invariant,
        )
        load_weights(checkpoint, learner.parameters(), learner.description, learner.layout)
        learner.adopt_parameters()
        learner.compute_log_probs(sequences)
        gaps.append(max(float(np.abs(each.old_logprobs - each.rollout_logprobs).max()) for each in sequences))
        for each in sequences:
            each.old_logprobs = None
        norms.append(
            learner.update(sequences, StepHyperparams(kl=0.0, entropy=0.0, learning_rate=0.0))["optimizer/grad_norm"]
        )
        gaps.append(max(float(np.abs(each.old_logprobs - each.rollout_logprobs).max()) for each in sequences))
    return {"gaps": gaps, "norms": norms}


def sampled_and_learned(checkpoint: str) -> list[dict[str, Any]]:
    """Ten samples of each of five prompts from an engine in that mode, for a learner in it and for one that is not."""
    from prorl_mega.config.schema import Precision, RolloutConfig
    from prorl_mega.learner.backend import initialize_distributed
    from prorl_mega.rollout.engine import VllmRollout

    initialize_distributed(60)
    config = RolloutConfig(max_prompt_tokens=80, max_response_tokens=90, max_concurrent=16, batch_invariant=True)
    rollout = VllmRollout(
        Path(checkpoint), config, precision=Precision.fp32, valid_vocab=VALID_VOCABULARY, end_ids=ENDS, seed=1
    )
    rollout.update_weights(stream(checkpoint_tensors(Path(checkpoint))), 0)
    random = np.random.default_rng(0)
    prompts = [random.integers(10, VALID_VOCABULARY, size).astype(np.int32) for size in (1, 2, 31, 33, 70)]
    seeds = [[100 * index + place for place in range(10)] for index in range(len(prompts))]
    sequences = []
    for finished in rollout.generate(
        prompts, samples=10, seeds=seeds, temperature=TEMPERATURE, top_p=1.0, max_tokens=90
    ):
        for index, completion in finished:
            prompt = prompts[index // 10]
            sequences.append(
                TrainSample(
                    tokens=np.concatenate([prompt, completion.tokens]),
                    prompt_length=len(prompt),
                    advantage=random.normal(),
                    reward=0.0,
                    rollout_logprobs=completion.logprobs,
                    version=0,
                )
            )
    return [learned(checkpoint, batch_invariant, sequences) for batch_invariant in (True, False)]


@pytest.mark.parametrize(
    "family",
    ["qwen2_tied", pytest.param("qwen3", marks=pytest.mark.slow), pytest.param("llama3", marks=pytest.mark.slow)],
)
def test_sampler_and_learner_agree_to_the_bit(family: str, tmp_path: Path) -> None:
    checkpoint = str(engine_checkpoint(tmp_path / "model", family))
    ((exact, plain),) = run_ranks(sampled_and_learned, 1, checkpoint, timeout_s=600)
    assert exact["gaps"] == [0.0] * 4
    assert 0.0 < min(plain["gaps"]) <= max(plain["gaps"]) < 1e-4, "without, they agree as arithmetic does"
    assert exact["norms"] == pytest.approx(plain["norms"], rel=1e-5)


@pytest.mark.parametrize("placement", ["colocated", pytest.param("disaggregated", marks=pytest.mark.slow)])
def test_over_a_whole_run_the_difference_is_zero(setup: Path, placement: str) -> None:
    run = ("experiment=small", "schedule.steps=3", "rollout.batch_invariant=true", "recipe.prompts_per_update=2")
    where = (f"placement={placement}", "servers.probe_deadline_s=60", f"name=exact_{placement}")
    finished = run_program("prorl_mega.train", setup, *run, *where)
    assert finished.code == 0, finished.output
    rows = metrics(setup / "runs" / f"exact_{placement}")
    assert len(rows) == 3
    for row in rows:
        assert row["sampler/logprob_gap_max"] == 0.0, row["step"]
        assert row["optimizer/grad_norm"] > 0


def test_what_it_cannot_do_is_refused_with_what_works(setup: Path) -> None:
    exact = ("experiment=small", "rollout.batch_invariant=true", "name=refused")
    finished = run_program("prorl_mega.train", setup, *exact, "model.precision=bf16")
    assert finished.code == 20
    assert "model.precision=fp32 works" in finished.output
