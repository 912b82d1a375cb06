"""Builds the objects that an evaluation calls: problems, verifiers, and an engine with the policy that is evaluated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prorl_mega.config.schema import EvaluateConfig, TaskConfig
from prorl_mega.config.stages import compared_response, stage_settings
from prorl_mega.distributed.collectives import neighbour_ranks
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.engine_samples import EngineSamples
from prorl_mega.grader import Grader
from prorl_mega.huggingface.config import describe
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.placement import decoded_at_once, ranks_per_engine, start_rollout, starting_servers
from prorl_mega.protocols import Verifiers
from prorl_mega.run.chosen import chosen_checkpoint, step_of, told_if_deleted
from prorl_mega.run.evaluation_run import EvaluationRun
from prorl_mega.run.evaluations import POLICY
from prorl_mega.run.recorded import run_directory
from prorl_mega.run.sample_store import StoredProblem, StoredVerdict, StoreHeader
from prorl_mega.sample_requests import SampleSource
from prorl_mega.sampler import build_mixture, load_tokenizer, start_verifiers, tell_ignored
from prorl_mega.served.model import ServedModel
from prorl_mega.stored import store_header, stored_problem
from prorl_mega.tasks.benchmarks import benchmark_lines, benchmark_scores
from prorl_mega.types import Metrics, Problem
from prorl_mega.weight_sync import WeightSync
from prorl_mega.weights.saved import policy_files, stream_directory, stream_saved

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True, frozen=True)
class StoredPolicy:
    """A policy on disk: the Hugging Face directory `model`, or a checkpoint of ours of that architecture."""

    model: Path
    family: str | None
    label: str  # of its results, unless the settings name one
    checkpoint: Path | None = None
    step: int = 0  # of the checkpoint

    def checkpoints(self) -> list[Path]:
        """The checkpoints that it is read from: tensors from one, the rest perhaps from another of the same run."""
        return [] if self.checkpoint is None else [self.checkpoint, self.model.parent]

    def stream(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Full tensors by Hugging Face name, read while they are consumed."""
        description = describe(self.model, self.family)
        if self.checkpoint is None:
            return stream_directory(self.model, description)
        return stream_saved(policy_files(self.checkpoint), description)


def chosen_policy(config: EvaluateConfig, ranks: Ranks) -> StoredPolicy:
    """The policy that the settings name, verified if it is a checkpoint. Collective.

    Raises ConfigError where there is none, CheckpointError where it is damaged.
    """
    model, family = Path(config.model.path), config.model.family
    if config.run is None:
        return StoredPolicy(model=model, family=family, label=POLICY)
    found = ""
    with ranks.raise_on_all_ranks(f"reading run={config.run}"):
        if ranks.is_first:
            found = str(chosen_checkpoint(run_directory(config.root, config.run), config.step))
    checkpoint = Path(ranks.broadcast(found))
    step = step_of(checkpoint)
    return StoredPolicy(model=model, family=family, label=f"step_{step:06d}", checkpoint=checkpoint, step=step)


@dataclass(kw_only=True, slots=True)
class EvaluationParts:
    """The objects that an evaluation calls. The job's engines share the samples; this is number `engine`."""

    problems: list[StoredProblem]
    header: StoreHeader
    source: SampleSource
    verifiers: Verifiers
    engine: int
    engines: int
    writes: bool  # whether this rank is the one of its engine that keeps and judges the answers
    benchmarks: dict[str, TaskConfig]  # the entries, where benchmarks are evaluated

    def results(self, metrics: Metrics) -> list[str]:
        """The results of benchmarks by domain, each by its headline number, in percent."""
        return benchmark_lines(benchmark_scores(metrics, self.benchmarks))

    @contextlib.contextmanager
    def grading(self, problems: list[Problem], write: Callable[[list[StoredVerdict]], None]) -> Iterator[Grader]:
        """A grader of answers to `problems`, which they name by number. Leaving it gives up what is not judged."""
        with self.verifiers.batch() as batch:
            yield Grader(batch, problems, write)


@contextlib.contextmanager
def build_evaluation(
    config: EvaluateConfig, policy: StoredPolicy, run: EvaluationRun, ranks: Ranks
) -> Iterator[EvaluationParts]:
    """Everything for an evaluation, with the policy in the engine. Leaving it stops the workers. Collective."""
    with told_if_deleted(*policy.checkpoints()):
        tokenizer = load_tokenizer(config.model) if config.model.path else None
    for line in tokenizer.notes() if tokenizer else ():
        run.message(line)
    mixture = build_mixture(config, ranks, tokenizer, run.message)
    problems = mixture.held_out(config.evaluation.final_problems_per_task)
    size = ranks_per_engine(config, ranks.world_size)
    engines, writes = ranks.world_size // size, ranks.rank % size == 0
    with start_verifiers(config, run.message) as verifiers, contextlib.ExitStack() as servers:
        if writes:  # beside the engine, which takes seconds
            verifiers.start(len(problems) * config.evaluation.samples // engines)
        source: SampleSource = (
            _server(config, tokenizer, run)
            if config.evaluation.server.url is not None
            else _engine(config, policy, tokenizer, run, ranks, servers)
        )
        stored = [
            stored_problem(problem, tokenizer.encode_prompt(problem.prompt, problem.system) if tokenizer else ())
            for problem in problems
        ]
        yield EvaluationParts(
            problems=stored,
            header=store_header(
                config, policy=source.name, step=policy.step, label=run.label, identity=source.identity
            ),
            source=source,
            verifiers=verifiers,
            engine=ranks.rank // size,
            engines=engines,
            writes=writes,
            benchmarks=config.tasks.mixture if config.evaluation.benchmarks else {},
        )


def _engine(
    config: EvaluateConfig,
    policy: StoredPolicy,
    tokenizer: Tokenizer | None,
    run: EvaluationRun,
    ranks: Ranks,
    servers: contextlib.ExitStack,
) -> EngineSamples:
    """`servers` ends those that are started."""
    assert tokenizer is not None, "settings without a model are refused but for a server"
    run.message(f"evaluating {policy.checkpoint or policy.model}")
    with contextlib.ExitStack() as during:
        during.enter_context(told_if_deleted(*policy.checkpoints()))
        tell_ignored(config.model.path, describe(config.model.path, config.model.family), run.message)
        during.enter_context(run.phase("starting the inference engine"))
        longest = compared_response(config, stage_settings(config))
        fleet = servers.enter_context(
            starting_servers(config, ranks, tokenizer, run.directory, run.message, max_response_tokens=longest)
        )
        rollout = start_rollout(config, tokenizer, ranks, fleet, policy.stream, max_response_tokens=longest)
        checksum = WeightSync(stream=policy.stream, rollout=rollout, ranks=ranks).update_weights(version=policy.step)
    return EngineSamples(
        rollout=rollout,
        tokenizer=tokenizer,
        evaluation=config.evaluation,
        max_concurrent=decoded_at_once(config),
        engine_ranks=neighbour_ranks(ranks_per_engine(config, ranks.world_size)),
        name=checksum,
    )


def _server(config: EvaluateConfig, tokenizer: Tokenizer | None, run: EvaluationRun) -> ServedModel:
    evaluation = config.evaluation
    return ServedModel(
        evaluation.server,
        temperature=evaluation.temperature,
        top_p=evaluation.top_p,
        max_tokens=compared_response(config, stage_settings(config)),
        chat=config.model.chat,
        tokenizer=tokenizer,
        say=run.message,
    )
