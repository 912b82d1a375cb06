"""Backward: the gradient of the logits, tile by tile, multiplied into the gradients of hidden states and weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.cache import Cache
from prorl_kernels.linear_token_stats.matmul import matmul_into
from prorl_kernels.linear_token_stats.problem import TiledProblem, TileSize
from prorl_kernels.linear_token_stats.rows import Active


class Implementation(Protocol):
    """`chunked` or `fused`."""

    keeps_logits: bool
    """Whether `statistics` fills in the cache."""

    def tile_size(self, *, dtype: torch.dtype, has_reference: bool, has_softcap: bool) -> TileSize: ...

    def statistics(self, problem: TiledProblem, cache: Cache) -> Tensor: ...

    def logits_gradient(
        self,
        problem: TiledProblem,
        rows: slice,
        columns: slice,
        inputs: Tensor,
        weight: Tensor,
        ref_weight: Tensor | None,
        active: Active,
        cache: Cache,
    ) -> Tensor: ...


def multiply_gradients(
    problem: TiledProblem,
    implementation: Implementation,
    active: Active,
    cache: Cache,
    d_hidden: Tensor | None,
    d_weight: Tensor | None,
    *,
    add_to_d_weight: bool,
    when_d_hidden_is_done: Callable[[], None],
) -> None:
    """Fill in `d_hidden` `[rows, d]` (accumulation dtype), and fill in or add to `d_weight` `[columns, d]`.

    `when_d_hidden_is_done` is called before the last product of the weight's gradient, which then hides what it starts.
    """
    if not len(problem.weight):  # a rank with padding only
        if d_hidden is not None:
            d_hidden.zero_()
        when_d_hidden_is_done()
    last_row = len(problem.hidden)
    for columns in problem.columns():
        weight = problem.weight[columns].to(problem.operand)
        ref_weight = None if problem.ref_weight is None else problem.ref_weight[columns].to(problem.ref_operand)
        block = None if d_weight is None else d_weight[columns]
        total = block
        if block is not None and block.dtype != problem.dtype:
            total = torch.empty_like(block, dtype=problem.dtype)
        for rows in problem.rows(active.cached):
            inputs = problem.hidden[rows].to(problem.operand)
            gradient = implementation.logits_gradient(problem, rows, columns, inputs, weight, ref_weight, active, cache)
            if d_hidden is not None:
                matmul_into(d_hidden[rows], gradient, weight, accumulate=columns.start > 0)
            if columns.stop == len(problem.weight) and rows.stop == last_row:
                when_d_hidden_is_done()
            if total is not None:
                add = rows.start > 0 or (add_to_d_weight and total is block)
                matmul_into(total, gradient.t(), inputs, accumulate=add)
            del gradient  # before the next one is made
        if block is not None and total is not None and total is not block:
            _ = block.add_(total) if add_to_d_weight else block.copy_(total)
        del weight, ref_weight, block, total
