"""Learners on tiny checkpoints, in processes started by `run_ranks`. Imports no transformers: that takes seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.core.parallel_state import get_data_parallel_group, get_expert_data_parallel_group

from prorl_mega.config.keys import with_settings
from prorl_mega.config.schema import ModelConfig, OptimizerConfig, ParallelConfig, Precision, RecipeConfig
from prorl_mega.learner.backend import initialize_distributed
from prorl_mega.learner.learner import MegatronLearner
from prorl_mega.types import StepHyperparams, TrainSample
from prorl_mega.weights.load import load_weights
from prorl_mega.weights.reshard import stream_weights

VALID_VOCAB = 250  # below the 259 rows of the tiny checkpoints: the others are padding
TEMPERATURE = 0.7
ONE_UPDATE = {"prompts_per_step": 4, "prompts_per_update": 4}
TWO_UPDATES = {"prompts_per_step": 4, "prompts_per_update": 2}


@dataclass(kw_only=True, frozen=True)
class Step:
    """What one update and one `compute_log_probs` of one learner returned."""

    metrics: dict[str, float]
    gradients: dict[str, torch.Tensor]  # by Hugging Face name; rank 0 only
    old: list[np.ndarray | None]
    reference: list[np.ndarray | None]


def make_sequences(count: int, *, seed: int = 0, longest: int = 40) -> list[TrainSample]:
    """Random prompts and completions of very different lengths, with log-probabilities still to be found out."""
    draw = np.random.default_rng(seed)
    sequences = []
    for _ in range(count):
        prompt, completion = int(draw.integers(1, longest // 2)), int(draw.integers(1, longest // 2))
        sequences.append(
            TrainSample(
                tokens=draw.integers(0, VALID_VOCAB, prompt + completion).astype(np.int32),
                prompt_length=prompt,
                advantage=float(draw.normal()),
                reward=1.0,
                rollout_logprobs=draw.normal(-5.0, 0.3, completion).astype(np.float32),
                version=0,
            )
        )
    return sequences


def make_off_policy(sequences: list[TrainSample], logprobs: list[np.ndarray], *, seed: int = 0) -> None:
    """Old and reference log-probabilities at a distance from `logprobs` that reaches both bounds of the clip."""
    draw = np.random.default_rng(seed)
    for sequence, values in zip(sequences, logprobs, strict=True):
        sequence.old_logprobs = (values + draw.normal(0.0, 0.4, len(values))).astype(np.float32)
        sequence.reference_logprobs = (values + draw.normal(0.0, 0.5, len(values))).astype(np.float32)


def make_learner(
    path: Path,
    *,
    tensor: int = 1,
    pipeline: int = 1,
    sequence: bool = False,
    expert: int = 1,
    expert_tensor: int = 0,
    capacity: int = 10_000,
    logits_cache_mib: int = 0,
    optimizer: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    precision: Precision = Precision.fp32,
    valid_vocab: int = VALID_VOCAB,
) -> MegatronLearner:
    """A learner with the weights of `path`, in a process started by `run_ranks`."""
    initialize_distributed(60)
    parallel = ParallelConfig(
        tensor=tensor,
        pipeline=pipeline,
        sequence=sequence,
        expert=expert,
        expert_tensor=expert_tensor,
        max_tokens_per_microbatch=capacity,
        logits_cache_mib=logits_cache_mib,
    )
    learner = MegatronLearner(
        model=ModelConfig(path=str(path), precision=precision),
        parallel=parallel,
        optimizer=OptimizerConfig(**({"max_grad_norm": 1e9} | (optimizer or {}))),
        recipe=with_settings(RecipeConfig(), ONE_UPDATE | {"kl.coef": 0.1} | (recipe or {})),
        temperature=TEMPERATURE,
        valid_vocab=valid_vocab,
        seed=1,
    )
    load_weights(path, learner.parameters(), learner.description, learner.layout)
    learner.adopt_parameters()
    return learner


def full_tensors(learner: MegatronLearner, shards: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Shards by Megatron name, assembled under their Hugging Face names on every rank."""
    groups = learner.groups
    stream = stream_weights(
        shards,
        learner.description,
        learner.layout,
        tensor_group=groups.tensor,
        pipeline_group=groups.pipeline,
        experts_group=groups.experts,
        bucket_bytes=1 << 24,
    )
    return {name: tensor.clone() for name, tensor in stream}


def full_gradients(learner: MegatronLearner, *, beta1: float = 0.9) -> dict[str, torch.Tensor]:
    """The gradient of the learner's first step by Hugging Face name, read off Adam's first moment, (1 - β₁) g."""
    state = learner._optimizer.state()
    names = {parameter: name for name, parameter in learner._model.module.named_parameters()}
    shards = {name: torch.zeros_like(parameter) for name, parameter in learner._parameters.items()}
    for sharded in learner._optimizer._chain.chained_optimizers:
        for name, parameter in learner._parameters.items():
            if parameter in sharded.model_param_group_index_map:
                part = sharded._get_model_param_range_map(parameter)["param"]
                moment = state[f"{names[parameter]}/exp_avg"] / (1 - beta1)
                shards[name].view(-1)[part.start : part.end] = moment
    for name, shard in shards.items():
        is_of_experts = ".experts." in name
        torch.distributed.all_reduce(shard, group=get_expert_data_parallel_group() if is_of_experts else
                                     get_data_parallel_group())  # fmt: skip
    return full_tensors(learner, shards)


def measure_steps(
    prepared: list[tuple[Path, list[TrainSample]]], cases: dict[str, dict[str, Any]], coefficients: StepHyperparams
) -> list[dict[str, Step]]:
    """By checkpoint and case: one update of a fresh learner on the given samples, and its log-probabilities."""
    results: list[dict[str, Step]] = []
    for path, sequences in prepared:
        results.append({})
        for name, settings in cases.items():
            recipe = TWO_UPDATES | settings.get("recipe", {})
            learner = make_learner(path, **(settings | {"recipe": recipe}))
            asked = [replace(sequence) for sequence in sequences]
            learner.compute_log_probs(asked)
            metrics = learner.update([replace(sequence) for sequence in sequences], coefficients)
            gradients = full_gradients(learner)
            results[-1][name] = Step(
                metrics=metrics,
                gradients={} if learner.layout.rank else gradients,  # equal on all ranks, and long
                old=[sequence.old_logprobs for sequence in asked],
                reference=[sequence.reference_logprobs for sequence in asked],
            )
    return results


def bits(learner: MegatronLearner) -> dict[str, torch.Tensor]:
    """Copies of everything that a checkpoint must bring back."""
    state = {f"policy/{name}": value for name, value in learner.parameters().items()}
    state |= {f"reference/{name}": value for name, value in learner._weights.tensors("reference").items()}
    state |= {f"optimizer/{name}": value for name, value in learner._optimizer.state().items()}
    return {name: value.detach().clone() for name, value in state.items()}


def same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return set(left) == set(right) and all(torch.equal(left[name], right[name]) for name in left)
