"""Builds the objects that an evaluation calls: problems, verifiers, and an engine with the policy that is evaluated."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from prorl_mega.config.schema import EvaluateConfig
from prorl_mega.config.stages import longest_response, stage_settings
from prorl_mega.distributed.collectives import neighbour_ranks
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.engine_samples import EngineSamples
from prorl_mega.evaluation.conditions import conditions
from prorl_mega.grader import Grader
from prorl_mega.huggingface.config import describe
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.protocols import Verifiers
from prorl_mega.run.evaluation_run import EvaluationRun
from prorl_mega.run.provenance import provenance
from prorl_mega.run.sample_store import StoredProblem, StoredVerdict, StoreHeader
from prorl_mega.run.settings import to_plain
from prorl_mega.sample_requests import SampleSource
from prorl_mega.sampler import build_mixture, load_tokenizer, start_engine, start_verifiers, tell_ignored
from prorl_mega.types import Problem
from prorl_mega.weight_sync import WeightSync
from prorl_mega.weights.saved import policy_files, stream_directory, stream_saved

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True, frozen=True)
class StoredPolicy:
    """A policy on disk: the Hugging Face directory `model`, or a checkpoint of ours of that architecture."""

    model: Path
    family: str | None
    checkpoint: Path | None = None
    step: int = 0  # of the checkpoint

    def stream(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Full tensors by Hugging Face name, read while they are consumed."""
        description = describe(self.model, self.family)
        if self.checkpoint is None:
            return stream_directory(self.model, description)
        return stream_saved(policy_files(self.checkpoint), description)


@dataclass(kw_only=True, slots=True)
class EvaluationParts:
    """The objects that an evaluation calls. The job's engines share the samples; this is number `engine`."""

    problems: list[Problem]
    stored: list[StoredProblem]
    header: StoreHeader
    source: SampleSource
    verifiers: Verifiers
    engine: int
    engines: int
    writes: bool  # whether this rank is the one of its engine that keeps and judges the answers

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
    tokenizer = load_tokenizer(config.model)
    for line in tokenizer.notes():
        run.message(line)
    problems = build_mixture(config, ranks, tokenizer, run.message).held_out(config.evaluation.final_problems_per_task)
    tell_ignored(config.model.path, describe(config.model.path, config.model.family), run.message)
    with start_verifiers(config, run.message) as verifiers:
        source = _engine(config, policy, tokenizer, run, ranks)
        stored = [_stored(problem, tokenizer) for problem in problems]
        yield EvaluationParts(
            problems=problems,
            stored=stored,
            header=_header(config, source.name, policy.step, run.label),
            source=source,
            verifiers=verifiers,
            engine=ranks.rank // config.rollout.tensor,
            engines=ranks.world_size // config.rollout.tensor,
            writes=ranks.rank % config.rollout.tensor == 0,
        )


def _engine(
    config: EvaluateConfig, policy: StoredPolicy, tokenizer: Tokenizer, run: EvaluationRun, ranks: Ranks
) -> EngineSamples:
    with run.phase("starting the inference engine"):
        rollout = start_engine(config, tokenizer, max_response_tokens=longest_response(config, stage_settings(config)))
        checksum = WeightSync(stream=policy.stream, rollout=rollout, ranks=ranks).update_weights(version=policy.step)
    return EngineSamples(
        rollout=rollout,
        tokenizer=tokenizer,
        evaluation=config.evaluation,
        max_concurrent=config.rollout.max_concurrent,
        engine_ranks=neighbour_ranks(config.rollout.tensor),
        name=checksum,
    )


def _stored(problem: Problem, tokenizer: Tokenizer) -> StoredProblem:
    return StoredProblem(
        key=problem.key,
        task=problem.task,
        prompt=problem.prompt,
        system=problem.system,
        entry=problem.entry,
        prompt_tokens=tokenizer.encode_prompt(problem.prompt, problem.system).tolist(),
    )


def _header(config: EvaluateConfig, name: str, step: int, label: str) -> StoreHeader:
    settings = conditions(config, problems_per_task=config.evaluation.final_problems_per_task, max_tokens=None)
    return StoreHeader(
        label=label,
        step=step,
        policy=name,
        identity=_identity(name, settings),
        seed=config.seed,
        samples=config.evaluation.samples,
        settings=settings,
        config=to_plain(config),
        provenance=provenance(),
    )


def _identity(policy: str, settings: dict[str, Any]) -> str:
    """A hash of what the answer to a problem and a seed depends on: the policy, and how it is asked and sampled."""
    decisive = {
        key: value
        for key, value in settings.items()
        if not key.startswith("tasks.") and key not in ("evaluation.problems", "evaluation.samples", "model.path")
    }
    return blake3(json.dumps([policy, decisive], sort_keys=True).encode()).hexdigest()[:16]
