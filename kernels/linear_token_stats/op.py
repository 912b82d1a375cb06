"""The entry point: checks the arguments and picks the implementation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from prorl_kernels.linear_token_stats import arguments, chunked
from prorl_kernels.linear_token_stats.arguments import CPU_CHUNK_BYTES, GPU_CHUNK_BYTES, Inputs, Options
from prorl_kernels.linear_token_stats.function import LinearTokenStats
from prorl_kernels.linear_token_stats.gradient import Implementation
from prorl_kernels.linear_token_stats.reference import reference_token_stats
from prorl_kernels.linear_token_stats.stats import TokenStats, accumulation_dtype

IMPLEMENTATIONS = ["chunked", "fused", "reference"]


def linear_token_stats(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    ref_hidden: Tensor | None = None,
    ref_weight: Tensor | None = None,
    softcap: float | None = None,
    ignore_index: int | None = None,
    vocab_start: int | None = None,
    valid_vocab: int | None = None,
    tensor_group: ProcessGroup | None = None,
    sequence_parallel: bool = False,
    cache_bytes: int = 0,
    accumulate_main_grad: bool = False,
    implementation: str | None = None,
    chunk_bytes: int | None = None,
    batch_invariant: bool = False,
) -> TokenStats:
    """Log-probability of the target, entropy and KL of softmax(softcap(hidden · weightᵀ) / temperature), per token.

    Args:
        hidden, weight: `[tokens, d]` and this rank's `[vocab_local, d]`, padding at its end; any strides. Both are
            differentiable, once. d_hidden comes back summed over `tensor_group`: the caller must not reduce it again.
        targets: `[tokens]` int32 or int64, global ids in `[0, valid_vocab)`.
        temperature: > 0, a number or `[tokens]`; not differentiable.
        ref_hidden, ref_weight: `[tokens, d_ref]`, `[vocab_local, d_ref]`; they get no gradient.
        softcap: raw logits z become softcap · tanh(z / softcap), the reference's as well.
        ignore_index: rows with this target are not computed: zeros in every output, no gradient.
        vocab_start: global id of the first row of `weight`; by default `rank * vocab_local` (even shards).
        valid_vocab: number of real ids, by default all; padding gets no probability and no gradient.
        tensor_group: the ranks that hold the vocabulary, in order; all pass equal tokens and return equal bits.
        sequence_parallel: `hidden` and `ref_hidden` are this rank's `[tokens / ranks, d]`, the rest is of all tokens.
        cache_bytes: of logits kept for backward, which recomputes the others. Rounded, they move p there by 0.1 %.
        accumulate_main_grad: d_weight is added to `weight.main_grad`, by Megatron's convention.
        implementation: "fused" (Triton), "chunked" (any device) or "reference" (full logits on one rank).
        chunk_bytes: bound on the tiles alive at once; by default 16 MiB on a CPU and 256 MiB on a GPU.
        batch_invariant: a token's results are the same bits whichever others are computed with it; chunked, on a CPU.

    Returns:
        `[tokens]` each, fp32 (fp64 when an input is fp64). Products accumulate in it, also of 16-bit inputs.

    Raises:
        ValueError: an argument does not fit; the message names it. Values of `targets` and `temperature` are looked at
            on a CPU only (a GPU would have to synchronise); there a target that no shard holds has log-prob −inf.
    """
    arguments.check_projections(hidden, weight, ref_hidden, ref_weight)
    default_chunk = CPU_CHUNK_BYTES if hidden.device.type == "cpu" else GPU_CHUNK_BYTES
    options = Options(
        dtype=accumulation_dtype(hidden, weight, ref_hidden, ref_weight),
        shard=arguments.new_shard(weight, vocab_start, valid_vocab, tensor_group),
        softcap=softcap, ignore_index=ignore_index,
        sequence_parallel=sequence_parallel, accumulate_main_grad=accumulate_main_grad,
        keeps_logits=torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad),
        cache_bytes=cache_bytes, chunk_bytes=default_chunk if chunk_bytes is None else chunk_bytes,
        batch_invariant=batch_invariant,
    )  # fmt: skip
    inputs = arguments.new_inputs(hidden, weight, targets, temperature, ref_hidden, ref_weight, options)
    return _computed(_fastest(inputs, options) if implementation is None else implementation, inputs, options)


def _fastest(inputs: Inputs, options: Options) -> str:
    """The fused kernels where they run and are expected to be fastest (TRITON.md has the estimates).

    With room to keep logits they are not, because they keep none; nor with a reference, which halves their tiles.
    """
    keeps = options.keeps_logits and options.cache_bytes
    if inputs.hidden.is_cuda and not keeps and inputs.ref_weight is None:
        from prorl_kernels.linear_token_stats.triton.fused import why_not_fused  # Triton is not needed on a CPU

        return "chunked" if why_not_fused(inputs.hidden, inputs.weight) else "fused"
    return "chunked"


def _computed(name: str, inputs: Inputs, options: Options) -> TokenStats:
    if name == "reference":
        return reference_token_stats(inputs, options)
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"implementation={name!r} is unknown; choose from {IMPLEMENTATIONS}")
    implementation: Implementation = chunked
    if name == "fused":
        from prorl_kernels.linear_token_stats import fused

        implementation = fused
    return TokenStats(*LinearTokenStats.apply(implementation, options, *inputs))
