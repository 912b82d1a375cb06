"""Plain torch, in tiles of `[rows, columns]`: one matrix product per tile forward, three backward, no full logits.

Forward keeps four statistics per token; backward recomputes each tile's logits from them. Both loops go over columns
outside and rows inside, so that the weight and its gradient are read and written once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

from prorl_kernels.linear_token_stats.stats import (
    FAR,
    Shard,
    TokenStats,
    accumulation_dtype,
    merge,
    merge_over_group,
    no_columns,
)

COLUMNS = 4096  # enough for the matrix product to run at full speed; wider only when there are few rows


@dataclass(kw_only=True, slots=True, frozen=True)
class _Problem:
    """One projection, cut into tiles; `buffers` are two flat tensors that together take at most `chunk_bytes`."""

    hidden: Tensor  # [tokens, d]
    weight: Tensor  # [columns, d], padding left out
    targets: Tensor  # [tokens], relative to the first column of the shard
    inverse_temperature: Tensor | None  # [tokens, 1]
    operand: torch.dtype  # of the matrix products' inputs
    tile_rows: int
    tile_columns: int
    buffers: tuple[Tensor, Tensor]

    def column_tiles(self) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(self.weight), self.tile_columns):
            columns = slice(start, min(start + self.tile_columns, len(self.weight)))
            yield columns, self.weight[columns].to(self.operand)

    def row_tiles(self) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(self.hidden), self.tile_rows):
            rows = slice(start, min(start + self.tile_rows, len(self.hidden)))
            yield rows, self.hidden[rows].to(self.operand)

    def logits(self, rows: slice, inputs: Tensor, columns: slice, projection: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled logits of one tile, in the first buffer, and the second buffer in the same shape."""
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        tile, spare = (buffer[: shape[0] * shape[1]].view(shape) for buffer in self.buffers)
        _product(inputs, projection.t(), out=tile, accumulate=False)
        if self.inverse_temperature is not None:
            tile.mul_(self.inverse_temperature[rows])
        return tile, spare

    def targets_in(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        """Which rows have their target among the columns `[rows]`, and a safe index for all of them `[rows, 1]`."""
        index = self.targets[rows] - columns.start
        width = columns.stop - columns.start
        return (index >= 0) & (index < width), index.clamp(0, width - 1)[:, None]


def _problem(
    hidden: Tensor, weight: Tensor, targets: Tensor, inverse_temperature: Tensor | None, shard: Shard, chunk_bytes: int
) -> _Problem:
    dtype = accumulation_dtype(hidden, weight)
    weight = weight[: shard.size]
    elements = max(1, chunk_bytes // (2 * dtype.itemsize))
    rows = max(1, min(len(hidden), elements // max(1, min(len(weight), COLUMNS))))
    columns = max(1, min(len(weight), elements // rows))
    # Tensor cores multiply 16-bit operands into fp32; a CPU without them is exact and no slower in fp32.
    native = hidden.is_cuda and hidden.dtype == weight.dtype
    return _Problem(
        hidden=hidden,
        weight=weight,
        targets=targets - shard.start,
        inverse_temperature=inverse_temperature,
        operand=hidden.dtype if native else dtype,
        tile_rows=rows,
        tile_columns=columns,
        buffers=(
            torch.empty(rows * columns, dtype=dtype, device=hidden.device),
            torch.empty(rows * columns, dtype=dtype, device=hidden.device),
        ),
    )


def _product(left: Tensor, right: Tensor, *, out: Tensor, accumulate: bool) -> None:
    """out (+)= left @ right, accumulated in the dtype of `out`."""
    if left.dtype == out.dtype:
        out.addmm_(left, right, beta=float(accumulate))
    else:
        torch.addmm(out, left, right, out_dtype=out.dtype, beta=float(accumulate), out=out)


def _tile_statistics(logits: Tensor, spare: Tensor, owned: Tensor, index: Tensor) -> Tensor:
    """Statistics `[4, rows]` of one tile; overwrites both tensors."""
    target = torch.where(owned, logits.gather(1, index).squeeze(1), -torch.inf)
    top = logits.amax(1).clamp_(min=torch.finfo(logits.dtype).min)  # finite even if the whole tile is −inf
    shifted = logits.sub_(top[:, None]).clamp_(min=-FAR)
    weights = torch.exp(shifted, out=spare)
    return torch.stack((top, weights.sum(1), shifted.mul_(weights).sum(1), target))


def _shard_statistics(problem: _Problem) -> Tensor:
    """Statistics `[4, tokens]` of all columns of this rank."""
    total = no_columns(len(problem.hidden), like=problem.hidden, dtype=problem.buffers[0].dtype)
    for columns, projection in problem.column_tiles():
        for rows, inputs in problem.row_tiles():
            tile = _tile_statistics(
                *problem.logits(rows, inputs, columns, projection), *problem.targets_in(rows, columns)
            )
            total[:, rows] = merge(total[:, rows], tile)
    return total


@dataclass(slots=True, frozen=True)
class _Upstream:
    """Per row, `[rows]`: the forward's results and the upstream gradients (already divided by the temperature)."""

    top: Tensor
    log_sum: Tensor
    entropy: Tensor
    logprob_grad: Tensor
    entropy_grad: Tensor | None  # None when it is zero everywhere


def _logits_gradient(
    logits: Tensor, spare: Tensor, owned: Tensor, index: Tensor, rows: slice, upstream: _Upstream
) -> Tensor:
    """dz = p · (−g_logprob − g_entropy (log p + H)) + g_logprob 1[target]; overwrites both tensors."""
    top, log_sum, logprob_grad = upstream.top[rows], upstream.log_sum[rows], upstream.logprob_grad[rows]
    # two subtractions: top + log_sum would round log_sum away when the logits are large
    logprobs = logits.sub_(top[:, None]).sub_(log_sum[:, None]).clamp_(min=-FAR)
    gradient = torch.exp(logprobs, out=spare)
    if upstream.entropy_grad is None:
        gradient.mul_(-logprob_grad[:, None])
    else:
        entropy_grad = upstream.entropy_grad[rows]
        constant = logprob_grad + entropy_grad * upstream.entropy[rows]
        gradient.mul_(logprobs.mul_(-entropy_grad[:, None]).sub_(constant[:, None]))
    return gradient.scatter_add_(1, index, torch.where(owned, logprob_grad, 0.0)[:, None])


def _gradients(problem: _Problem, upstream: _Upstream, hidden_grad: Tensor | None, weight_grad: Tensor | None) -> None:
    """Add to `hidden_grad` `[rows, d]` (accumulation dtype) and fill in `weight_grad` `[columns, d]` (its dtype)."""
    for columns, projection in problem.column_tiles():
        if weight_grad is not None:
            block = weight_grad[columns]
            total = block if block.dtype == upstream.top.dtype else torch.zeros_like(block, dtype=upstream.top.dtype)
        for rows, inputs in problem.row_tiles():
            logits, spare = problem.logits(rows, inputs, columns, projection)
            gradient = _logits_gradient(logits, spare, *problem.targets_in(rows, columns), rows, upstream)
            gradient = gradient.to(problem.operand)
            if hidden_grad is not None:
                _product(gradient, projection, out=hidden_grad[rows], accumulate=True)
            if weight_grad is not None:
                _product(gradient.t(), inputs, out=total, accumulate=True)
        if weight_grad is not None and total is not block:
            block.copy_(total)


class _ChunkedTokenStats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        inverse_temperature: Tensor | None,
        shard: Shard,
        chunk_bytes: int,
    ) -> tuple[Tensor, Tensor]:
        problem = _problem(hidden, weight, targets, inverse_temperature, shard, chunk_bytes)
        top, total, weighted, target = merge_over_group(_shard_statistics(problem), shard.group).unbind()
        log_sum = total.log()
        logprob = (target - top) - log_sum
        entropy = log_sum - weighted / total
        ctx.save_for_backward(hidden, weight, targets, inverse_temperature, top, log_sum, entropy)
        ctx.shard, ctx.chunk_bytes = shard, chunk_bytes
        ctx.set_materialize_grads(False)
        return logprob, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, logprob_grad: Tensor | None, entropy_grad: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, inverse_temperature, *results = ctx.saved_tensors
        grads = torch.stack([torch.zeros_like(results[0]) if g is None else g for g in (logprob_grad, entropy_grad)])
        active = (grads != 0).any(0).nonzero().squeeze(1)  # NaN is active: it must reach the weights and be seen
        inputs = hidden
        if len(active) < len(hidden):
            hidden, targets, *results = (t.index_select(0, active) for t in (hidden, targets, *results))
            grads = grads.index_select(1, active)
            if inverse_temperature is not None:
                inverse_temperature = inverse_temperature.index_select(0, active)
        if inverse_temperature is not None:
            grads = grads * inverse_temperature.t()
        top, log_sum, entropy = results
        entropy_grad = grads[1] if bool((grads[1] != 0).any()) else None
        upstream = _Upstream(top, log_sum, entropy, grads[0], entropy_grad)
        hidden_grad = torch.zeros_like(hidden, dtype=upstream.top.dtype) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        if len(active):
            problem = _problem(hidden, weight, targets, inverse_temperature, ctx.shard, ctx.chunk_bytes)
            _gradients(problem, upstream, hidden_grad, weight_grad)
        if hidden_grad is not None:
            hidden_grad = _sum_over_group(hidden_grad, ctx.shard.group).to(inputs.dtype)
            if len(active) < len(inputs):
                hidden_grad = torch.zeros_like(inputs).index_copy_(0, active, hidden_grad)
        return hidden_grad, weight_grad, None, None, None, None


def _sum_over_group(partial: Tensor, group: ProcessGroup | None) -> Tensor:
    """In place. Ranks agree on the rows, so a part without rows needs no message."""
    if group is not None and group.size() > 1 and len(partial):
        torch.distributed.all_reduce(partial, group=group)
    return partial


def chunked_token_stats(
    hidden: Tensor, weight: Tensor, targets: Tensor, inverse_temperature: Tensor | None, shard: Shard, chunk_bytes: int
) -> TokenStats:
    """See `linear_token_stats`; arguments have been checked. `inverse_temperature` is `[tokens, 1]` or None for 1."""
    return TokenStats(*_ChunkedTokenStats.apply(hidden, weight, targets, inverse_temperature, shard, chunk_bytes))
