"""`rollout.batch_invariant` on a GPU: a sample does not depend on its batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.distributed import run_ranks
from helpers.rollouts import ENDS, TEMPERATURE, VALID_VOCABULARY, checkpoint_tensors, engine_checkpoint, stream

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def alone_and_among_others(checkpoint: str) -> list[dict[int, Any]]:
    """Tokens and log-probabilities of the same eight samples, by themselves and with 120 others beside them."""
    from prorl_mega.config.schema import Precision, RolloutConfig
    from prorl_mega.learner.backend import initialize_distributed
    from prorl_mega.rollout.engine import VllmRollout

    initialize_distributed(60)
    config = RolloutConfig(max_prompt_tokens=24, max_response_tokens=64, max_concurrent=128, batch_invariant=True)
    rollout = VllmRollout(
        Path(checkpoint), config, precision=Precision.bf16, valid_vocab=VALID_VOCABULARY, end_ids=ENDS, seed=1
    )
    rollout.update_weights(stream(checkpoint_tensors(Path(checkpoint))), 0)
    prompts = [np.arange(20, 20 + size, dtype=np.int32) for size in (3, *range(4, 19))]
    results = []
    for count in (1, len(prompts)):
        seeds = [[8 * index + sample for sample in range(8)] for index in range(count)]
        found = dict[int, Any]()
        for finished in rollout.generate(
            prompts[:count], samples=8, seeds=seeds, temperature=TEMPERATURE, top_p=1.0, max_tokens=64
        ):
            found |= {index: (each.tokens.tolist(), each.logprobs.tolist()) for index, each in finished if index < 8}
        results.append(found)
    return results


def test_a_sample_is_the_same_alone_and_in_a_large_batch(tmp_path: Path) -> None:
    checkpoint = str(engine_checkpoint(tmp_path / "model", "qwen2_tied"))
    ((alone, among_others),) = run_ranks(alone_and_among_others, 1, checkpoint, timeout_s=600)
    assert alone == among_others
