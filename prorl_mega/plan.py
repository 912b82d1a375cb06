"""The plan of a run, on a login node: validates, prints the settings and what follows from them: numbers, data files.
Starts nothing, and reads no more of the data than its first rows.

python -m prorl_mega.plan experiment=prorl_v1_1p5b model.path=/models/DeepSeek-R1-Distill-Qwen-1.5B
"""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from prorl_mega.config.compose import run_composed, to_config, to_objects
from prorl_mega.config.schedule import ResetTarget, StageEnd
from prorl_mega.config.schema import Placement, Precision, Recompute, RunConfig
from prorl_mega.config.stages import stage_settings
from prorl_mega.errors import ExitCode
from prorl_mega.families.family import ModelDescription
from prorl_mega.huggingface.config import check_vocabulary, describe
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.tasks import mixture
from prorl_mega.tasks.benchmarks import with_benchmarks

_GIB = 2**30


@dataclass(kw_only=True, slots=True, frozen=True)
class Memory:
    """A rough bound for one learner rank, in bytes; fragmentation, NCCL and CUDA contexts come on top."""

    weights: float  # policy shard
    gradients: float  # fp32
    optimizer: float  # AdamW moments and, with bf16, the fp32 copy of the weights; divided over data-parallel ranks
    reference: float  # second copy of the policy's shard, and a third where the best policy is kept; 0 when offloaded
    activations: float  # of one micro-batch, and the logits that it keeps
    engine: float  # vLLM's weights; its cache gets the rest of `rollout.gpu_memory_fraction`
    host: float  # main memory: what is offloaded, and for exact KL the reference's hidden states of one update


def parameter_count(model: ModelDescription) -> int:
    """Weights of embedding, attention, MLP and norms; biases and query/key norms are negligible and left out."""
    attention = model.hidden_size * model.head_dim * (2 * model.heads + 2 * model.kv_heads)
    layer = attention + 3 * model.hidden_size * model.ffn_size + 2 * model.hidden_size
    embeddings = model.vocab_size * model.hidden_size * (1 if model.tied_embeddings else 2)
    return model.layers * layer + embeddings + model.hidden_size


def estimate_memory(config: RunConfig, model: ModelDescription, world_size: int) -> Memory:
    """Memory of Megatron-core's distributed optimizer; activations by Korthikanti et al. (arXiv 2205.05198, eq. 2, 5)
    with flash attention: 34 · hidden bytes per token and layer at two bytes per number, 2 · hidden when recomputed.
    """
    parallel = config.parallel
    size = 4 if config.model.precision is Precision.fp32 else 2
    shard = parameter_count(model) / (parallel.tensor * parallel.pipeline)
    replicas = world_size // (parallel.tensor * parallel.pipeline)
    keeps_best = config.schedule.reset.to is ResetTarget.best
    per_layer = 2 if config.model.recompute is Recompute.full else 34
    tokens = parallel.max_tokens_per_microbatch
    snapshots = (1 + keeps_best) * size * shard
    recipe = config.recipe
    rows = recipe.prompts_per_update * recipe.samples_per_prompt * config.rollout.max_response_tokens / replicas
    exact = recipe.kl.coef > 0 and recipe.kl.estimator.exact
    layers = model.layers  # 1F1B holds `pipeline` micro-batches of layers/pipeline layers on the first stage
    return Memory(
        weights=size * shard,
        gradients=4 * shard,
        optimizer=(8 if size == 4 else 12) * shard / replicas,
        reference=0 if config.reference.offload else snapshots,
        activations=per_layer * size / 2 * tokens * model.hidden_size * layers / parallel.tensor
        + (parallel.logits_cache_mib << 20),
        engine=size * parameter_count(model) / config.rollout.tensor * (config.placement is Placement.colocated),
        host=(snapshots if config.reference.offload else 0) + (size * model.hidden_size * rows if exact else 0),
    )


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
        "ranks": f"{world_size} = tensor {parallel.tensor} × pipeline {parallel.pipeline} × data {replicas}",
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


def main(settings: DictConfig) -> ExitCode:
    """Print the plan for the ranks of `cluster`: nothing is launched, so there is no other number."""
    cluster = to_objects(settings, RunConfig).cluster
    world_size = cluster.nodes * cluster.ranks_per_node
    config = to_config(settings, RunConfig, world_size, with_benchmarks)
    print(OmegaConf.to_yaml(OmegaConf.structured(config)))
    description = describe(config.model.path, config.model.family)
    check_vocabulary(len(Tokenizer(config.model.path)), description)
    for name, value in derived(config, description, world_size).items():
        print(f"{name:>18}: {value}")
    if description.ignored:
        print(f"{'ignored':>18}: {', '.join(description.ignored)} of config.json, which nothing here knows")
    for number, line in enumerate(mixture.describe(config.tasks)):
        print(f"{'' if number else 'tasks':>18}{' ' if number else ':'} {line}")
    return ExitCode.FINISHED


def _gib(size: float) -> str:
    return f"{size / _GIB:.1f} GiB"


if __name__ == "__main__":
    run_composed(main, RunConfig)
