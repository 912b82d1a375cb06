"""The half of the loop that samples and scores: problems, engine, verifiers; for an evaluation the policy from files.

Training joins it to a learner (`build.py`); an evaluation needs no more than this.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prorl_mega.collect import Collector
from prorl_mega.config.schema import ModelConfig, RunConfig, WarmstartConfig
from prorl_mega.config.stages import longest_response, stage_settings
from prorl_mega.distributed.collectives import job_ranks, neighbour_ranks
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.families.family import ModelDescription
from prorl_mega.huggingface.config import describe
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.learner.backend import initialize_distributed
from prorl_mega.recipe.curriculum import Curriculum
from prorl_mega.rollout.engine import VllmRollout
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.tasks.objection import length_check
from prorl_mega.tasks.shared_mixture import SharedMixture
from prorl_mega.types import ParallelLayout
from prorl_mega.verifiers.pool import VerifierPool
from prorl_mega.verifiers.remote.client import RemoteVerifiers
from prorl_mega.weight_sync import WeightSync
from prorl_mega.weights.saved import policy_files, stream_directory, stream_saved

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class StoredPolicy:
    """A policy on disk: the Hugging Face directory `model`, or, once there is one, a checkpoint of ours."""

    model: Path
    family: str | None
    checkpoint: Path | None = None

    def stream(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Full tensors by Hugging Face name, read while they are consumed."""
        description = describe(self.model, self.family)
        if self.checkpoint is None:
            return stream_directory(self.model, description)
        return stream_saved(policy_files(self.checkpoint), description)

    def restore(self, checkpoint: Path) -> None:
        """Take the policy of a checkpoint from now on."""
        self.checkpoint = checkpoint


@dataclass(kw_only=True, slots=True)
class Sampler:
    """The objects that an evaluation calls."""

    policy: StoredPolicy
    sync: WeightSync
    problems: Curriculum
    collector: Collector


def join_job(config: RunConfig | WarmstartConfig) -> Ranks:
    """Join the processes that were started together. The first thing that a program does after validation."""
    initialize_distributed(config.cluster.collective_timeout_s)
    return job_ranks()


@contextlib.contextmanager
def build_sampler(config: RunConfig, run: TrainingRun, ranks: Ranks) -> Iterator[Sampler]:
    """Everything for an evaluation, with no weights in the engine yet. Leaving it stops the workers."""
    tokenizer = load_tokenizer(config.model)
    for line in tokenizer.notes():
        run.message(line)
    problems = build_problems(config, run, ranks, tokenizer)
    tell_ignored(config.model.path, describe(config.model.path, config.model.family), run)
    policy = StoredPolicy(model=Path(config.model.path), family=config.model.family)
    longest = longest_response(config, stage_settings(config))
    layout = replicas(ranks)
    with start_collector(config, run, tokenizer, layout, max_response_tokens=longest) as collector:
        sync = WeightSync(stream=policy.stream, rollout=collector.rollout, ranks=ranks)
        yield Sampler(policy=policy, sync=sync, problems=problems, collector=collector)


@contextlib.contextmanager
def start_collector(
    config: RunConfig, run: TrainingRun, tokenizer: Tokenizer, layout: ParallelLayout, *, max_response_tokens: int
) -> Iterator[Collector]:
    """Verifiers and this rank's engine, without weights. Leaving it stops the workers."""
    say = run.message
    with RemoteVerifiers(config.tasks, say) if config.tasks.servers else VerifierPool(config.tasks, say) as verifiers:
        with run.phase("starting the inference engine"):
            rollout = VllmRollout(
                Path(config.model.path),
                dataclasses.replace(config.rollout, max_response_tokens=max_response_tokens),
                precision=config.model.precision,
                valid_vocab=len(tokenizer),
                end_ids=tokenizer.end_ids,
                seed=config.seed,
            )
        yield Collector(
            rollout=rollout,
            verifiers=verifiers,
            tokenizer=tokenizer,
            layout=layout,
            engine_size=config.rollout.tensor,
            engine_ranks=neighbour_ranks(config.rollout.tensor),
            max_concurrent=config.rollout.max_concurrent,
            seed=config.seed,
            is_stopping=run.is_stopping,
        )


def replicas(ranks: Ranks) -> ParallelLayout:
    """The layout of ranks that share nothing but an engine."""
    return ParallelLayout(
        world_size=ranks.world_size, rank=ranks.rank, data_size=ranks.world_size, data_rank=ranks.rank,
        tensor_size=1, tensor_rank=0, pipeline_size=1, pipeline_rank=0,
    )  # fmt: skip


def tell_ignored(path: str, description: ModelDescription, run: TrainingRun) -> None:
    """A message on the fields of the model's configuration that have no meaning here, if there are any."""
    if description.ignored:
        run.message(f"ignored: {', '.join(description.ignored)} of {path}/config.json, which nothing here knows")


def load_tokenizer(model: ModelConfig) -> Tokenizer:
    """The tokenizer of `model.path`, with the chat template as `model.chat` wants it."""
    return Tokenizer(model.path, keep_special=model.keep_special_tokens, **dataclasses.asdict(model.chat))


def build_problems(config: RunConfig, run: TrainingRun, ranks: Ranks, tokenizer: Tokenizer) -> Curriculum:
    """The problems, from the run's position on. Data files that are broken or have changed are an error here."""
    problems = SharedMixture(
        config.tasks,
        config.seed,
        ranks,
        check=length_check(
            lambda problem: len(tokenizer.encode_prompt(problem.prompt, problem.system)),
            config.rollout.max_prompt_tokens,
            "rollout.max_prompt_tokens",
        ),
        evaluates=True,
        report=run.message,
    )
    for line in problems.loaded(config.evaluation):
        run.message(line)
    curriculum = Curriculum(problems, config.recipe.curriculum)
    if run.saved_state is not None:
        curriculum.load_state_dict(run.saved_state["problems"])
    return curriculum
