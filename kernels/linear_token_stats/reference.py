"""The implementation that defines what is correct: full logits in fp32 (fp64 for fp64 inputs) and torch's autograd.

One process only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.arguments import Inputs, Options
from prorl_kernels.linear_token_stats.stats import TokenStats


def reference_token_stats(inputs: Inputs, options: Options) -> TokenStats:
    """Takes several times the memory of the logits `[tokens, vocab]`."""
    if options.shard.ranks > 1:
        raise ValueError("implementation='reference' needs the whole vocabulary on one rank; use 'chunked'")
    if options.accumulate_main_grad:
        raise ValueError("implementation='reference' leaves d_weight to autograd, not to main_grad; use 'chunked'")
    ignored = torch.zeros_like(inputs.targets, dtype=torch.bool)
    if options.ignore_index is not None:
        ignored = inputs.targets == options.ignore_index
    index = inputs.targets.masked_fill(ignored, 0)[:, None].long()
    logprobs = _logprobs(inputs.hidden, inputs.weight, inputs.inverse_temperature, options)
    probabilities = logprobs.exp()
    logprob = logprobs.gather(1, index).squeeze(1)
    entropy = -(probabilities * _where(probabilities, logprobs)).sum(-1)
    if inputs.ref_hidden is None or inputs.ref_weight is None:
        return TokenStats(*(each.masked_fill(ignored, 0.0) for each in (logprob, entropy)))
    ref_logprobs = _logprobs(inputs.ref_hidden, inputs.ref_weight, inputs.inverse_temperature, options)
    ref_probabilities = ref_logprobs.exp()
    ratio = logprobs - ref_logprobs
    results = (
        logprob,
        entropy,
        ref_logprobs.gather(1, index).squeeze(1),
        (probabilities * _where(probabilities, ratio)).sum(-1),
        -(ref_probabilities * _where(ref_probabilities, ratio)).sum(-1),
    )
    return TokenStats(*(each.masked_fill(ignored, 0.0) for each in results))


def _logprobs(hidden: Tensor, weight: Tensor, inverse_temperature: Tensor | None, options: Options) -> Tensor:
    logits = hidden.to(options.dtype) @ weight[: options.shard.size].to(options.dtype).t()
    if options.softcap is not None:
        logits = options.softcap * torch.tanh(logits / options.softcap)
    return torch.log_softmax(logits if inverse_temperature is None else logits * inverse_temperature[:, None], dim=-1)


def _where(probabilities: Tensor, values: Tensor) -> Tensor:
    """p · value → 0 as p → 0, also where the value is infinite."""
    return torch.where(probabilities > 0, values, 0.0)
