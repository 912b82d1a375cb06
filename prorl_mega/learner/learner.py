"""The policy that is trained: the methods that the loop calls, in the order of the calls."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch

from prorl_kernels.linear_token_stats import TokenStats
from prorl_kernels.linear_token_stats.verification import Verified, verified
from prorl_mega import faults
from prorl_mega.config.recipe import KLPlacement, LossAggregation
from prorl_mega.config.schema import ModelConfig, OptimizerConfig, ParallelConfig, RecipeConfig
from prorl_mega.distributed.collectives import job_ranks
from prorl_mega.errors import NumericsError
from prorl_mega.families.family import ModelDescription
from prorl_mega.families.mapping_registry import MappingRegistry
from prorl_mega.huggingface.config import describe
from prorl_mega.learner.backend import activate
from prorl_mega.learner.batching import PackedBatch, Packer, completion_offsets
from prorl_mega.learner.checkpoint import (
    LearnerState,
    copy_into,
    is_of,
    load_state,
    random_state,
    read_manifest,
    save_state,
    set_random_state,
)
from prorl_mega.learner.expert_load import ExpertLoad
from prorl_mega.learner.forward_backward import ForwardBackward, Loss, TrainedMicrobatch, finalize_gradients
from prorl_mega.learner.harm import harm
from prorl_mega.learner.linear import row_multiple
from prorl_mega.learner.model import build_model, global_names
from prorl_mega.learner.optimizer import Optimizer, with_gradient_buffers
from prorl_mega.learner.optimizer_kinds import find_kind
from prorl_mega.learner.parallel import initialize_parallel, process_groups
from prorl_mega.learner.reduction import all_gather_rows, reduce_metrics
from prorl_mega.learner.relayout import Target, read_other_layout
from prorl_mega.learner.replicas import compare_replicas
from prorl_mega.learner.skipped_updates import SkippedUpdates
from prorl_mega.learner.weight_store import WeightStore
from prorl_mega.recipe.importance_sampling import resolve_auto, rollout_mismatch
from prorl_mega.recipe.kl import EXACT
from prorl_mega.recipe.loss import LossInputs, LossOutputs, rl_loss, sft_loss, token_weights
from prorl_mega.types import Metrics, StepHyperparams, TrainSample

REFERENCE, BEST = "reference", "best"


class MegatronLearner:
    """`protocols.Learner` on Megatron-core. Every method is collective over the whole job.

    Needs `backend.initialize_distributed`. A new learner has arbitrary weights and no reference: write the weights
    into `parameters()`, then call `adopt_parameters`.
    """

    def __init__(
        self,
        *,
        model: ModelConfig,
        parallel: ParallelConfig,
        optimizer: OptimizerConfig,
        recipe: RecipeConfig,
        temperature: float,
        valid_vocab: int,
        seed: int,
        offload_reference: bool = False,
        sampled_ahead: bool = False,
        batch_invariant: bool = False,
    ) -> None:
        """`temperature` is the sampler's; ids from `valid_vocab` on (the tokenizer's length) have no probability.
        `sampled_ahead`: samples may be of earlier versions of the policy. `batch_invariant`: as
        `build_model` has it."""
        self.device = activate()
        self.description: ModelDescription = describe(model.path, model.family)
        self.layout = initialize_parallel(parallel, seed=seed)
        self.groups = process_groups()
        (policy,) = build_model(
            self.description, parallel, precision=model.precision, recompute=model.recompute, valid_vocab=valid_vocab,
            batch_invariant=batch_invariant,
        )  # fmt: skip
        self._dtype: torch.dtype = policy.config.params_dtype
        self._sampled_ahead = sampled_ahead
        self._recipe = self._resolved(recipe)
        kind = find_kind(optimizer.kind)
        self._model = with_gradient_buffers(policy, kind)
        policy.config.finalize_model_grads_func = finalize_gradients
        policy.config.no_sync_func = self._model.no_sync
        self._parameters = global_names(policy)
        experts = 0 if self.description.experts is None else self.description.experts.count
        self._load = ExpertLoad(policy.decoder.layers, self.description.layers, experts, self.device)
        self._optimizer = Optimizer(self._model, optimizer, kind)
        self._skipped = SkippedUpdates(optimizer.max_skipped_updates)
        self._tell_shard_rules()
        self._weights = WeightStore(self._parameters, offload=offload_reference)
        self._packer = Packer(
            data_size=self.layout.data_size,
            data_rank=self.layout.data_rank,
            capacity=parallel.max_tokens_per_microbatch,
            multiple=row_multiple(
                parallel.max_tokens_per_microbatch, parallel.tensor if parallel.sequence else 1, self.device
            ),
            valid_vocab=valid_vocab,
            share=self.device.type == "cpu",  # a GPU's attention reads packs end to end
        )
        self.kernels = self._verified_kernels()
        self._forward_backward = ForwardBackward(
            model=self._model,
            temperature=temperature,
            valid_vocab=valid_vocab,
            device=self.device,
            implementation=None if self.kernels is None else self.kernels.implementation,
            batch_invariant=batch_invariant and self.device.type == "cpu",
            logits_cache_bytes=parallel.logits_cache_mib << 20,
        )

    def _tell_shard_rules(self) -> None:
        """Muon has to know matrices apart that share a parameter: what it optimises has the rule as an attribute."""
        registry = MappingRegistry(self.description)
        for name, parameter in self._parameters.items():
            optimized = getattr(parameter, "main_param", None)  # None as well where another replica optimises it
            owner = parameter if optimized is None else optimized
            setattr(owner, "shard_rule", registry.mapping(name).rule)  # noqa: B010

    def _verified_kernels(self) -> Verified | None:
        """None on a CPU, whose products are torch's own. On a GPU kernels are compiled; a wrong one raises nothing."""
        if self.device.type != "cuda":
            return None
        try:
            return verified(self.description.hidden_size, self._dtype, self.device)
        except RuntimeError as error:
            raise NumericsError(f"{error}. Other versions of Triton or of the driver may do") from error

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parameters."""
        return self._dtype

    def parameters(self) -> dict[str, torch.Tensor]:
        """This rank's shards by Megatron name with global layer numbers; the live tensors, not copies."""
        return {name: parameter.data for name, parameter in self._parameters.items()}

    def adopt_parameters(self) -> None:
        """Start from what was written into `parameters()`: a fresh optimizer, the reference equal to the policy."""
        self._optimizer.adopt_parameters()
        self.reset_reference(clear_optimizer=True)

    @property
    def optimizer_steps(self) -> int:
        """Steps of the optimizer since it was last fresh."""
        return self._optimizer.steps

    def reference_parameters(self) -> dict[str, torch.Tensor]:
        """This rank's shards of the reference policy, by the names of `parameters`: to be written into."""
        return self._weights.tensors(REFERENCE)

    def configure(self, recipe: RecipeConfig, temperature: float) -> None:
        """Use these settings from now on; called at the boundaries of stages and after an adjustment."""
        self._recipe = self._resolved(recipe)
        self._forward_backward = replace(self._forward_backward, temperature=temperature)

    def compute_log_probs(self, samples: list[TrainSample]) -> None:
        """Fill in `old_logprobs` and `reference_logprobs` if they are read: each costs a forward pass.

        With one update per step (`prompts_per_update >= prompts_per_step`) the policy of the update is the current
        policy: `old_logprobs` stay None and `update` fills them in, unless the KL penalty is part of the reward.
        `reference_logprobs` stay None without a KL penalty (`kl.coef` 0), and with an exact one, for which `update`
        evaluates the reference itself.
        """
        recipe = self._recipe
        for sample in samples:
            sample.old_logprobs = sample.reference_logprobs = None
        batches = self._pack(samples, recipe.loss.aggregation)
        in_reward = self._has_kl_penalty() and recipe.kl.placement is KLPlacement.reward
        if recipe.prompts_per_update < recipe.prompts_per_step or in_reward:
            self._fill("old_logprobs", samples, batches, self._forward_backward.log_probs(batches))
        if self._has_kl_penalty() and not self._has_exact_kl():
            with self._weights.active(REFERENCE):
                logprobs = self._forward_backward.log_probs(batches)
            self._fill("reference_logprobs", samples, batches, logprobs)

    def compute_old_log_probs(self, samples: list[TrainSample]) -> None:
        """Fill in `old_logprobs` of every sample, whether `update` reads them or not, and nothing else."""
        batches = self._pack(samples, self._recipe.loss.aggregation)
        self._fill("old_logprobs", samples, batches, self._forward_backward.log_probs(batches))

    def update(self, samples: list[TrainSample], hyperparams: StepHyperparams) -> Metrics:
        """One optimizer step on all `samples`; the order and the grouping into micro-batches do not matter.

        Samples without `old_logprobs` are taken to come from the policy as it is now, and get them. Raises
        NumericsError on all ranks, and changes nothing, when the loss or the gradient is not finite; ReplicaError when
        ranks hold different weights that should hold the same.
        """
        recipe = self._recipe
        batches = self._pack(samples, recipe.loss.aggregation)
        has_old, has_reference = batches[0].old_logprobs is not None, batches[0].reference_logprobs is not None
        if self._has_exact_kl():
            with self._weights.active(REFERENCE):
                batches = self._forward_backward.with_reference(batches)
            has_reference = True
        assert has_reference or not hyperparams.kl, "a KL penalty without a reference"

        def loss(stats: TokenStats, batch: PackedBatch) -> LossOutputs:
            return rl_loss(loss_inputs(stats, batch, recipe), recipe, hyperparams)

        metrics, logprobs = self._optimizer_step(batches, loss, hyperparams.learning_rate)
        if not has_old:
            self._fill("old_logprobs", samples, batches, logprobs)
        if not has_reference:
            del metrics["policy/kl"]
        return metrics | rollout_mismatch(samples, recipe.importance_sampling.report_bound) | _sizes(samples, batches)

    def sft_step(self, samples: list[TrainSample], learning_rate: float) -> Metrics:
        """One optimizer step of maximum likelihood on the completions (warm start): mean over all their tokens."""
        batches = self._pack(samples, LossAggregation.token_mean)

        def loss(stats: TokenStats, batch: PackedBatch) -> LossOutputs:
            return sft_loss(stats.logprob, stats.entropy, batch.weights)

        metrics, _ = self._optimizer_step(batches, loss, learning_rate)
        return metrics | _sizes(samples, batches)

    def keep_best(self) -> None:
        """Remember the policy as it is, for `reset_reference(to_best=True)`; checkpoints hold it as well."""
        self._weights.take(BEST)

    def reset_reference(self, *, clear_optimizer: bool, to_best: bool = False) -> None:
        """Make the reference policy equal to the policy; optionally forget the optimizer's moments and step count.

        With `to_best` the policy itself returns first to what it was at the last `keep_best`.
        """
        if to_best:
            self._weights.restore(BEST)
            self._optimizer.adopt_parameters()
        self._weights.take(REFERENCE)
        if clear_optimizer:
            self._optimizer.clear()

    def save(self, directory: Path, step: int) -> None:
        """Write this rank's files, of the state after `step`, into the existing `directory`; see `checkpoint.py`.

        Raises NumericsError for a policy that is not finite: the checkpoint before it is the last good one.
        """
        for name, parameter in self.parameters().items():
            if not torch.isfinite(parameter).all():
                raise NumericsError(f"the policy is not finite ({name}) and is not saved")
        state = LearnerState(
            policy=self.parameters(),
            reference=self._weights.tensors(REFERENCE),
            best=self._weights.tensors(BEST) if BEST in self._weights else {},
            optimizer=self._optimizer.state(),
            random=random_state(self.device),
            optimizer_steps=self._optimizer.steps,
        )
        save_state(directory, self.layout, state, step)

    def load(self, directory: Path) -> None:
        """Restore what `save` wrote, bit for bit, in whichever layout. Raises CheckpointError when it does not fit this
        run. Generators keep the state that they were seeded with where the layout was another."""
        manifest = read_manifest(directory)
        if is_of(manifest, self.layout):
            state = load_state(directory, self.layout)
        else:
            state = read_other_layout(directory, manifest, self._target())
        self._weights.take(REFERENCE)
        copy_into(self.parameters(), state.policy, "policy")
        copy_into(self._weights.tensors(REFERENCE), state.reference, "reference")
        if state.best:
            self._weights.take(BEST)
            copy_into(self._weights.tensors(BEST), state.best, "best policy")
        self._optimizer.load_state(state.optimizer, state.optimizer_steps)
        if state.random:
            set_random_state(state.random, self.device)

    def _target(self) -> Target:
        names = {parameter: name for name, parameter in self._parameters.items()}
        return Target(
            description=self.description,
            layout=self.layout,
            parameters=self.parameters(),
            optimized={own: (names[each], part) for own, each, part in self._optimizer.parts()},
            sharded_optimizer=self._optimizer.is_sharded,
        )

    def _resolved(self, recipe: RecipeConfig) -> RecipeConfig:
        """`recipe` with what `auto` means for this learner."""
        kind = resolve_auto(
            recipe.importance_sampling.kind, recipe.policy_loss.kind, self._dtype, sampled_ahead=self._sampled_ahead
        )
        return replace(recipe, importance_sampling=replace(recipe.importance_sampling, kind=kind))

    def _has_kl_penalty(self) -> bool:
        return self._recipe.kl.coef > 0.0

    def _has_exact_kl(self) -> bool:
        return self._has_kl_penalty() and self._recipe.kl.estimator in EXACT

    def _pack(self, samples: list[TrainSample], aggregation: LossAggregation) -> list[PackedBatch]:
        lengths = [sample.completion_length for sample in samples]
        return self._packer.pack(samples, token_weights(lengths, aggregation, self._recipe.loss.fixed_length))

    def _optimizer_step(
        self, batches: list[PackedBatch], loss: Loss, learning_rate: float
    ) -> tuple[Metrics, list[torch.Tensor]]:
        """Backward pass, reductions, check, optimizer. Returns metrics and the rows' log-probs before the step."""
        harm("parameters", self.parameters().values())
        compare_replicas(self.parameters(), self.layout, job_ranks().gather)
        self._model.zero_grad_buffer()
        self._optimizer.zero_grad()
        trained: list[TrainedMicrobatch] = self._forward_backward.train(batches, loss)
        metrics = self._reduced(trained, loss) | self._load.take()
        norm = self._optimizer.gradient_norm()
        metrics |= {"optimizer/grad_norm": norm, "optimizer/learning_rate": learning_rate}
        metrics |= self._skipped.judge(metrics)
        if not self._skipped.is_skipped:
            self._optimizer.step(norm=norm, learning_rate=learning_rate)
            faults.reach("update/stepped")
        return self._skipped.finite(metrics), [each.logprobs for each in trained]

    def _reduced(self, trained: list[TrainedMicrobatch], loss: Loss) -> Metrics:
        """The metrics of all micro-batches of all ranks."""
        # The loss of no rows has every key with its neutral element, also on stages without an LM head.
        nothing = torch.zeros(0, device=self.device)
        total = loss(TokenStats(nothing, nothing), self._packer.empty().to(self.device))
        for each in trained:
            for key, value in each.sums.items():
                total.sums[key] = total.sums[key] + value
            for key, value in each.maxima.items():
                total.maxima[key] = torch.maximum(total.maxima[key], value)
        return reduce_metrics(total.sums, total.maxima, self.layout, self.device)

    def _fill(
        self, field: str, samples: list[TrainSample], batches: list[PackedBatch], rows: list[torch.Tensor]
    ) -> None:
        """Bring per-row values from the last stages to every rank and hand each sample its own."""
        offsets = completion_offsets(samples)
        values = all_gather_rows(rows, batches, int(offsets[-1]), self.layout, self.device).numpy()
        for sample, (start, end) in zip(samples, pairwise(offsets), strict=True):
            setattr(sample, field, values[start:end])


