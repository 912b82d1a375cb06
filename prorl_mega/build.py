"""Builds the objects of the loop from settings: the only place that chooses implementations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from prorl_mega.collect import Collector, NextGroups, collect_informative
from prorl_mega.config.recipe import RecipeConfig
from prorl_mega.config.schema import (
    ModelConfig,
    OptimizerConfig,
    ParallelConfig,
    ReferenceConfig,
    RunConfig,
    WeightSource,
)
from prorl_mega.config.stages import longest_response
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import CheckpointError, NoInformativeGroupsError
from prorl_mega.evaluation_beside import EvaluationBeside
from prorl_mega.fleet_rollout import FleetRollout
from prorl_mega.group_judge import GroupJudge
from prorl_mega.groups_ahead import GroupsAhead
from prorl_mega.learner.learner import MegatronLearner
from prorl_mega.learner.model import spec_name
from prorl_mega.placement import start_rollout, starting_servers
from prorl_mega.protocols import Controller, Rollout, Surroundings
from prorl_mega.recipe.agreement import BOUNDS, check_agreement
from prorl_mega.recipe.control import ProRLController
from prorl_mega.recipe.curriculum import Curriculum, used
from prorl_mega.recipe.parity import parity_report
from prorl_mega.run.checkpoints import EVALUATION_BEGAN, MODEL
from prorl_mega.run.console import counted
from prorl_mega.run.signals import Interrupted
from prorl_mega.sampler import build_problems, load_tokenizer, start_collector, tell_ignored
from prorl_mega.types import Decision, ParityReport, TrainSample
from prorl_mega.weight_sync import WeightSync, policy_stream
from prorl_mega.weights.directory import read_companions, write_companions
from prorl_mega.weights.load import load_weights


@dataclass(kw_only=True, slots=True)
class Parts:
    """The objects that the loop calls."""

    learner: MegatronLearner
    rollout: Rollout
    sync: WeightSync
    problems: Curriculum
    collector: Collector
    controller: Controller
    next_groups: NextGroups
    """The groups of the next step, as `collect_informative` has them."""
    ahead: GroupsAhead | None = None  # where they come from if they are sampled ahead
    beside: EvaluationBeside | None = None  # that goes on while steps do
    max_logprob_gap: float  # between engine and learner, on the first step of this start
    compared: bool = False
    companions: dict[str, bytes] = field(default_factory=dict)
    """Configuration and tokenizer of the model, which travel with every checkpoint; they are read before training."""

    def compare_engine(self, sequences: list[TrainSample], version: int) -> None:
        """Once per start: refuse an engine that computes another model than the learner (`NumericsError`)."""
        self.compared = self.compared or check_agreement(sequences, version, self.max_logprob_gap)

    def parity(self, sequences: list[TrainSample], version: int) -> ParityReport:
        """The report on sequences whose `old_logprobs` are of the weights `version`; the same on every rank."""
        return parity_report(sequences, version, partial(self.collector.tokenizer.decode, skip_special=False))

    def apply_settings(self, settings: RunConfig) -> None:
        """Use `settings` for learner and problems from here on."""
        self.learner.configure(settings.recipe, settings.rollout.temperature)
        self.problems.set_weights(settings.tasks.training_weights())

    @contextlib.contextmanager
    def drawn_again_if_interrupted(self) -> Iterator[None]:
        """A block whose problems are as if they had not been drawn when it ends by Interrupted, or when too few of them
        can be trained on. Collective."""
        before = self.problems.state_dict()
        try:
            yield
        except (Interrupted, NoInformativeGroupsError):
            self.problems.load_state_dict(before)
            raise

    def go_back(self, state: dict[str, Any]) -> int:
        """Be as when `save` returned `state`, as far as `restore` does not see to it, but for the problems: those that
        are still open begin again, and the others that were drawn since are gone; returns how many, on rank 0.

        Collective.
        """
        self.controller.load_state_dict(state["controller"])
        if self.beside is not None:
            self.beside.abandon()
        if self.ahead is not None:
            self.ahead.abandon()
        return used(self.problems.state_dict()) - used(state["problems"])

    def apply(self, decision: Decision, step: int) -> None:
        """Carry out the controller's decision after `step`, as far as it concerns the policies."""
        if decision.keep_best:
            self.learner.keep_best()
        if decision.reset_reference:
            self.learner.reset_reference(clear_optimizer=decision.reset_optimizer, to_best=decision.reset_to_best)
        if decision.reset_to_best:
            self.sync.update_weights(version=step)  # the engine holds the former policy

    def save(self, directory: Path, step: int) -> dict[str, Any]:
        """Write this rank's files of the state after `step` into `directory`; returns the rest of the state, which is
        equal on all ranks."""
        self.learner.save(directory, step)
        if self.learner.layout.rank == 0:
            write_companions(directory / MODEL, self.companions)
        state = {
            "controller": self.controller.state_dict(),
            "problems": self.problems.state_dict(),
            "optimizer_steps": self.learner.optimizer_steps,
        }
        began = None if self.beside is None else self.beside.began
        return state if began is None else state | {EVALUATION_BEGAN: began}

    def restore(self, directory: Path) -> None:
        """Continue exactly where `save` was called; `build` has restored the state outside of this rank's files."""
        try:
            self.learner.load(directory)
        except CheckpointError as error:
            more = f"; move {directory} away to go on from the checkpoint before it"
            raise CheckpointError(f"{error}{more}") from error


