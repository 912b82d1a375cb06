"""Forward and backward passes of packed micro-batches through Megatron's schedules.

The schedule (1F1B when there are pipeline stages) calls `forward_step` for every micro-batch. On the last stage only
the rows that predict completion tokens go through the LM head, tile by tile, into log-probability and entropy; the
caller turns those into a loss or keeps them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func

from prorl_kernels.linear_token_stats import TokenStats, linear_token_stats
from prorl_mega.learner.attention import pack_lengths
from prorl_mega.learner.batching import PackedBatch

Loss = Callable[[TokenStats, PackedBatch], tuple[torch.Tensor, Any]]
"""From the statistics of a micro-batch's rows to its part of the global loss (scalar) and anything worth keeping."""

FinishReason = Callable[[torch.Tensor, PackedBatch, torch.Tensor | None], tuple[torch.Tensor, Any]]
"""The same from hidden states `[N, d]` and, for exact KL, the reference's of the rows."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Reference:
    """What exact KL needs of the reference policy, for the micro-batches of one update.

    The hidden states wait on the host, `d` numbers per completion token of this rank's share of one update: pipeline
    stages rule out a forward pass of the reference in the middle of the policy's. Nothing where there is no head.
    """

    rows: list[torch.Tensor]  # [R, d] of each micro-batch
    head: torch.Tensor | None  # this rank's rows of the LM head, on the device


def finalize_gradients(models: list[DistributedDataParallel], _: torch.Tensor | None, **groups: Any) -> None:
    """Megatron's reductions over data-parallel ranks and tied weights, without its division by a token count."""
    finalize_model_grads(models, None, **groups)


@dataclass(kw_only=True, slots=True, frozen=True)
class ForwardBackward:
    """Runs the micro-batches of this rank. Log-probabilities are those at `temperature`, over `valid_vocab` ids."""

    model: DistributedDataParallel
    temperature: float
    valid_vocab: int
    device: torch.device
    implementation: str | None  # of `linear_token_stats`; None for what suits the device
    logits_cache_bytes: int  # of a micro-batch, from its forward to its backward pass

    def train(self, batches: list[PackedBatch], loss: Loss, reference: Reference | None = None) -> list[Any]:
        """Add the gradient of the summed losses to the gradient buffers, reduced over all ranks.

        With a `reference` the statistics have exact KL. Returns what `loss` kept, per micro-batch, on the last stage;
        an empty list elsewhere.
        """
        head = None if reference is None else reference.head

        def finish(hidden: torch.Tensor, batch: PackedBatch, rows: torch.Tensor | None) -> tuple[torch.Tensor, Any]:
            return loss(self._statistics(hidden, batch, rows, head), batch)

        return self._run(batches, finish, [] if reference is None else reference.rows, forward_only=False)

    @torch.no_grad()
    def evaluate(self, batches: list[PackedBatch]) -> list[TokenStats]:
        """The statistics of every micro-batch's rows on the last stage; an empty list elsewhere."""

        def finish(hidden: torch.Tensor, batch: PackedBatch, _: torch.Tensor | None) -> tuple[torch.Tensor, TokenStats]:
            return hidden.new_zeros(()), self._statistics(hidden, batch, None, None)

        return self._run(batches, finish, [], forward_only=True)

    @torch.no_grad()
    def as_reference(self, batches: list[PackedBatch]) -> Reference:
        """What `train` needs of the model as it is now, to measure exact KL from it."""

        def finish(hidden: torch.Tensor, batch: PackedBatch, _: torch.Tensor | None) -> tuple[torch.Tensor, Any]:
            return hidden.new_zeros(()), hidden.index_select(0, batch.rows).cpu()

        rows = self._run(batches, finish, [], forward_only=True)
        has_head = parallel_state.is_pipeline_last_stage()
        return Reference(rows=rows, head=self.model.module.output_weight().detach() if has_head else None)

    def _run(
        self, batches: list[PackedBatch], finish: FinishReason, rows: list[torch.Tensor], *, forward_only: bool
    ) -> list[Any]:
        schedule = get_forward_backward_func()
        return schedule(
            forward_step_func=partial(self._forward_step, finish),
            data_iterator=itertools.zip_longest(batches, rows),
            model=[self.model],
            num_microbatches=len(batches),
            seq_length=max(len(batch.tokens) for batch in batches),
            micro_batch_size=1,
            forward_only=forward_only,
        )

    def _forward_step(
        self,
        finish: FinishReason,
        batches: Iterator[tuple[PackedBatch, torch.Tensor | None]],
        model: DistributedDataParallel,
    ) -> tuple[torch.Tensor, Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, Any]]]:
        batch, rows = next(batches)
        batch = batch.to(self.device)
        hidden = model(batch.tokens, pack_lengths(batch.lengths, multiple=1, device=self.device))
        return hidden, partial(self._finish, finish, batch, rows)

    def _finish(
        self, finish: FinishReason, batch: PackedBatch, rows: torch.Tensor | None, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Megatron's loss function: (loss, number of tokens, what to keep). Called on the last stage only."""
        part, kept = finish(hidden, batch, rows)
        return part, torch.zeros((), dtype=torch.int, device=self.device), kept

    def _statistics(
        self,
        hidden: torch.Tensor,
        batch: PackedBatch,
        reference_rows: torch.Tensor | None,
        reference_head: torch.Tensor | None,
    ) -> TokenStats:
        """Of the rows of `batch`, `[R]` each, equal on all tensor-parallel ranks; `hidden` is `[N, d]`."""
        group = parallel_state.get_tensor_model_parallel_group()
        head = self.model.module.output_weight()
        rows = hidden.index_select(0, batch.rows)
        if not len(rows):
            # Nothing to evaluate here, but stages and gradient buffers still wait for this micro-batch.
            nothing = rows.float().sum(1) + head[:0].float().sum()
            return TokenStats(nothing, nothing)
        return linear_token_stats(
            rows,
            head,
            batch.targets,
            self.temperature,
            ref_hidden=None if reference_rows is None else reference_rows.to(self.device, non_blocking=True),
            ref_weight=reference_head,
            valid_vocab=self.valid_vocab,
            tensor_group=group if group.size() > 1 else None,
            implementation=self.implementation,
            cache_bytes=self.logits_cache_bytes,
            accumulate_main_grad=True,  # in fp32; autograd would hand over a gradient rounded to the weight's type
        )