def loss_inputs(stats: TokenStats, batch: PackedBatch, recipe: RecipeConfig) -> LossInputs:
    """The policy loss's inputs of a micro-batch. Log-probs that were not computed are taken to be the current ones."""
    current = stats.logprob.detach()
    exact = getattr(stats, EXACT[recipe.kl.estimator]) if recipe.kl.estimator in EXACT else None
    old = None if recipe.policy_loss.force_on_policy else batch.old_logprobs
    return LossInputs(
        logprobs=stats.logprob,
        entropy=stats.entropy,
        exact_kl=torch.zeros_like(current) if exact is None else exact,
        old_logprobs=current if old is None else old,
        reference_logprobs=current if batch.reference_logprobs is None else batch.reference_logprobs,
        rollout_logprobs=batch.rollout_logprobs,
        advantages=batch.advantages,
        sequence_ids=batch.sequence_ids,
        weights=batch.weights,
        metric_weights=batch.metric_weights,
    )


def _sizes(samples: list[TrainSample], batches: list[PackedBatch]) -> Metrics:
    """Sizes of the update over all ranks; known on the host."""
    return {
        "learner/sequences": float(len(samples)),
        "learner/tokens": float(sum(len(sample.tokens) for sample in samples)),
        "learner/completion_tokens": float(sum(sample.completion_length for sample in samples)),
        "learner/microbatches": float(len(batches)),
    }
