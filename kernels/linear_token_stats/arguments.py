"""Checks of a call's arguments; every message names the argument, its value and what was expected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from prorl_kernels.linear_token_stats.shard import Shard

# For tiles alive at once: cache-sized on a CPU, and enough to fill a GPU.
CPU_CHUNK_BYTES, GPU_CHUNK_BYTES = 16 << 20, 256 << 20


class Inputs(NamedTuple):
    """The tensors of a call."""

    hidden: Tensor  # [tokens, d]; under sequence parallelism [tokens / ranks, d]
    weight: Tensor  # [vocab_local, d]
    targets: Tensor  # [tokens]
    inverse_temperature: Tensor | None  # [tokens], None for 1
    ref_hidden: Tensor | None  # like hidden, of another width
    ref_weight: Tensor | None


@dataclass(kw_only=True, slots=True, frozen=True)
class Options:
    """The arguments that are not tensors, and what follows from them. Raises ValueError for those out of range."""

    dtype: torch.dtype  # of accumulation and of the results
    shard: Shard
    softcap: float | None
    ignore_index: int | None
    sequence_parallel: bool
    accumulate_main_grad: bool
    keeps_logits: bool  # false when no gradient will be asked for
    cache_bytes: int
    chunk_bytes: int
    batch_invariant: bool = False

    def __post_init__(self) -> None:
        if self.sequence_parallel and self.shard.group is None:
            raise ValueError("sequence_parallel needs the tensor_group whose ranks hold the other tokens")
        if self.softcap is not None and not (self.softcap > 0 and math.isfinite(self.softcap)):
            raise ValueError(f"softcap must be positive and finite, or None; got {self.softcap}")
        if self.chunk_bytes <= 0:
            raise ValueError(f"chunk_bytes must be positive, got {self.chunk_bytes}")
        if self.cache_bytes < 0:
            raise ValueError(f"cache_bytes must not be negative, got {self.cache_bytes}")


def check_projections(hidden: Tensor, weight: Tensor, ref_hidden: Tensor | None, ref_weight: Tensor | None) -> None:
    """Check policy and reference, if there is one: as many tokens and ids, maybe another width."""
    _check_projection(("hidden", "weight"), hidden, weight)
    if ref_hidden is None and ref_weight is None:
        return
    if ref_hidden is None or ref_weight is None:
        raise ValueError(
            f"ref_hidden and ref_weight go together; ref_{'hidden' * (ref_hidden is None) or 'weight'} is None"
        )
    _check_projection(("ref_hidden", "ref_weight"), ref_hidden, ref_weight)
    if (len(ref_hidden), len(ref_weight), ref_hidden.device) != (len(hidden), len(weight), hidden.device):
        raise ValueError(
            "a reference needs as many tokens and ids as the policy, on its device; got "
            f"ref_hidden {list(ref_hidden.shape)}, ref_weight {list(ref_weight.shape)} on {ref_hidden.device} for "
            f"hidden {list(hidden.shape)}, weight {list(weight.shape)} on {hidden.device}"
        )


def _check_projection(names: tuple[str, str], hidden: Tensor, weight: Tensor) -> None:
    shapes = f"{names[0]} {list(hidden.shape)}, {names[1]} {list(weight.shape)}"
    if hidden.dim() != 2 or weight.dim() != 2:
        raise ValueError(f"expected {names[0]} [tokens, d] and {names[1]} [vocab_local, d]; got {shapes}")
    if hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"{names[0]} and {names[1]} must have the same width d; got {shapes}")
    if not (hidden.is_floating_point() and weight.is_floating_point()):
        raise ValueError(f"{names[0]} and {names[1]} must be floating point; got {hidden.dtype} and {weight.dtype}")
    if hidden.device != weight.device:
        raise ValueError(
            f"all tensors must be on one device; got {names[0]} on {hidden.device}, {names[1]} on {weight.device}"
        )


def _check_targets(targets: Tensor, tokens: int, shard: Shard, ignore_index: int | None, device: torch.device) -> None:
    """Check `[tokens]` ids on `device`, their values on a CPU only: a GPU would have to synchronise."""
    if targets.dim() != 1 or len(targets) != tokens:
        raise ValueError(
            f"targets must be [{tokens}], the same number of tokens as there are (under sequence parallelism on all "
            f"ranks); got {list(targets.shape)}"
        )
    if targets.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"targets must be int32 or int64; got {targets.dtype}")
    if targets.device != device:
        raise ValueError(f"all tensors must be on one device; got targets on {targets.device}, the others on {device}")
    if device.type != "cpu" or not tokens:
        return
    vocab = shard.rows if shard.valid is None and shard.group is None else shard.valid
    low, high = _range(targets)
    if low >= 0 and (vocab is None or high < vocab):
        return
    if ignore_index is not None:
        targets = targets[targets != ignore_index]
        low, high = _range(targets) if len(targets) else (0, 0)
    if low < 0 or (vocab is not None and high >= vocab):
        raise ValueError(
            f"targets must be in [0, {vocab or 'valid_vocab'})"
            f"{'' if ignore_index is None else f' or ignore_index={ignore_index}'}; got values from {low} to {high}"
        )


def _range(targets: Tensor) -> tuple[int, int]:
    low, high = targets.aminmax()
    return int(low), int(high)


def new_shard(weight: Tensor, vocab_start: int | None, valid_vocab: int | None, group: ProcessGroup | None) -> Shard:
    """The ids that `weight` holds, padding included."""
    columns = len(weight)
    start = (0 if group is None else group.rank() * columns) if vocab_start is None else vocab_start
    if start < 0:
        raise ValueError(f"vocab_start must not be negative; got {start}")
    if group is None and start:
        raise ValueError(f"vocab_start={start} leaves out the ids before it: pass the tensor_group that holds them")
    if valid_vocab is not None and valid_vocab < 1:
        raise ValueError(f"valid_vocab must be positive; got {valid_vocab}")
    if group is None and (valid_vocab or 1) > columns:
        raise ValueError(f"valid_vocab={valid_vocab or 1} exceeds the {columns} ids of weight {list(weight.shape)}")
    if vocab_start is None and group is not None and valid_vocab is None:
        valid_vocab = group.size() * columns
    return Shard(start=start, rows=columns, valid=valid_vocab, group=group)


def _inverse_temperature(
    temperature: float | Tensor, tokens: int, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """1 / temperature `[tokens]` in `dtype`; None for the number 1."""
    if isinstance(temperature, Tensor):
        if temperature.shape != (tokens,) or not temperature.is_floating_point():
            raise ValueError(
                f"temperature must be a number or floating point [{tokens}] like targets; "
                f"got {temperature.dtype} {list(temperature.shape)}"
            )
        if temperature.requires_grad:
            raise ValueError("temperature is not differentiable; detach it")
        if temperature.device.type == "cpu" and not bool((temperature > 0).all()):
            raise ValueError(f"temperature must be positive everywhere; its minimum is {float(temperature.min())}")
        return temperature.to(dtype=dtype, device=device).reciprocal()
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be positive and finite; got {temperature}")
    if temperature == 1:
        return None
    return torch.full((tokens,), 1 / temperature, dtype=dtype, device=device)


def new_inputs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float | Tensor,
    ref_hidden: Tensor | None,
    ref_weight: Tensor | None,
    options: Options,
) -> Inputs:
    """Projections have been checked."""
    tokens = len(hidden) * (options.shard.ranks if options.sequence_parallel else 1)
    _check_targets(targets, tokens, options.shard, options.ignore_index, hidden.device)
    if options.accumulate_main_grad:
        _check_main_grad(weight)
    inverse_temperature = _inverse_temperature(temperature, tokens, options.dtype, hidden.device)
    reference = (None if tensor is None else tensor.detach() for tensor in (ref_hidden, ref_weight))
    return Inputs(hidden, weight, targets, inverse_temperature, *reference)


def _check_main_grad(weight: Tensor) -> None:
    """Check Megatron's buffer for the gradient of a parameter."""
    buffer = getattr(weight, "main_grad", None)
    if not isinstance(buffer, Tensor):
        raise ValueError("accumulate_main_grad needs weight.main_grad, a tensor like weight; there is none")
    if buffer.shape != weight.shape or buffer.device != weight.device or not buffer.is_floating_point():
        raise ValueError(
            f"weight.main_grad must be floating point {list(weight.shape)} on {weight.device} like weight; got "
            f"{buffer.dtype} {list(buffer.shape)} on {buffer.device}"
        )
