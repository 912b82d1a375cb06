"""Causal attention in which a query does not know which others are computed with it, nor how long the sequence gets.

Scores and mixtures are products of `product.py`. Sums over keys are made in blocks of BLOCK, one block after the other:
keys that a query must not see add zeros behind those that it sees, which changes nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from prorl_mega.invariant.product import product

BLOCK = 64  # keys


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """`query` `[queries, heads, head_dim]` are the last of a sequence whose `key` and `value` are
    `[tokens, kv_heads, head_dim]`; returns the shape of `query`."""
    queries, heads, width = query.shape
    tokens, kv_heads, _ = key.shape
    group = heads // kv_heads
    missing = -tokens % BLOCK
    keys, values = (F.pad(x, (0, 0, 0, 0, 0, missing)).transpose(0, 1).contiguous() for x in (key, value))
    questions = (query * scale).unflatten(1, (kv_heads, group)).permute(1, 2, 0, 3).reshape(kv_heads, -1, width)
    seen = torch.arange(tokens + missing) <= torch.arange(tokens - queries, tokens)[:, None]
    hidden = ~seen.repeat(group, 1)  # [group * queries, keys]
    found = query.new_empty(kv_heads, group * queries, width)
    for head in range(kv_heads):
        scores = product(questions[head], keys[head]).masked_fill_(hidden, -torch.inf)
        shares = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
        found[head] = product(shares, values[head].t()).div_(_sum(shares))
    return found.unflatten(1, (group, queries)).permute(2, 0, 1, 3).reshape(queries, heads, width)


def _sum(shares: Tensor) -> Tensor:
    """Over the last dimension, `[rows, 1]`."""
    total, *others = shares.unflatten(-1, (-1, BLOCK)).sum(-1).unbind(-1)
    for each in others:
        total = total + each
    return total.unsqueeze(-1)
