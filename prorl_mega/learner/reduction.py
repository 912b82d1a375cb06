"""Results of the last pipeline stage brought to every rank: one collective each, no pickled objects."""

from __future__ import annotations

import torch

from prorl_mega.learner.batching import PackedBatch
from prorl_mega.types import Metrics, ParallelLayout


def is_contributor(layout: ParallelLayout) -> bool:
    """Whether this rank contributes for its replica: one tensor-parallel rank of each replica's last stage does."""
    return layout.pipeline_rank == layout.pipeline_size - 1 and layout.tensor_rank == 0


def all_gather_rows(
    values: list[torch.Tensor], batches: list[PackedBatch], total: int, layout: ParallelLayout, device: torch.device
) -> torch.Tensor:
    """Per-row values of all replicas in the order of the global list, `[total]` float32, on the host of every rank.

    `values` are those of this rank's micro-batches; the list is empty where there is no LM head.
    """
    result = torch.zeros(total, dtype=torch.float32, device=device)
    if is_contributor(layout):
        for value, batch in zip(values, batches, strict=True):
            result[batch.global_rows.to(device)] = value.float()
    if layout.world_size > 1:
        torch.distributed.all_reduce(result)
    return result.cpu()


def reduce_metrics(
    sums: dict[str, torch.Tensor], maxima: dict[str, torch.Tensor], layout: ParallelLayout, device: torch.device
) -> Metrics:
    """Sums and maxima over the job, on the host: the one place where values are waited for.

    Keys are equal on all ranks; maxima are not negative.
    """
    added = torch.stack([value.to(device, torch.float64) for value in sums.values()])
    largest = torch.stack([value.to(device, torch.float64) for value in maxima.values()]) if maxima else added[:0]
    if layout.world_size > 1:
        if not is_contributor(layout):
            added, largest = torch.zeros_like(added), torch.zeros_like(largest)
        torch.distributed.all_reduce(added)
        if maxima:
            torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
    return dict(zip([*sums, *maxima], torch.cat([added, largest]).tolist(), strict=True))
