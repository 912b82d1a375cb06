"""The implementation that defines what is correct: full logits in fp32 (fp64 for fp64 inputs) and torch's autograd.

One process only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.stats import TokenStats


def reference_token_stats(
    logits: Tensor,
    targets: Tensor,
    inverse_temperature: Tensor | None,
    softcap: float | None,
    ref_logits: Tensor | None,
    ignore_index: int | None,
) -> TokenStats:
    """The statistics of raw logits `[tokens, vocab]` in the accumulation dtype; takes several times their memory."""
    ignored = torch.zeros_like(targets, dtype=torch.bool) if ignore_index is None else targets == ignore_index
    index = targets.masked_fill(ignored, 0)[:, None].long()
    logprobs = torch.log_softmax(_scaled(logits, inverse_temperature, softcap), dim=-1)
    probabilities = logprobs.exp()
    logprob = logprobs.gather(1, index).squeeze(1)
    entropy = -(probabilities * _where(probabilities, logprobs)).sum(-1)
    if ref_logits is None:
        return TokenStats(*(each.masked_fill(ignored, 0.0) for each in (logprob, entropy)))
    ref_logprobs = torch.log_softmax(_scaled(ref_logits.detach(), inverse_temperature, softcap), dim=-1)
    ref_probabilities = ref_logprobs.exp()
    ratio = logprobs - ref_logprobs
    results = TokenStats(
        logprob,
        entropy,
        ref_logprob=ref_logprobs.gather(1, index).squeeze(1),
        kl_reverse=(probabilities * _where(probabilities, ratio)).sum(-1),
        kl_forward=-(ref_probabilities * _where(ref_probabilities, ratio)).sum(-1),
    )
    return TokenStats(*(each.masked_fill(ignored, 0.0) for each in results if each is not None))


def _scaled(logits: Tensor, inverse_temperature: Tensor | None, softcap: float | None) -> Tensor:
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits if inverse_temperature is None else logits * inverse_temperature[:, None]


def _where(probabilities: Tensor, values: Tensor) -> Tensor:
    """p · value → 0 as p → 0, also where the value is infinite."""
    return torch.where(probabilities > 0, values, 0.0)
