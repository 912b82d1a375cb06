"""vLLM's speculative decoding on a CPU.

Tokens that may follow are guessed from the sequence itself and checked in one forward pass; a guess is kept with the
probability that the policy gives it, and otherwise another token is sampled from the rest, so that samples have the
policy's distribution (arXiv 2211.17192).
"""

from __future__ import annotations

import torch
from torch import Tensor


def mend_expansion() -> None:
    """Give vLLM in this process a right `expand_batch_to_tokens`. Idempotent.

    That of its CPU build (0.32.0) makes integers of its arguments and writes to a copy of the result where it is no
    int64: temperatures of guessed tokens were whatever stood in memory.
    """
    from vllm.v1.sample import rejection_sampler

    rejection_sampler.expand_batch_to_tokens = expand_batch_to_tokens


def expand_batch_to_tokens(
    x: Tensor, cu_num_tokens: Tensor, num_tokens: int, replace_from: float = 0, replace_to: float = 0
) -> Tensor:
    """`x` `[batch]` for each token of a sequence, `[num_tokens]`; `cu_num_tokens` `[batch]` are sums of their counts.
    Values of `replace_from` become `replace_to`."""
    counts = torch.diff(cu_num_tokens, prepend=cu_num_tokens.new_zeros(1))
    found = x.repeat_interleave(counts, output_size=num_tokens)
    return found if replace_from == replace_to else torch.where(found == replace_from, replace_to, found).to(x.dtype)
