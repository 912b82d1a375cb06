"""The prompt of a group is computed once, but for what does not fill a block of the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.distributed import run_ranks
from helpers.rollouts import ENDS, VALID_VOCABULARY, checkpoint_tensors, engine_checkpoint, stream

SAMPLES = 16
LENGTHS = (31, 100, 128, 300)  # tokens of a prompt


def first_passes(checkpoint: str) -> list[int]:
    """The tokens of the first forward pass of a group, for every length."""
    from vllm.v1.core.sched.scheduler import Scheduler

    from prorl_mega.config.schema import Precision, RolloutConfig
    from prorl_mega.learner.backend import initialize_distributed
    from prorl_mega.rollout.engine import VllmRollout

    initialize_distributed(60)
    config = RolloutConfig(max_prompt_tokens=max(LENGTHS), max_response_tokens=4, max_concurrent=SAMPLES)
    rollout = VllmRollout(
        Path(checkpoint), config, precision=Precision.fp32, valid_vocab=VALID_VOCABULARY, end_ids=ENDS, seed=1
    )
    rollout.update_weights(stream(checkpoint_tensors(Path(checkpoint))), 0)
    passes: list[int] = []
    schedule: Any = Scheduler.schedule

    def counted(self: Any, *arguments: Any) -> Any:
        output = schedule(self, *arguments)
        passes.append(output.total_num_scheduled_tokens)
        return output

    setattr(Scheduler, "schedule", counted)  # noqa: B010
    found = []
    for length in LENGTHS:
        passes.clear()
        prompt = np.arange(length, dtype=np.int32) % 200 + length % 7 + 3
        seeds = [list(range(SAMPLES))]
        list(rollout.generate([prompt], samples=SAMPLES, seeds=seeds, temperature=1.0, top_p=1.0, max_tokens=4))
        found.append(passes[0])
    return found


def test_whole_blocks_are_computed_once(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    from prorl_mega.rollout import startup

    checkpoint = str(engine_checkpoint(tmp_path / "model", "qwen2_tied"))
    (found,) = run_ranks(first_passes, 1, checkpoint, timeout_s=600)
    block = startup._CPU_BLOCK_TOKENS
    whole = [(length - 1) // block * block for length in LENGTHS]  # the last token is needed for the first answer
    assert found == [once + SAMPLES * (length - once) for once, length in zip(whole, LENGTHS, strict=True)]
    assert found[-1] == 288 + SAMPLES * 12
