"""The memory that a learner rank and its engine need, from the settings and the model's description."""

from __future__ import annotations

from dataclasses import dataclass

from prorl_mega.config.schedule import ResetTarget
from prorl_mega.config.schema import Placement, Precision, Recompute, RunConfig
from prorl_mega.families.family import ModelDescription


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
    """Weights of embedding, attention, MLP or experts, and norms; biases, routers and query/key norms are negligible
    and left out."""
    attention = model.hidden_size * model.head_dim * (2 * model.heads + 2 * model.kv_heads)
    layer = attention + 2 * model.hidden_size
    if model.experts is None:
        layer += 3 * model.hidden_size * model.ffn_size
    embeddings = model.vocab_size * model.hidden_size * (1 if model.tied_embeddings else 2)
    return model.layers * layer + embeddings + model.hidden_size + expert_count(model)


def expert_count(model: ModelDescription) -> int:
    """Weights of all experts of all layers."""
    experts = model.experts
    return 0 if experts is None else model.layers * experts.count * 3 * model.hidden_size * experts.ffn_size


def estimate_memory(config: RunConfig, model: ModelDescription, world_size: int) -> Memory:
    """Memory of Megatron-core's distributed optimizer; activations by Korthikanti et al. (arXiv 2205.05198, eq. 2, 5)
    with flash attention: 34 · hidden bytes per token and layer at two bytes per number, 2 · hidden when recomputed.
    """
    parallel = config.parallel
    size = 4 if config.model.precision is Precision.fp32 else 2
    experts = expert_count(model)
    others = (parameter_count(model) - experts) / (parallel.tensor * parallel.pipeline)
    experts_ways = parallel.expert * (parallel.expert_tensor or parallel.tensor) * parallel.pipeline
    shard = others + experts / experts_ways
    replicas = world_size // (parallel.tensor * parallel.pipeline)
    # The distributed optimizer shares out a shard over those that hold it: of experts over fewer ranks.
    optimized = others / replicas + experts / experts_ways / (world_size // experts_ways)
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
        optimizer=(8 if size == 4 else 12) * optimized,
        reference=0 if config.reference.offload else snapshots,
        activations=per_layer * size / 2 * tokens * model.hidden_size * layers / parallel.tensor
        + (parallel.logits_cache_mib << 20),
        engine=size * parameter_count(model) / config.rollout.tensor * (config.placement is Placement.colocated),
        host=(snapshots if config.reference.offload else 0) + (size * model.hidden_size * rows if exact else 0),
    )
