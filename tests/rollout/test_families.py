"""vLLM against Hugging Face for the families that `test_engine.py` does not run, each with the learner's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed as dist
from helpers.distributed import run_ranks
from helpers.rollouts import (
    by_prompt,
    checkpoint_tensors,
    engine_checkpoint,
    huggingface_error,
    some_prompts,
    some_seeds,
    start_rollout,
    steps_of,
    stream,
)

from prorl_mega.huggingface.config import describe

pytestmark = pytest.mark.slow


def sample(checkpoint: Path) -> float:
    """The largest error of the engine's log-probabilities after an update of its weights."""
    dist.init_process_group("gloo")
    tensors, prompts = checkpoint_tensors(checkpoint), some_prompts()
    rollout = start_rollout(checkpoint)
    for version, scale in enumerate((1.1, 1.0)):  # the second one counts
        rollout.update_weights(stream({name: each * scale for name, each in tensors.items()}), version)
    completions = by_prompt(steps_of(rollout, prompts, some_seeds(len(prompts), 4)), len(prompts))
    return huggingface_error(tensors, checkpoint, prompts, completions)


@pytest.mark.parametrize("family", ["mistral", "yarn", "phi3", "phi3_long"])
def test_log_probabilities_are_hugging_faces(tmp_path: Path, family: str) -> None:
    checkpoint = engine_checkpoint(tmp_path, family)
    describe(checkpoint)  # which the learner computes: test_parity.py
    assert run_ranks(sample, 1, checkpoint, timeout_s=400)[0] <= 1e-5
