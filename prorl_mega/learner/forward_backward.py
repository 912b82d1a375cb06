"""Forward and backward passes of packed micro-batches through Megatron's schedules.

Megatron's schedule (1F1B when there are pipeline stages) calls a forward step for every micro-batch, and a loss
function on what the last stage returns. There only the rows that predict completion tokens go through the LM head,
tile by tile, into log-probability and entropy; the caller turns those into a loss or keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func

from prorl_kernels.linear_token_stats import TokenStats, linear_token_stats
from prorl_mega.learner.batching import PackedBatch
from prorl_mega.learner.harm import harm
from prorl_mega.learner.packed_sequences import pack_lengths
from prorl_mega.recipe.loss import LossOutputs
from prorl_mega.run.pulse import beat

Loss = Callable[[TokenStats, PackedBatch], LossOutputs]
"""Maps the statistics of a micro-batch's rows to its part of the global loss, with metrics."""

OnLastStage = Callable[[torch.Tensor, PackedBatch], tuple[torch.Tensor, Any]]
"""Maps the hidden states `[N, d]` of a micro-batch to a scalar loss and whatever the caller wants back."""


class TrainedMicrobatch(NamedTuple):
    """The results of one micro-batch: tensors on the device, without a gradient and not yet synchronised."""

    sums: dict[str, torch.Tensor]
    maxima: dict[str, torch.Tensor]
    logprobs: torch.Tensor  # [R], the policy's before the update


def finalize_gradients(models: list[DistributedDataParallel], _: torch.Tensor | None, **groups: Any) -> None:
    """Megatron's reductions over data-parallel ranks and tied weights, without its division by a token count."""
    harm("gradients", (parameter.main_grad for model in models for parameter in model.parameters()))
    finalize_model_grads(models, None, **groups)


@dataclass(kw_only=True, slots=True, frozen=True)
class ForwardBackward:
    """Runs the micro-batches of this rank. Log-probabilities are those at `temperature`, over `valid_vocab` ids.

    Lists of results have one entry per micro-batch on the last pipeline stage and are empty on the others.
    """

    model: DistributedDataParallel
    temperature: float
    valid_vocab: int
    device: torch.device
    implementation: str | None  # of `linear_token_stats`; None for what suits the device
    batch_invariant: bool  # the results of a row are the same bits whichever others there are, on a CPU
    logits_cache_bytes: int  # per micro-batch, from its forward to its backward pass

    def train(self, batches: list[PackedBatch], loss: Loss) -> list[TrainedMicrobatch]:
        """Add the gradient of the summed losses to the gradient buffers, reduced over all ranks.

        The statistics include exact KL if the batches have the hidden states of the reference policy.
        """

        def on_last_stage(hidden: torch.Tensor, batch: PackedBatch) -> tuple[torch.Tensor, TrainedMicrobatch]:
            stats = self._token_stats(hidden, batch)
            outputs = loss(stats, batch)
            return outputs.loss, TrainedMicrobatch(outputs.sums, outputs.maxima, stats.logprob.detach())

        return self._run(batches, on_last_stage, forward_only=False)

    @torch.no_grad()
    def log_probs(self, batches: list[PackedBatch]) -> list[torch.Tensor]:
        """The log-probability `[R]` of every row's target, by the weights that the model has now."""

        def on_last_stage(hidden: torch.Tensor, batch: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
            return hidden.new_zeros(()), self._token_stats(hidden, batch).logprob

        return self._run(batches, on_last_stage, forward_only=True)

    @torch.no_grad()
    def with_reference(self, batches: list[PackedBatch]) -> list[PackedBatch]:
        """`batches` with the inputs of exact KL from the reference policy, whose weights the model has now.

        The hidden states wait on the host, `d` numbers per completion token of this rank's share of one update:
        pipeline stages rule out a forward pass of the reference in the middle of the policy's.
        """

        def on_last_stage(hidden: torch.Tensor, batch: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
            return hidden.new_zeros(()), hidden.index_select(0, batch.rows).cpu()

        rows = self._run(batches, on_last_stage, forward_only=True)
        if not parallel_state.is_pipeline_last_stage():
            return batches
        head = self.model.module.output_weight().detach()
        return [
            replace(batch, reference_hidden=hidden, reference_head=head)
            for batch, hidden in zip(batches, rows, strict=True)
        ]

    def _run(self, batches: list[PackedBatch], on_last_stage: OnLastStage, *, forward_only: bool) -> list[Any]:
        def forward_step(data: Iterator[PackedBatch], model: DistributedDataParallel) -> tuple[torch.Tensor, Any]:
            beat()
            batch = next(data).to(self.device)

            def loss_function(hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Any]:
                """Return (loss, number of tokens, what to keep), as Megatron wants it."""
                loss, kept = on_last_stage(hidden, batch)
                return loss, torch.zeros((), dtype=torch.int, device=self.device), kept

            packed = pack_lengths(batch.lengths, multiple=1, device=self.device, sources=batch.sources)
            return model(batch.tokens, packed), loss_function

        schedule = get_forward_backward_func()
        return schedule(
            forward_step_func=forward_step,
            data_iterator=iter(batches),
            model=[self.model],
            num_microbatches=len(batches),
            seq_length=max(len(batch.tokens) for batch in batches),
            micro_batch_size=1,
            forward_only=forward_only,
        )

    def _token_stats(self, hidden: torch.Tensor, batch: PackedBatch) -> TokenStats:
        """The statistics `[R]` of a batch's rows, equal on all tensor-parallel ranks; `hidden` is `[N, d]`."""
        group = parallel_state.get_tensor_model_parallel_group()
        head = self.model.module.output_weight()
        rows = hidden.index_select(0, batch.rows)
        if not len(rows):
            # No rows, but stages and gradient buffers still wait for this micro-batch.
            nothing = rows.float().sum(1) + head[:0].float().sum()
            return TokenStats(nothing, nothing)
        return linear_token_stats(
            rows,
            head,
            batch.targets,
            self.temperature,
            ref_hidden=batch.reference_hidden,
            ref_weight=batch.reference_head,
            valid_vocab=self.valid_vocab,
            tensor_group=group if group.size() > 1 else None,
            implementation=self.implementation,
            batch_invariant=self.batch_invariant,
            cache_bytes=self.logits_cache_bytes,
            accumulate_main_grad=True,  # in fp32; autograd would hand over a gradient rounded to the weight's type
        )
