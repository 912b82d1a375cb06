"""Layouts of a run for a number of GPUs: those that fit, by the time of a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from prorl_mega.config.schema import Placement, RunConfig
from prorl_mega.families.family import ModelDescription
from prorl_mega.planning.gpu import GPUS
from prorl_mega.planning.memory import Memory, estimate_memory
from prorl_mega.planning.shape import ModelShape
from prorl_mega.planning.step_time import StepWork, step_seconds

MEAN_SHARE = 0.6
"""Assumption: an answer's mean length as a share of the longest. ProRL's runs had 0.54 to 0.68 at 8k, 0.4 at 16k."""
USEFUL_SHARE = 0.5
"""Assumption: groups whose rewards differ, with dynamic sampling. BroRL reports 0.41 and 0.62."""
_ROOM = 0.95  # of a GPU's memory; the rest is fragments and contexts
_GPUS_OF_A_NODE = 8


@dataclass(kw_only=True, slots=True, frozen=True)
class Layout:
    """A layout that fits, and the seconds of its step by phase."""

    tensor: int
    pipeline: int
    engine_tensor: int
    seconds: dict[str, float]

    def text(self) -> str:
        phases = ", ".join(f"{name} {self.seconds[name]:.0f}" for name in ("rollout", "reference", "update"))
        return (
            f"parallel.tensor={self.tensor} parallel.pipeline={self.pipeline} rollout.tensor={self.engine_tensor}: "
            f"{self.seconds['step']:.0f} s a step ({phases})"
        )


def work_of(config: RunConfig, model: ModelDescription, gpus: int) -> StepWork:
    """The work of a step under these settings, with the assumptions above; `gpus` are the learner's."""
    recipe, rollout, parallel = config.recipe, config.rollout, config.parallel
    apart = config.placement is Placement.disaggregated
    trained = recipe.prompts_per_step * recipe.samples_per_prompt
    replicas = gpus // (parallel.tensor * parallel.pipeline)
    share = USEFUL_SHARE if recipe.selection.dynamic_sampling else 1.0
    mean = MEAN_SHARE * rollout.max_response_tokens
    tokens = trained / (recipe.prompts_per_step // recipe.prompts_per_update) / replicas * mean
    return StepWork(
        shape=ModelShape.of(model),
        gpu=GPUS[config.cluster.gpu],
        learner_gpus=gpus,
        engine_gpus=config.servers.replicas * rollout.tensor if apart else gpus,
        engine_tensor=rollout.tensor,
        places=rollout.max_concurrent,
        sampled=round(trained / share),
        trained=trained,
        prompt=rollout.max_prompt_tokens // 2,
        mean_length=mean,
        longest=rollout.max_response_tokens,
        forward_passes=1 + (recipe.kl.coef > 0),
        recompute=config.model.recompute.value == "full",
        tensor=parallel.tensor,
        pipeline=parallel.pipeline,
        microbatches=max(1, round(tokens / parallel.max_tokens_per_microbatch)),
        memory_share=rollout.gpu_memory_fraction,
        ahead=apart and config.rollout.staleness is not None and config.rollout.staleness > 0,
    )


def lacking(config: RunConfig, model: ModelDescription, gpus: int) -> str:
    """Why a layout does not fit into the GPUs' memory; empty if it does."""
    memory: Memory = estimate_memory(config, model, gpus)
    room = _ROOM * GPUS[config.cluster.gpu].memory
    resident = memory.weights + memory.gradients + memory.optimizer + memory.reference
    share = config.rollout.gpu_memory_fraction if config.placement is Placement.colocated else 0.0
    if resident + memory.activations > room:
        return f"the learner needs {_gb(resident + memory.activations)} of {_gb(room)}"
    if resident > room - share * GPUS[config.cluster.gpu].memory:
        return f"beside the engine's share of {share:g} there is no room for the learner's {_gb(resident)}"
    if memory.engine > 0.9 * share * GPUS[config.cluster.gpu].memory and share:
        return f"the engine's weights take {_gb(memory.engine)}, and there is no room for its cache"
    return ""


def layouts(config: RunConfig, model: ModelDescription, gpus: int) -> tuple[list[Layout], int]:
    """Layouts that fit, the fastest first, and how many do not."""
    found, refused = [], 0
    for tensor, pipeline, engine in _possible(model, gpus):
        parallel = dataclasses.replace(config.parallel, tensor=tensor, pipeline=pipeline)
        tried = dataclasses.replace(
            config, parallel=parallel, rollout=dataclasses.replace(config.rollout, tensor=engine)
        )
        if lacking(tried, model, gpus):
            refused += 1
            continue
        seconds = step_seconds(work_of(tried, model, gpus))
        found.append(Layout(tensor=tensor, pipeline=pipeline, engine_tensor=engine, seconds=seconds))
    return sorted(found, key=lambda each: each.seconds["step"]), refused


def _possible(model: ModelDescription, gpus: int) -> Iterator[tuple[int, int, int]]:
    """Tensor, pipeline, engine's tensor: powers of two that divide the model and the GPUs."""
    sizes = [1 << power for power in range(11)]
    tensors = [each for each in sizes if each <= _GPUS_OF_A_NODE and model.heads % each == model.ffn_size % each == 0]
    for tensor in tensors:
        for pipeline in sizes:
            if model.layers % pipeline or gpus % (tensor * pipeline):
                continue
            for engine in tensors:
                if gpus % engine == 0:
                    yield tensor, pipeline, engine


def _gb(size: float) -> str:
    return f"{size / 1e9:.0f} GB"
