"""The differentiable function around an implementation: rows that need nothing, saved tensors, ranks, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prorl_kernels.linear_token_stats.arguments import Inputs, Options
from prorl_kernels.linear_token_stats.cache import EMPTY_CACHE, Cache, new_cache
from prorl_kernels.linear_token_stats.gradient import Implementation, multiply_gradients
from prorl_kernels.linear_token_stats.problem import TiledProblem
from prorl_kernels.linear_token_stats.rows import Active, active_rows, kept_rows, row_scalars, scatter_rows
from prorl_kernels.linear_token_stats.shard import gather_tokens, merge_over_group, start_sum
from prorl_kernels.linear_token_stats.stats import results


class LinearTokenStats(torch.autograd.Function):
    """(logprob, entropy), with a reference (…, ref_logprob, kl_reverse, kl_forward), `[tokens]` each."""

    @staticmethod
    def forward(
        ctx: Any, implementation: Implementation, options: Options, *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        inputs = Inputs(*tensors)
        kept = kept_rows(inputs.targets, options.ignore_index)
        with torch.autocast(inputs.hidden.device.type, enabled=False):
            problem = _problem(implementation, inputs, options, kept)
            keeps_logits = implementation.keeps_logits and options.keeps_logits
            cache = new_cache(problem, options.cache_bytes) if keeps_logits else EMPTY_CACHE
            statistics = merge_over_group(implementation.statistics(problem, cache), options.shard)
        stats = results(statistics)
        ctx.save_for_backward(kept, row_scalars(statistics, stats), *cache.tensors, *tensors)
        ctx.implementation, ctx.options = implementation, options
        ctx.main_grad = inputs.weight.main_grad if options.accumulate_main_grad else None
        ctx.set_materialize_grads(False)
        outputs = tuple(scatter_rows(each, kept, len(inputs.targets)) for each in stats if each is not None)
        ctx.mark_non_differentiable(*outputs[2:3])
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        kept, scalars, *tensors = ctx.saved_tensors
        cache, inputs = Cache.of_tensors(tensors[:4]), Inputs(*tensors[4:])
        with torch.autocast(inputs.hidden.device.type, enabled=False):
            active = active_rows(upstream, len(inputs.targets), kept, scalars, cache.rows)
            d_hidden, d_weight = _gradients(ctx, inputs, kept, cache, active)
        return None, None, d_hidden, d_weight, None, None, None, None


def _gradients(
    ctx: Any, inputs: Inputs, kept: Tensor | None, cache: Cache, active: Active
) -> tuple[Tensor | None, Tensor | None]:
    options: Options = ctx.options
    needs_hidden, needs_weight = ctx.needs_input_grad[2:4]
    target = ctx.main_grad
    if needs_weight and target is None:
        target = torch.empty_like(inputs.weight)
        target[options.shard.size if active.rows else 0 :] = 0.0
    if not active.rows:
        return torch.zeros_like(inputs.hidden) if needs_hidden else None, _for_autograd(ctx, inputs.weight, target)
    index = kept if active.index is None else active.index if kept is None else kept[active.index]
    if len(active.scalars) == 5:
        inputs = inputs._replace(ref_hidden=None, ref_weight=None)
    problem = _problem(ctx.implementation, inputs, options, index)
    partial = torch.empty_like(problem.hidden, dtype=problem.dtype) if needs_hidden else None
    finish: list[Callable[[], Tensor]] = []

    def start() -> None:
        if partial is not None:
            scatter = options.sequence_parallel
            whole = scatter_rows(partial, index, len(inputs.targets)) if scatter else partial
            finish.append(start_sum(whole, options.shard, scatter=scatter))

    multiply_gradients(
        problem,
        ctx.implementation,
        active,
        cache,
        partial,
        target[: options.shard.size] if needs_weight else None,
        add_to_d_weight=ctx.main_grad is not None,
        when_d_hidden_is_done=start,
    )
    if not finish:
        return None, _for_autograd(ctx, inputs.weight, target)
    d_hidden = finish[0]().to(inputs.hidden.dtype)
    if not options.sequence_parallel:
        d_hidden = scatter_rows(d_hidden, index, len(inputs.hidden))
    return d_hidden, _for_autograd(ctx, inputs.weight, target)


def _problem(implementation: Implementation, inputs: Inputs, options: Options, index: Tensor | None) -> TiledProblem:
    """The problem of the rows `index` (None for all) and this rank's real columns."""
    shard, columns = options.shard, options.shard.size
    hidden, ref_hidden, ref_weight = inputs.hidden, inputs.ref_hidden, inputs.ref_weight
    if options.sequence_parallel:
        hidden = gather_tokens(hidden, shard)
        ref_hidden = None if ref_hidden is None else gather_tokens(ref_hidden, shard)
    problem = TiledProblem(
        hidden=hidden,
        weight=inputs.weight[:columns],
        targets=inputs.targets - shard.start,
        inverse_temperature=inputs.inverse_temperature,
        softcap=options.softcap,
        ref_hidden=ref_hidden,
        ref_weight=None if ref_weight is None else ref_weight[:columns],
        dtype=options.dtype,
        tile=implementation.tile_size(
            dtype=options.dtype, has_reference=ref_weight is not None, has_softcap=options.softcap is not None
        ),
        chunk_bytes=options.chunk_bytes,
        batch_invariant=options.batch_invariant,
    )
    return problem if index is None else problem.select(index)


def _for_autograd(ctx: Any, weight: Tensor, target: Tensor | None) -> Tensor | None:
    """The gradient for autograd. A sum in main_grad is announced as Megatron's hooks expect it: by a flag on the
    parameter and a meaningless gradient, zeros where the hook adds it nonetheless (`zero_out_wgrad`)."""
    if not ctx.needs_input_grad[3] or ctx.main_grad is None:
        return target if ctx.needs_input_grad[3] else None
    if not hasattr(weight, "grad_added_to_main_grad"):
        return None
    weight.grad_added_to_main_grad = True
    return torch.zeros_like(weight) if getattr(weight, "zero_out_wgrad", False) else torch.empty_like(weight)
