"""The entry point: checks the arguments and picks the implementation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from prorl_kernels.linear_token_stats.chunked import chunked_token_stats
from prorl_kernels.linear_token_stats.reference import reference_token_stats
from prorl_kernels.linear_token_stats.stats import Shard, TokenStats, accumulation_dtype

IMPLEMENTATIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor | None, Shard, int], TokenStats]] = {
    "chunked": chunked_token_stats,
    "reference": reference_token_stats,
}
CHUNK_BYTES = {"cpu": 16 << 20, "cuda": 256 << 20}  # of tiles alive at once: cache-sized, and enough to fill a GPU


def linear_token_stats(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    vocab_start: int | None = None,
    valid_vocab: int | None = None,
    tensor_group: ProcessGroup | None = None,
    implementation: str | None = None,
    chunk_bytes: int | None = None,
) -> TokenStats:
    """Log-probability of each target and entropy of each distribution softmax(hidden · weightᵀ / temperature).

    Never holds a `[tokens, vocab]` tensor: tiles take at most `chunk_bytes`, and backward recomputes them. Rows whose
    upstream gradients are all zero are left out of the backward pass. Not differentiable twice.

    Args:
        hidden: `[tokens, d]`, any strides. With `tensor_group` every rank passes the same values, and d_hidden comes
            back already summed over the group: the caller must not reduce it again.
        weight: `[vocab_local, d]`, this rank's rows of the output projection, padding rows at its end.
        targets: `[tokens]` int32 or int64, global ids in `[0, valid_vocab)`.
        temperature: > 0, a number or `[tokens]`; not differentiable.
        vocab_start: global id of the first row of `weight`; by default `rank * vocab_local` (even shards).
        valid_vocab: number of real ids; larger ones get no probability and no gradient. By default all rows are real.
        tensor_group: ranks that hold the other shards, in order of their ids. All ranks call with the same `hidden`,
            `targets` and `temperature`, and with the same upstream gradients; they return equal bits.
        implementation: "chunked" (default) or "reference" (full logits; one rank only; the definition of correct).
        chunk_bytes: bound on the tiles alive at once; by default 16 MiB on a CPU and 256 MiB on a GPU.

    Returns:
        `TokenStats(logprob, entropy)`, `[tokens]` each, fp32 (fp64 for fp64 inputs), nats, differentiable in `hidden`
        and `weight`. Matrix products accumulate in fp32, also for 16-bit inputs.

    Raises:
        ValueError: shapes, dtypes, devices or ranges that do not fit. Values of `targets` and `temperature` are checked
            on a CPU only (a GPU would have to synchronise); there a target that no shard holds has log-prob −inf.
    """
    _check_tensors(hidden, weight, targets)
    shard = _shard(weight, vocab_start, valid_vocab, tensor_group)
    _check_targets(targets, _vocab_size(weight, vocab_start, valid_vocab, tensor_group))
    name = "chunked" if implementation is None else implementation
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"implementation={name!r} is unknown; choose from {sorted(IMPLEMENTATIONS)}")
    budget = CHUNK_BYTES.get(hidden.device.type, CHUNK_BYTES["cuda"]) if chunk_bytes is None else chunk_bytes
    if budget <= 0:
        raise ValueError(f"chunk_bytes must be positive, got {budget}")
    return IMPLEMENTATIONS[name](hidden, weight, targets, _inverse(temperature, hidden, weight), shard, budget)


def _check_tensors(hidden: Tensor, weight: Tensor, targets: Tensor) -> None:
    shapes = f"hidden {list(hidden.shape)}, weight {list(weight.shape)}, targets {list(targets.shape)}"
    if hidden.dim() != 2 or weight.dim() != 2 or targets.dim() != 1:
        raise ValueError(f"expected hidden [tokens, d], weight [vocab_local, d], targets [tokens]; got {shapes}")
    if hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"hidden and weight must have the same width d; got {shapes}")
    if len(targets) != len(hidden):
        raise ValueError(f"hidden and targets must have the same number of tokens; got {shapes}")
    if not (hidden.is_floating_point() and weight.is_floating_point()):
        raise ValueError(f"hidden and weight must be floating point; got {hidden.dtype} and {weight.dtype}")
    if targets.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"targets must be int32 or int64; got {targets.dtype}")
    if not hidden.device == weight.device == targets.device:
        raise ValueError(
            f"all tensors must be on one device; got hidden on {hidden.device}, weight on {weight.device}, "
            f"targets on {targets.device}"
        )


def _shard(weight: Tensor, vocab_start: int | None, valid_vocab: int | None, group: ProcessGroup | None) -> Shard:
    start = (0 if group is None else group.rank() * len(weight)) if vocab_start is None else vocab_start
    if start < 0:
        raise ValueError(f"vocab_start must not be negative; got {start}")
    if group is None and start:
        raise ValueError(f"vocab_start={start} leaves out the ids before it: pass the tensor_group that holds them")
    if valid_vocab is not None and valid_vocab < 1:
        raise ValueError(f"valid_vocab must be positive; got {valid_vocab}")
    if group is None and valid_vocab is not None and valid_vocab > len(weight):
        raise ValueError(f"valid_vocab={valid_vocab} exceeds the {len(weight)} rows of weight {list(weight.shape)}")
    size = len(weight) if valid_vocab is None else min(len(weight), max(0, valid_vocab - start))
    return Shard(start=start, size=size, group=group)


def _vocab_size(
    weight: Tensor, vocab_start: int | None, valid_vocab: int | None, group: ProcessGroup | None
) -> int | None:
    """Number of real ids over all ranks; None where only the other ranks know."""
    if valid_vocab is not None:
        return valid_vocab
    if group is None:
        return len(weight)
    return group.size() * len(weight) if vocab_start is None else None


def _check_targets(targets: Tensor, vocab: int | None) -> None:
    if targets.device.type != "cpu" or not len(targets):
        return
    low, high = (int(bound) for bound in targets.aminmax())
    if low < 0 or (vocab is not None and high >= vocab):
        raise ValueError(f"targets must be in [0, {vocab or 'valid_vocab'}); got values from {low} to {high}")


def _inverse(temperature: float | Tensor, hidden: Tensor, weight: Tensor) -> Tensor | None:
    """1 / temperature as `[tokens, 1]` in the accumulation dtype; None for the number 1."""
    dtype = accumulation_dtype(hidden, weight)
    if isinstance(temperature, Tensor):
        if temperature.shape != (len(hidden),) or not temperature.is_floating_point():
            raise ValueError(
                f"temperature must be a number or floating point [{len(hidden)}] like hidden {list(hidden.shape)}; "
                f"got {temperature.dtype} {list(temperature.shape)}"
            )
        if temperature.requires_grad:
            raise ValueError("temperature is not differentiable; detach it")
        if temperature.device.type == "cpu" and not bool((temperature > 0).all()):
            raise ValueError(f"temperature must be positive everywhere; its minimum is {float(temperature.min())}")
        return temperature.to(dtype=dtype, device=hidden.device).reciprocal()[:, None]
    if not temperature > 0:
        raise ValueError(f"temperature must be positive; got {temperature}")
    if temperature == 1:
        return None
    return torch.full((len(hidden), 1), 1 / temperature, dtype=dtype, device=hidden.device)
