"""The numbers of a run in words: what `prorl_mega.plan` prints and `prorl_mega.submit` submits."""

from __future__ import annotations

from prorl_mega.config.schedule import StageEnd
from prorl_mega.config.schema import Placement, RunConfig
from prorl_mega.config.stages import stage_settings
from prorl_mega.errors import ConfigError
from prorl_mega.families.family import ModelDescription
from prorl_mega.huggingface.config import check_vocabulary, describe
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.planning.memory import estimate_memory, parameter_count
from prorl_mega.planning.search import lacking, layouts, work_of
from prorl_mega.planning.step_time import step_seconds
from prorl_mega.tasks import mixture

_GIB = 2**30


def plan_lines(config: RunConfig, world_size: int) -> list[str]:
    """The plan for `world_size` ranks, a name and a value per line. Raises ConfigError, DataError."""
    description = describe(config.model.path, config.model.family)
    check_vocabulary(len(Tokenizer(config.model.path)), description)
    lines = [f"{name:>18}: {value}" for name, value in derived(config, description, world_size).items()]
    if description.ignored:
        lines.append(f"{'ignored':>18}: {', '.join(description.ignored)} of config.json, which nothing here knows")
    if config.cluster.gpus_per_node:
        lines += [f"{name:>18}: {value}" for name, value in time_lines(config, description, world_size).items()]
    for number, line in enumerate(mixture.describe(config.tasks)):
        lines.append(f"{'' if number else 'tasks':>18}{' ' if number else ':'} {line}")
    return lines


def derived(config: RunConfig, model: ModelDescription, world_size: int) -> dict[str, str]:
    """Name and value of everything that follows from the settings."""
    recipe, parallel, rollout = config.recipe, config.parallel, config.rollout
    servers = config.servers.replicas if config.placement is Placement.disaggregated else 0
    replicas = world_size // (parallel.tensor * parallel.pipeline)
    samples = recipe.prompts_per_step * recipe.samples_per_prompt
    longest = rollout.max_prompt_tokens + rollout.max_response_tokens
    memory = estimate_memory(config, model, world_size)
    updates = recipe.prompts_per_step // recipe.prompts_per_update
    resident = memory.weights + memory.gradients + memory.optimizer + memory.reference
    architecture = model.family.architecture
    return {
        "model": f"{parameter_count(model) / 1e6:,.1f} M parameters, {model.layers} layers, {architecture}",
        "ranks": f"{world_size} = tensor {parallel.tensor} × pipeline {parallel.pipeline} × data {replicas}"
        + (f"; experts in {parallel.expert} groups" if model.experts else ""),
        "engines": f"{servers or world_size // rollout.tensor} with tensor {rollout.tensor}"
        + (", servers beside the learner" if servers else ""),
        "samples per step": f"{samples:,} = {recipe.prompts_per_step} prompts × {recipe.samples_per_prompt}",
        "updates per step": f"{updates} of {samples // updates:,} samples",
        "tokens per step": f"at most {samples * longest:,}, {samples * longest // replicas:,} per data-parallel rank",
        "stages": "; ".join(stage_lines(config)) or "one, with these settings",
        "updates in all": f"{updates * config.schedule.steps:,} in {config.schedule.steps:,} steps",
        "memory per rank": f"learner {_gib(resident)} (weights {_gib(memory.weights)}, gradients "
        f"{_gib(memory.gradients)}, optimizer {_gib(memory.optimizer)}, reference {_gib(memory.reference)}) "
        f"+ activations up to {_gib(memory.activations)}; engine weights {_gib(memory.engine)}; in main memory "
        f"{_gib(memory.host)}; rough, without caches",
    }


def time_lines(config: RunConfig, model: ModelDescription, gpus: int) -> dict[str, str]:
    """Name and value of what follows from data sheets and the assumptions of `planning/`."""
    work = work_of(config, model, gpus)
    seconds = step_seconds(work)
    phases = ", ".join(f"{name} {seconds[name]:.0f}" for name in ("rollout", "reference", "update", "push", "rest"))
    used = gpus + (work.engine_gpus if config.placement is Placement.disaggregated else 0)
    hours = seconds["step"] * config.schedule.steps / 3600
    found = {
        "time per step": f"about {seconds['step']:.0f} s ({phases}) on {used} × {config.cluster.gpu}; assumed are "
        f"answers of {work.mean_length:,.0f} tokens on average and {work.trained / work.sampled:.0%} useful groups; "
        "published steps took 0.6 to 4 times as long (LOG.md)",
        "in all": f"{hours:,.0f} hours, {hours * used:,.0f} GPU-hours",
    }
    if why := lacking(config, model, gpus):
        found["will not fit"] = why
    return found


def best_lines(config: RunConfig, model: ModelDescription, gpus: int, *, most: int = 5) -> list[str]:
    """The fastest layouts for this many GPUs. Raises ConfigError when none fits."""
    found, refused = layouts(config, model, gpus)
    if not found:
        raise ConfigError(
            f"none of {refused} layouts of {gpus} GPUs ({config.cluster.gpu}) fits; more GPUs, reference.offload=true, "
            "model.recompute=full or a smaller parallel.max_tokens_per_microbatch may"
        )
    return [f"{number}. {each.text()}" for number, each in enumerate(found[:most], start=1)] + [
        f"{len(found)} layouts fit, {refused} do not"
    ]


def stage_lines(config: RunConfig) -> list[str]:
    """One line per stage: when it begins, as far as that is known, and its demands on machine and data."""
    lines = []
    start: int | None = 0
    for number, (stage, settings) in enumerate(
        zip(config.schedule.stages, stage_settings(config), strict=False), start=1
    ):
        begins = "after a trigger" if start is None else f"from step {start}"
        lines.append(
            f"{stage.name or number} {begins}: {settings.recipe.prompts_per_step} × "
            f"{settings.recipe.samples_per_prompt} samples of {settings.rollout.max_response_tokens:,} tokens, "
            f"learning rate {settings.optimizer.learning_rate:.3g}"
        )
        start = None if start is None or stage.until is StageEnd.trigger else start + stage.steps
    return lines


def _gib(size: float) -> str:
    return f"{size / _GIB:.1f} GiB"
