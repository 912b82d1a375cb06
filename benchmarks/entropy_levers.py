"""Why a lever moves entropy or not: gradients, Adam's scale and where the entropy is, from a checkpoint of a run.

    cp -r runs/soak runs/levers
    python benchmarks/entropy_levers.py experiment=soak name=levers model.path=runs/base

Give the settings of the run. With g_J the gradient of the loss as configured, g_H that of the mean token entropy and v
Adam's second moment, one step of size η changes entropy by about

    bonus c     η c Σ_i g_H,i² / √v_i                 policy    −η Σ_i m_i g_H,i / √v_i, with the mean of g_J for m

in all parameters that Adam divides by √v. `BATCHES` batches are sampled and differentiated for that. Then each of
`LEVERS` is tried for `STEPS` steps from the same checkpoint, with the same problems and seeds, and the entropy of the
policy is measured on `PROBED` problems drawn once, all answers counted. Nothing is written into the run.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from prorl_kernels.linear_token_stats import TokenStats
from prorl_mega.build import Parts, build
from prorl_mega.collect import Sampling, collect_informative
from prorl_mega.config.compose import run_hydra
from prorl_mega.config.keys import with_settings
from prorl_mega.config.schema import RunConfig
from prorl_mega.consistency import contradictions
from prorl_mega.errors import ExitCode
from prorl_mega.learner.batching import PackedBatch
from prorl_mega.learner.forward_backward import Loss
from prorl_mega.learner.learner import loss_inputs
from prorl_mega.learner.optimizer import Optimizer
from prorl_mega.recipe.loss import LossOutputs, rl_loss
from prorl_mega.recipe.train_samples import assign_advantages, is_trained, split_updates, to_train_samples
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.sampler import join_job
from prorl_mega.types import Group, Problem, StepHyperparams, TrainSample

BATCHES = 24
PROBED = 64
COEFFICIENTS = (5e-3, 0.03, 0.1, 0.3, 1.0)
WEIGHTS = (0.25, 0.5, 0.75, 1.5)
STEPS = 50
LEVERS: dict[str, dict[str, Any]] = {
    "none": {},
    **{f"positive_weight {each:g}": {"recipe.advantage.positive_weight": each} for each in (0.5, 1.5)},
    **{f"bonus {each:g}": {"recipe.loss.entropy_coef": each} for each in (0.1, 0.03, 0.3, 5e-3)},
    "clip_cov 0.02": {"recipe.policy_loss.clip_cov": 0.02, "recipe.policy_loss.clip_cov_low": 0.2},
}
HIGH = 0.05  # nats: a token with more has something to decide


@dataclass(kw_only=True, slots=True)
class Measured:
    """Sums over batches."""

    gradients: dict[str, list[torch.Tensor]] = field(default_factory=lambda: defaultdict(list))
    by_task: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))  # entropies of tokens
    by_position: list[np.ndarray] = field(default_factory=list)  # position and entropy
    means: list[float] = field(default_factory=list)  # entropy of each batch


def gradient(parts: Parts, batches: list[PackedBatch], loss: Loss) -> torch.Tensor:
    """The gradient of the summed loss, flat, in the order of the parameters."""
    model = parts.learner._model
    model.zero_grad_buffer()
    parts.learner._forward_backward.train(batches, loss)
    return torch.cat([parameter.main_grad.flatten().double() for parameter in model.parameters()])


def take(parts: Parts, config: RunConfig, step: int, batch: int, measured: Measured) -> None:
    """Sample one batch and add its gradients and its entropies."""
    recipe, learner = config.recipe, parts.learner
    sampling = _sampling(config, f"levers {step} {batch}")
    groups, _, _ = collect_informative(parts.collector, parts.problems, recipe, sampling)
    sequences = to_train_samples(groups, recipe)
    learner.compute_log_probs(sequences)
    assign_advantages(groups, sequences, recipe, recipe.kl.coef)
    measured.gradients["all"].append(_loss_gradient(parts, config, sequences))
    for name, keeps in {"positive": 1.0, "negative": -1.0}.items():
        kept = [each.advantage for each in sequences]
        for each in sequences:
            each.advantage = max(keeps * float(each.advantage), 0.0) * keeps
        measured.gradients[name].append(_loss_gradient(parts, config, sequences))
        for each, advantage in zip(sequences, kept, strict=True):
            each.advantage = advantage
    entropies, slope = entropy_rows(parts, config, sequences)
    measured.gradients["entropy"].append(slope)
    _record(groups, sequences, config, entropies, measured)


def train_with(parts: Parts, config: RunConfig, step: int) -> None:
    """`STEPS` steps from the policy as it is, as `prorl_mega.train` makes them."""
    recipe, learner = config.recipe, parts.learner
    learner.configure(recipe, config.rollout.temperature)
    parts.sync.update_weights(version=step)
    for later in range(step, step + STEPS):
        sampling = _sampling(config, f"step {later}")
        groups, _, _ = collect_informative(parts.collector, parts.problems, recipe, sampling)
        parts.rollout.sleep()
        sequences = to_train_samples(groups, recipe)
        learner.compute_log_probs(sequences)
        assign_advantages(groups, sequences, recipe, recipe.kl.coef)
        hyperparams = StepHyperparams(
            kl=recipe.kl.coef, entropy=recipe.loss.entropy_coef, learning_rate=config.optimizer.learning_rate
        )
        for part in split_updates(sequences, recipe):
            learner.update(part, hyperparams)
        parts.rollout.wake()
        parts.sync.update_weights(version=later + 1)


def probe(parts: Parts, config: RunConfig, problems: list[Problem]) -> np.ndarray:
    """The entropy of every token of answers to `problems`, at the temperature of `config`."""
    parts.learner.configure(config.recipe, config.rollout.temperature)
    groups = parts.collector.collect(problems, _sampling(config, "probe"))
    sequences = to_train_samples(groups, config.recipe)
    parts.learner.compute_log_probs(sequences)
    return np.concatenate([values for _, values in entropy_rows(parts, config, sequences)[0]])


def _sampling(config: RunConfig, stream: str) -> Sampling:
    return Sampling(
        samples=config.recipe.samples_per_prompt,
        temperature=config.rollout.temperature,
        max_tokens=config.rollout.max_response_tokens,
        stream=stream,
    )


def entropy_rows(
    parts: Parts, config: RunConfig, sequences: list[TrainSample]
) -> tuple[list[tuple[np.ndarray, np.ndarray]], torch.Tensor]:
    """The place and the entropy of each token, by micro-batch, and the gradient of the mean entropy."""
    found: list[tuple[np.ndarray, np.ndarray]] = []

    def mean_entropy(stats: TokenStats, batch: PackedBatch) -> LossOutputs:
        found.append((batch.global_rows.numpy(), stats.entropy.detach().numpy()))
        value = batch.metric_weights @ stats.entropy
        return LossOutputs(loss=value, sums={"policy/entropy": value.detach()}, maxima={})

    packs = parts.learner._pack(sequences, config.recipe.loss.aggregation)
    slope = gradient(parts, packs, mean_entropy)
    return found, slope


def _loss_gradient(parts: Parts, config: RunConfig, sequences: list[TrainSample]) -> torch.Tensor:
    learner = parts.learner
    recipe = learner._recipe
    hyperparams = StepHyperparams(kl=recipe.kl.coef, entropy=0.0, learning_rate=0.0)
    packs = learner._pack(sequences, recipe.loss.aggregation)
    return gradient(parts, packs, lambda stats, batch: rl_loss(loss_inputs(stats, batch, recipe), recipe, hyperparams))


def _record(
    groups: list[Group],
    sequences: list[TrainSample],
    config: RunConfig,
    entropies: list[tuple[np.ndarray, np.ndarray]],
    measured: Measured,
) -> None:
    rows = np.concatenate([each for each, _ in entropies])
    values = np.concatenate([each for _, each in entropies])[np.argsort(rows)]
    tasks = [
        group.problem.key.split("/")[0] for group in groups for s in group.scored() if is_trained(s, config.recipe)
    ]
    start = 0
    for task, sequence in zip(tasks, sequences, strict=True):
        own = values[start : start + sequence.completion_length]
        measured.by_task[task].append(own)
        measured.by_position.append(np.stack([np.arange(len(own)), own]))
        start += len(own)
    measured.means.append(float(values.mean()))


def adam_scale(optimizer: Optimizer, parts: Parts, beta2: float, epsilon: float) -> torch.Tensor:
    """√v̂ + ε of every parameter, flat, in the order of `gradient`."""
    state = optimizer.state()
    correction = 1 - beta2**optimizer.steps if optimizer.steps else 1.0
    squares = [state[f"{name}/exp_avg_sq"] for name, _ in parts.learner._model.module.named_parameters()]
    return torch.cat([(each.flatten().double() / correction).sqrt() + epsilon for each in squares])


def product(first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor) -> float:
    """Σ_i E[a]_i E[b]_i / scale_i from `[batches, parameters]`: pairs of different batches only, so noise that a batch
    has in both does not count."""
    count = len(first)
    together = count**2 * (first.mean(0) * second.mean(0) / scale).sum() - (first * second / scale).sum()
    return (together / (count * (count - 1))).item()


def report(measured: Measured, scale: torch.Tensor, rate: float, clip: float) -> None:
    """Print what the first order says, and where entropy is."""
    stacked = {name: torch.stack(each) for name, each in measured.gradients.items()}
    entropy = stacked["entropy"]
    norms = {name: each.norm(dim=1).mean().item() for name, each in stacked.items()}
    shrink = min(1.0, clip / norms["all"]) if clip else 1.0
    plain = torch.ones_like(scale)
    print(f"batches {len(measured.means)}; entropy {np.mean(measured.means):.4f}, between batches ± ", end="")
    print(f"{np.std(measured.means, ddof=1):.4f}")
    lengths = {name: math.sqrt(max(0.0, product(each, each, plain))) for name, each in stacked.items()}
    for name in stacked:
        print(f"gradient {name:9s} norm of one batch {norms[name]:.4f}, of its expectation {lengths[name]:.4f}")
    cosine = product(stacked["all"], entropy, plain) / max(lengths["all"] * lengths["entropy"], 1e-12)
    print(f"cosine of the expected gradients of loss and entropy {cosine:.3f}; median √v {scale.median().item():.2e}")
    bonus = product(entropy, entropy, scale)
    drift = {name: -rate * shrink * product(each, entropy, scale) for name, each in stacked.items()}
    noise = (stacked["all"] @ (entropy.mean(0) / scale)).std().item() * rate * shrink
    print(f"predicted change of entropy in {STEPS} steps (η={rate:g}, gradients × {shrink:.2f} by clipping):")
    print(f"  policy {STEPS * drift['all']:+.4f} ± {math.sqrt(STEPS) * noise:.4f} by chance")
    for name in ("positive", "negative"):
        print(f"  of it {name} advantages {STEPS * drift[name]:+.4f}")
    for coefficient in COEFFICIENTS:
        print(f"  bonus {coefficient:<6g} {STEPS * rate * shrink * coefficient * bonus:+.4f}")
    for weight in WEIGHTS:
        print(f"  positive_weight {weight:<5g} {STEPS * (weight - 1) * drift['positive']:+.4f}")
    for task, values in sorted(measured.by_task.items()):
        tokens = np.concatenate(values)
        print(
            f"task {task:12s} tokens {len(tokens):6d}  entropy {tokens.mean():.3f}  above {HIGH} nats "
            f"{(tokens > HIGH).mean():.3f}  share of all entropy {tokens.sum() / _total(measured):.3f}"
        )
    position, value = np.concatenate(measured.by_position, axis=1)
    for low, high in ((0, 1), (1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 64)):
        here = value[(position >= low) & (position < high)]
        if len(here):
            print(f"position {low:2d}-{high - 1:2d}  tokens {len(here):6d}  entropy {here.mean():.3f}")


def _total(measured: Measured) -> float:
    return float(sum(each.sum() for values in measured.by_task.values() for each in values))


def main(config: RunConfig) -> ExitCode:
    ranks = join_job(config)
    with TrainingRun(config, ranks, contradictions) as run, build(config, run, ranks) as parts:
        step = run.resume(parts.restore)
        parts.sync.update_weights(version=step)
        measured = Measured()
        for batch in range(BATCHES):
            take(parts, config, step, batch, measured)
        scale = adam_scale(parts.learner._optimizer, parts, config.optimizer.beta2, config.optimizer.epsilon)
        print(f"step {step}")
        report(measured, scale, config.optimizer.learning_rate, config.optimizer.max_grad_norm)
        probed = parts.problems.draw(PROBED)
        drawn = parts.problems.state_dict()
        directory = run.directory / "checkpoints" / f"step_{step:06d}"
        print(f"measured at the checkpoint: entropy {probe(parts, config, probed).mean():.4f}", flush=True)
        for name, changes in LEVERS.items():
            parts.restore(directory)
            parts.problems.load_state_dict(drawn)
            train_with(parts, with_settings(config, changes), step)
            values = probe(parts, config, probed)
            print(f"measured after {STEPS} steps: {name:22s} entropy {values.mean():.4f}", flush=True)
    return ExitCode.FINISHED


if __name__ == "__main__":
    run_hydra(main, RunConfig)
