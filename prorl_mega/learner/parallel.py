"""Megatron's process groups and where this rank stands in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from megatron.core import parallel_state, tensor_parallel

from prorl_mega.config.schema import ParallelConfig
from prorl_mega.types import ExpertLayout, ParallelLayout


@dataclass(kw_only=True, slots=True, frozen=True)
class ProcessGroups:
    """The groups of this rank over which weights are gathered; Megatron keeps the others to itself."""

    tensor: dist.ProcessGroup
    pipeline: dist.ProcessGroup
    experts: dist.ProcessGroup  # the ranks that together hold the experts of a layer once


def initialize_parallel(config: ParallelConfig, *, seed: int) -> ParallelLayout:
    """Split the ranks into tensor-, pipeline- and data-parallel groups and seed every generator.

    Needs `backend.initialize_distributed` first. Ranks that hold the same pipeline stage draw the same initial
    weights, which tensor-parallel ranks then slice. Groups of an earlier call are kept if they split the ranks alike
    and are closed otherwise.
    """
    if not _is_split_like(config):
        _leave_groups()
        parallel_state.initialize_model_parallel(
            tensor_model_parallel_size=config.tensor,
            pipeline_model_parallel_size=config.pipeline,
            expert_model_parallel_size=config.expert,
            expert_tensor_parallel_size=config.expert_tensor or config.tensor,
            create_gloo_process_groups=True,
            distributed_timeout_minutes=_world_timeout_minutes(),
        )
    layout = ParallelLayout(
        world_size=dist.get_world_size(),
        rank=dist.get_rank(),
        tensor_size=config.tensor,
        tensor_rank=parallel_state.get_tensor_model_parallel_rank(),
        pipeline_size=config.pipeline,
        pipeline_rank=parallel_state.get_pipeline_model_parallel_rank(),
        data_size=parallel_state.get_data_parallel_world_size(),
        data_rank=parallel_state.get_data_parallel_rank(),
        expert=ExpertLayout(
            tensor_size=parallel_state.get_expert_tensor_parallel_world_size(),
            tensor_rank=parallel_state.get_expert_tensor_parallel_rank(),
            size=config.expert,
            rank=parallel_state.get_expert_model_parallel_rank(),
            data_size=parallel_state.get_expert_data_parallel_world_size(),
            data_rank=parallel_state.get_expert_data_parallel_rank(),
        ),
    )
    _seed(seed, layout)
    return layout


def process_groups() -> ProcessGroups:
    """The groups made by the last `initialize_parallel`."""
    return ProcessGroups(
        tensor=parallel_state.get_tensor_model_parallel_group(),
        pipeline=parallel_state.get_pipeline_model_parallel_group(),
        experts=parallel_state.get_expert_tensor_and_model_parallel_group(),
    )


def _is_split_like(config: ParallelConfig) -> bool:
    asked = (config.tensor, config.pipeline, config.expert, config.expert_tensor or config.tensor)
    return parallel_state.is_initialized() and asked == (
        parallel_state.get_tensor_model_parallel_world_size(),
        parallel_state.get_pipeline_model_parallel_world_size(),
        parallel_state.get_expert_model_parallel_world_size(),
        parallel_state.get_expert_tensor_parallel_world_size(),
    )


def _leave_groups() -> None:
    """Close all groups: Megatron drops most of them unclosed, and each keeps threads that wake up all the time."""
    if not parallel_state.is_initialized():
        return
    groups = parallel_state._global_process_group_list
    parallel_state.destroy_model_parallel()
    dist.barrier()  # no rank is left in a collective
    for group in groups:
        if group in dist.distributed_c10d._world.pg_map:  # those that are open still; None stands for the whole job
            dist.destroy_process_group(group)


def _world_timeout_minutes() -> float:
    """The time-out of `initialize_distributed`; groups do not inherit it, and their own default is half an hour."""
    world = dist.group.WORLD
    assert world is not None
    return world._get_backend(torch.device("cpu")).options._timeout.total_seconds() / 60


def _seed(seed: int, layout: ParallelLayout) -> None:
    """Seed all generators: stages draw different numbers, tensor-parallel ranks slice one draw, replicas are equal."""
    stage_seed = seed + 100 * layout.pipeline_rank  # Megatron's own spacing
    torch.manual_seed(stage_seed)
    tensor_parallel.model_parallel_cuda_manual_seed(stage_seed, force_reset_rng=torch.cuda.is_available())
