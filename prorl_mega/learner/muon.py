"""Muon: momentum of matrices, made orthogonal (Jordan et al. 2024; scaled as in Liu et al., arXiv 2502.16982).

    M ← μ M + G        O = NewtonSchulz(G + μ M)  ≈  U Vᵀ  of  G + μ M = U S Vᵀ
    W ← (1 − η λ) W − η · 0.2 √max(rows, columns) · O

With that scale an update has the root mean square of AdamW's, whose learning rates and weight decay carry over. A
matrix is one of the model's as Hugging Face stores them: query, key and value projections, or gate and up, that share
a parameter are made orthogonal one by one, and tensor-parallel ranks gather theirs first, so that the result is the
same for every layout. Megatron-core's own Muon does neither and needs a package that PyPI lacks.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch import Tensor

from prorl_mega.families.shard_rules import ShardRule

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's quintic: the slope at zero is as large as it may be
_STEPS = 5
_RMS = 0.2


class Muon(torch.optim.Optimizer):
    """Muon for matrices, each with the attribute `shard_rule` (`families/shard_rules.py`)."""

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state, momentum = self.state[parameter], group["momentum"]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                state["momentum_buffer"].mul_(momentum).add_(parameter.grad)
                direction = parameter.grad.add(state["momentum_buffer"], alpha=momentum)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                if not parameter.shard_rule.splits(parallel_state.get_tensor_model_parallel_world_size()):
                    parameter.sub_(_orthogonal_rows(direction, parameter.shard_rule), alpha=group["lr"])
                    continue
                for piece, target in zip(
                    parameter.shard_rule.pieces(direction), parameter.shard_rule.pieces(parameter), strict=True
                ):
                    update = _orthogonal_part(piece.reshape(-1, piece.shape[-1]), parameter.shard_rule.axis)
                    target.sub_(update.reshape(target.shape), alpha=group["lr"])


def _orthogonal_part(shard: Tensor, axis: int) -> Tensor:
    """This tensor-parallel rank's part of the scaled orthogonal factor of a matrix that is divided along `axis`."""
    size, rank = parallel_state.get_tensor_model_parallel_world_size(), parallel_state.get_tensor_model_parallel_rank()
    if size == 1:
        return orthogonal(shard)
    return orthogonal(torch.cat(_of_all_ranks(shard), dim=axis)).chunk(size, dim=axis)[rank]


def _orthogonal_rows(shard: Tensor, rule: ShardRule) -> Tensor:
    """`_orthogonal_part` of the matrices in a parameter whose rows are divided, whatever matrix they belong to."""
    parts = _of_all_ranks(shard)
    whole = torch.cat(parts)
    for piece in rule.pieces(whole):
        piece.copy_(orthogonal(piece.reshape(-1, piece.shape[-1])).reshape(piece.shape))
    return whole.chunk(len(parts))[parallel_state.get_tensor_model_parallel_rank()]


def _of_all_ranks(shard: Tensor) -> list[Tensor]:
    """The shards of all tensor-parallel ranks."""
    size = parallel_state.get_tensor_model_parallel_world_size()
    shards = [torch.empty_like(shard, memory_format=torch.contiguous_format) for _ in range(size)]
    dist.all_gather(shards, shard.contiguous(), group=parallel_state.get_tensor_model_parallel_group())
    return shards


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix, roughly (singular values between 0.7 and 1.2), in AdamW's scale; `[m, n]`."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    return x * (_RMS * max(matrix.shape) ** 0.5)