@contextlib.contextmanager
def build(config: RunConfig, run: Surroundings, ranks: Ranks) -> Iterator[Parts]:
    """Everything for a run, with the policy's weights in the learner alone. Leaving it stops the workers."""
    tokenizer = load_tokenizer(config.model)
    for line in tokenizer.notes():
        run.message(line)
    problems = build_problems(config, run, ranks, tokenizer)  # first, because it refuses bad data in seconds
    controller = ProRLController(config)
    if run.saved_state is not None:
        controller.load_state_dict(run.saved_state["controller"])
        for note in controller.notes:
            run.message(note)
    longest = longest_response(config, controller.stages)
    with contextlib.ExitStack() as running:
        servers = starting_servers(config, ranks, tokenizer, run.directory, run.message, max_response_tokens=longest)
        fleet = running.enter_context(servers)
        with run.phase(f"building the learner ({spec_name()} layers, {counted(ranks.world_size, 'rank')})"):
            learner = build_learner(
                config.model,
                config.parallel,
                config.optimizer,
                config.recipe,
                temperature=config.rollout.temperature,
                valid_vocab=len(tokenizer),
                seed=config.seed,
                reference=config.reference,
                sampled_ahead=bool(config.rollout.staleness),
                batch_invariant=config.rollout.batch_invariant,
            )
        tell_ignored(config.model.path, learner.description, run.message)
        if learner.kernels is not None:
            run.message(f"log-probs, entropy and KL by {learner.kernels}")
        stream = partial(policy_stream, learner, bucket_mib=config.rollout.sync_bucket_mib)
        start = partial(start_rollout, config, tokenizer, ranks, fleet, stream, max_response_tokens=longest)
        collector = running.enter_context(start_collector(config, run, tokenizer, learner.layout, start))
        next_groups, ahead, beside = running.enter_context(_ahead(config, collector, problems, ranks))
        yield Parts(
            learner=learner,
            rollout=collector.rollout,
            sync=WeightSync(stream=stream, rollout=collector.rollout, ranks=ranks),
            problems=problems,
            collector=collector,
            controller=controller,
            next_groups=next_groups,
            ahead=ahead,
            beside=beside,
            companions=read_companions(config.model.path),
            max_logprob_gap=_largest_gap(config, learner),
        )


def _largest_gap(config: RunConfig, learner: MegatronLearner) -> float:
    """Between engine and learner, in nats: none where both compute in the same order."""
    is_exact = config.rollout.batch_invariant and learner.device.type == "cpu"
    return 0.0 if is_exact else config.rollout.max_logprob_gap or BOUNDS[learner.dtype]


@contextlib.contextmanager
def _ahead(
    config: RunConfig, collector: Collector, problems: Curriculum, ranks: Ranks
) -> Iterator[tuple[NextGroups, GroupsAhead | None, EvaluationBeside | None]]:
    """Groups that are sampled when a step begins, or ahead of it; evaluations that steps do not wait for."""
    if config.rollout.staleness is None:
        yield partial(collect_informative, collector, problems), None, None
        return
    assert isinstance(collector.rollout, FleetRollout), "settings were validated"
    with contextlib.ExitStack() as running:
        judge = None
        if ranks.is_first:
            judge = running.enter_context(GroupJudge(collector.verifiers, collector.tokenizer))
            collector.verifiers = judge  # evaluations, between whose answers it judges nothing
        ahead = GroupsAhead(
            collector.rollout,
            judge,
            collector,
            problems,
            ranks,
            staleness=config.rollout.staleness,
            last_step=config.schedule.steps,
        )
        is_beside = config.evaluation.beside_training
        beside = EvaluationBeside(collector.rollout, judge, collector, ranks) if is_beside else None
        yield ahead.collect, ahead, beside


def build_learner(
    model: ModelConfig,
    parallel: ParallelConfig,
    optimizer: OptimizerConfig,
    recipe: RecipeConfig,
    *,
    temperature: float,
    valid_vocab: int,
    seed: int,
    reference: ReferenceConfig | None = None,
    sampled_ahead: bool = False,
    batch_invariant: bool = False,
) -> MegatronLearner:
    """A learner with the weights of `model.path`, or with random ones.

    Its reference policy has those of `reference.path`, or is equal to it. `sampled_ahead` and `batch_invariant` as
    `MegatronLearner` has them.
    """
    learner = MegatronLearner(
        model=model,
        parallel=parallel,
        optimizer=optimizer,
        recipe=recipe,
        temperature=temperature,
        valid_vocab=valid_vocab,
        seed=seed,
        offload_reference=reference is not None and reference.offload,
        sampled_ahead=sampled_ahead,
        batch_invariant=batch_invariant,
    )
    if model.weights is WeightSource.pretrained:
        load_weights(model.path, learner.parameters(), learner.description, learner.layout)
    learner.adopt_parameters()
    if reference is not None and reference.path is not None:
        load_weights(reference.path, learner.reference_parameters(), learner.description, learner.layout)
    return learner
