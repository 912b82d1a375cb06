"""Learner and engines in the same ranks: after a push they agree, whatever the layout of either.

Four ranks hold every layout of the learner in turn (data parallelism is what is left over), each with weights of its
own, and engines of one or of two ranks.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.distributed import run_ranks
from helpers.pushing import pushing_learner
from helpers.rollouts import (
    by_prompt,
    checkpoint_tensors,
    engine_checkpoint,
    held_weights,
    shard_of,
    some_prompts,
    some_seeds,
    start_rollout,
    steps_of,
)

LAYOUTS = ((1, 1), (2, 1), (1, 2), (2, 2))
WORLD, SAMPLES = 4, 4


def push_from_every_layout(checkpoints: list[str], engine_size: int) -> list[dict[str, Any]]:
    """For each layout: this rank's largest difference of log-probabilities, and what its engine holds wrongly."""
    from prorl_mega.distributed.collectives import job_ranks
    from prorl_mega.learner.backend import initialize_distributed

    initialize_distributed(600)
    ranks = job_ranks()
    rollout = start_rollout(Path(checkpoints[0]), tensor=engine_size)
    return [
        _push(rollout, ranks, checkpoint, layout, version)
        for version, (checkpoint, layout) in enumerate(zip(checkpoints, LAYOUTS, strict=True))
    ]


def _push(rollout: Any, ranks: Any, checkpoint: str, layout: tuple[int, int], version: int) -> dict[str, Any]:
    from prorl_mega.types import TrainSample
    from prorl_mega.weight_sync import WeightSync, policy_stream

    learner = pushing_learner(checkpoint, *layout)
    with held_weights(rollout) as held:
        stream = partial(policy_stream, learner, bucket_mib=1)
        WeightSync(stream=stream, rollout=rollout, ranks=ranks).update_weights(version)
    prompts = some_prompts(3)
    groups = by_prompt(steps_of(rollout, prompts, some_seeds(3, SAMPLES)), 3)
    sequences = [
        TrainSample(
            tokens=np.concatenate([prompt, each.tokens]),
            prompt_length=len(prompt),
            advantage=0.0,
            reward=0.0,
            rollout_logprobs=each.logprobs,
            version=each.version,
        )
        for prompt, group in zip(prompts, groups, strict=True)
        for each in group
    ]
    sampled = [sequence.tokens.tolist() for sequence in sequences]
    learner.compute_log_probs(sequences)
    return {
        "engines agree": all(each == sampled for each in ranks.gather(sampled)),
        "difference": max(float(np.abs(each.old_logprobs - each.rollout_logprobs).max()) for each in sequences),
        "wrong": _wrong(held, checkpoint_tensors(Path(checkpoint)), rollout._config.tensor, ranks.rank),
        "held": len(held),
        "versions": {each.version for each in sequences},
    }


def _wrong(held: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], size: int, rank: int) -> list[str]:
    """Names of parameters whose bits are not the checkpoint's; rows of padding count as nothing."""
    tied = {"lm_head.weight": tensors["model.embed_tokens.weight"]} | tensors
    shards = {name: shard_of(name, tied, rank=rank % size, size=size) for name in held}
    return [name for name, shard in shards.items() if not torch.equal(held[name][: len(shard)], shard)]


@pytest.mark.parametrize(("engine_size", "family", "parameters"), [(1, "qwen2_tied", 17), (2, "llama3", 15)])
def test_engines_hold_and_compute_what_the_learner_does(
    engine_size: int, family: str, parameters: int, tmp_path: Path
) -> None:
    checkpoints = [str(engine_checkpoint(tmp_path / str(seed), family, seed=seed)) for seed in range(len(LAYOUTS))]
    by_rank = run_ranks(push_from_every_layout, WORLD, checkpoints, engine_size, timeout_s=900)
    for rank, layouts in enumerate(by_rank):
        for version, (layout, seen) in enumerate(zip(LAYOUTS, layouts, strict=True)):
            where = f"rank {rank}, learner tensor x pipeline {layout}"
            assert seen["wrong"] == [], where
            assert seen["held"] == parameters, where
            assert seen["difference"] <= 1e-5, where
            assert seen["engines agree"], where
            assert seen["versions"] == {version}, where
