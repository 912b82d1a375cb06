"""The engine against the learner: for the same weights and tokens, both have to give the same log-probabilities.

The bound is on the mean of |log p(learner) − log p(engine)| over the sampled tokens, in nats. Both are log-probs at the
temperature of sampling over the same vocabulary, and the weights are those that sampled, so only rounding is left:

    fp32   1e-3   measured 1e-6 on a CPU; products in TF32 stay near 1e-4
    bf16   0.05   a logit of 16 to 32 is rounded to 1/8 or 1/16 when it is stored; public runs report 0.01 to 0.036

A learner that reads config.json otherwise than the engine is far beyond: plain RoPE against YaRN gives 0.08 on a model
with random weights, and whole nats on a trained one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from prorl_mega.errors import NumericsError
from prorl_mega.types import TrainSample

LIKELY_CAUSES = (
    "Likely causes: a field of config.json that engine and learner read differently (RoPE scaling first of all), a "
    "version of vLLM that was not tested, quantised or low-precision engine settings; with bf16 on a large model a gap "
    "just above the bound may be rounding, then raise rollout.max_logprob_gap"
)
BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 0.05}


def check_agreement(sequences: Sequence[TrainSample], version: int, bound: float) -> bool:
    """Raise `NumericsError` if engine and learner differ by more than `bound` on samples of the weights `version`.

    The sequences have `old_logprobs`, of those weights; nothing is computed but a mean. Returns whether there was
    anything to compare: samples of earlier weights differ by right.
    """
    pairs = [
        (sequence.old_logprobs, sequence.rollout_logprobs)
        for sequence in sequences
        if sequence.version == version and sequence.old_logprobs is not None
    ]
    if not pairs:
        return False
    learner, engine = (np.concatenate(each).astype(np.float64) for each in zip(*pairs, strict=True))
    gap = np.abs(learner - engine)
    if gap.mean() <= bound:
        return True
    raise NumericsError(
        f"engine and learner do not compute the same model: over the {len(gap):,} tokens that were just sampled, the "
        f"mean log-probability is {engine.mean():.5g} in the engine and {learner.mean():.5g} in the learner; they "
        f"differ by {gap.mean():.3g} per token on average, by {gap.max():.3g} at most, and rollout.max_logprob_gap is "
        f"{bound:g}. The step was not saved; `python -m prorl_mega.doctor parity` with the same settings shows on "
        f"which tokens. {LIKELY_CAUSES}"
    )
