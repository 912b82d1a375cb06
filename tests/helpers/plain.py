"""The learner's step once more, by Hugging Face and autograd in float64, one sequence at a time with full logits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers.learning import TEMPERATURE, VALID_VOCAB
from transformers import AutoModelForCausalLM

from prorl_mega.config.recipe import LossAggregation, RecipeConfig
from prorl_mega.types import StepHyperparams, TrainSample


def plain_logprobs(model: Any, sequence: TrainSample) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies `[T]` of a completion, one sequence at a time, full logits."""
    tokens = torch.from_numpy(sequence.tokens.astype(np.int64))[None]
    logits = model(tokens).logits[0, sequence.prompt_length - 1 : -1, :VALID_VOCAB] / TEMPERATURE
    logprobs = logits.log_softmax(-1)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs.gather(1, tokens[0, sequence.prompt_length :, None])[:, 0], entropy


def plain_step(
    path: Path, sequences: list[TrainSample], recipe: RecipeConfig, coefficients: StepHyperparams
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the clipped objective with k3 penalty and entropy bonus, written down from the papers."""
    model = AutoModelForCausalLM.from_pretrained(path, experts_implementation="eager").double()
    tokens = sum(sequence.completion_length for sequence in sequences)
    total = torch.zeros((), dtype=torch.float64)
    for sequence in sequences:
        assert sequence.old_logprobs is not None
        assert sequence.reference_logprobs is not None
        logprobs, entropy = plain_logprobs(model, sequence)
        ratio = (logprobs - torch.from_numpy(sequence.old_logprobs)).exp()
        bounded = ratio.clamp(1 - recipe.policy_loss.clip_low, 1 + recipe.policy_loss.clip_high)
        gain = torch.minimum(ratio * sequence.advantage, bounded * sequence.advantage)
        delta = torch.from_numpy(sequence.reference_logprobs) - logprobs
        per_token = -gain + coefficients.kl * (delta.exp() - 1 - delta) - coefficients.entropy * entropy
        if recipe.loss.aggregation is LossAggregation.token_mean:
            total = total + per_token.sum() / tokens
        else:
            total = total + per_token.mean() / len(sequences)
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return float(total), {key: value for name, each in gradients.items() for key, value in as_stored(name, each)}


def as_stored(name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """A parameter under the names of a checkpoint, which has every expert by itself."""
    if name.endswith("experts.gate_up_proj"):
        for expert, both in enumerate(tensor):
            for part, value in zip(("gate", "up"), both.chunk(2), strict=True):
                yield name.replace("gate_up_proj", f"{expert}.{part}_proj.weight"), value
    elif name.endswith("experts.down_proj"):
        for expert, value in enumerate(tensor):
            yield name.replace("down_proj", f"{expert}.down_proj.weight"), value
    else:
        yield name, tensor


def plain_annotation(path: Path, sequences: list[TrainSample]) -> list[np.ndarray]:
    """Log-probabilities `[T]` float64 of every completion."""
    model = AutoModelForCausalLM.from_pretrained(path, experts_implementation="eager").double()
    with torch.no_grad():
        return [plain_logprobs(model, sequence)[0].numpy() for sequence in sequences]


def relative(left: torch.Tensor, right: torch.Tensor) -> float:
    """‖left − right‖ / ‖right‖."""
    return float((left.double() - right.double()).norm() / right.double().norm().clamp(min=1e-30))
