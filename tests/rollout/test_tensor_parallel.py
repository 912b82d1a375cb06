"""Two ranks as one engine against one rank: the same samples, and Hugging Face's log-probabilities on both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from helpers.distributed import run_ranks
from helpers.rollouts import (
    checkpoint_tensors,
    engine_checkpoint,
    huggingface_error,
    sampling,
    some_prompts,
    some_seeds,
    start_rollout,
    stream,
)

from prorl_mega.errors import ConfigError
from prorl_mega.protocols import Finished
from prorl_mega.types import Completion

SAMPLES = 6


def _sample(checkpoint: str, tensor: int) -> tuple[list[list[Completion]], float, list[list[int]]]:
    """Completions, the error of their log-probabilities, and the numbers of those that ended in each step."""
    dist.init_process_group("gloo")
    directory, prompts = Path(checkpoint), some_prompts()
    tensors = checkpoint_tensors(directory)
    rollout = start_rollout(directory, world_size=dist.get_world_size(), tensor=tensor)
    for version, scale in enumerate((1.1, 1.0)):  # the second one counts
        rollout.push(stream({name: each * scale for name, each in tensors.items()}), version)
    watched: list[Finished] = []
    seeds = some_seeds(len(prompts), SAMPLES)
    completions = rollout.generate(prompts, **sampling(samples=SAMPLES, seeds=seeds, watch=watched.append))
    numbers = [[number for number, _ in finished] for finished in watched]
    error = huggingface_error(tensors, directory, prompts, completions) if dist.get_rank() == 0 else 0.0
    return completions, error, numbers


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(engine_checkpoint(tmp_path_factory.mktemp("model"), "qwen3"))


def test_two_ranks_sample_what_one_samples(checkpoint: str) -> None:
    ((one, error, ended),) = run_ranks(_sample, 1, checkpoint, 1, timeout_s=400)
    (left, left_error, left_ended), (right, right_error, right_ended) = run_ranks(
        _sample, 2, checkpoint, 2, timeout_s=400
    )
    assert max(error, left_error, right_error) <= 1e-5
    assert left_ended == right_ended == ended, "both ranks see the same samples end in the same step"
    for ours, theirs, single in zip(sum(left, []), sum(right, []), sum(one, []), strict=True):  # noqa: RUF017
        assert np.array_equal(ours.tokens, theirs.tokens)
        assert np.array_equal(ours.logprobs, theirs.logprobs)  # ranks of one engine: the same bits
        assert np.array_equal(ours.tokens, single.tokens)
        np.testing.assert_allclose(ours.logprobs, single.logprobs, rtol=0, atol=1e-5)


def test_ranks_have_to_make_whole_engines(checkpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"rollout\.tensor=2 does not divide the 3 ranks"):
        start_rollout(Path(checkpoint), world_size=3, tensor=2)
    assert not torch.distributed.is_initialized()
