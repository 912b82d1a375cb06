"""The definition of correct: full logits in fp32 (fp64 for fp64 inputs) and torch's own autograd. One process only."""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.stats import Shard, TokenStats, accumulation_dtype


def reference_token_stats(
    hidden: Tensor, weight: Tensor, targets: Tensor, inverse_temperature: Tensor | None, shard: Shard, chunk_bytes: int
) -> TokenStats:
    """Materialises `[tokens, vocab]` several times over; `chunk_bytes` has no effect."""
    if shard.group is not None and shard.group.size() > 1:
        raise ValueError("implementation='reference' needs the whole vocabulary on one rank; use 'chunked'")
    dtype = accumulation_dtype(hidden, weight)
    logits = hidden.to(dtype) @ weight[: shard.size].to(dtype).t()
    if inverse_temperature is not None:
        logits = logits * inverse_temperature
    logprobs = torch.log_softmax(logits, dim=-1)
    probabilities = logprobs.exp()
    surprise = torch.where(probabilities > 0, logprobs, 0.0)  # p log p → 0, also where log p is −inf
    return TokenStats(
        logprob=logprobs.gather(1, targets[:, None].long()).squeeze(1),
        entropy=-(probabilities * surprise).sum(-1),
    )
