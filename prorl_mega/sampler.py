"""The half of the loop that samples and scores: problems, engine, verifiers. Training joins it to a learner
(`build.py`), an evaluation to a policy on disk (`evaluation_parts.py`)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from prorl_mega.collect import Collector
from prorl_mega.config.schema import ModelConfig, RunConfig, WarmstartConfig
from prorl_mega.distributed.collectives import job_ranks, neighbour_ranks
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.families.family import ModelDescription
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.learner.backend import initialize_distributed
from prorl_mega.placement import decoded_at_once, ranks_per_engine
from prorl_mega.protocols import Rollout, Surroundings
from prorl_mega.recipe.curriculum import Curriculum
from prorl_mega.tasks.objection import length_check
from prorl_mega.tasks.shared_mixture import SharedMixture
from prorl_mega.types import ParallelLayout
from prorl_mega.verifiers.pool import VerifierPool
from prorl_mega.verifiers.remote.client import RemoteVerifiers


def join_job(config: RunConfig | WarmstartConfig) -> Ranks:
    """Join the processes that were started together. The first thing that a program does after validation."""
    initialize_distributed(config.cluster.collective_timeout_s)
    return job_ranks()


@contextlib.contextmanager
def start_collector(
    config: RunConfig,
    run: Surroundings,
    tokenizer: Tokenizer,
    layout: ParallelLayout,
    start_rollout: Callable[[], Rollout],
) -> Iterator[Collector]:
    """Verifiers and this rank's part of an engine, without weights. Leaving it stops the workers."""
    with start_verifiers(config, run.message) as verifiers:
        with run.phase("starting the inference engine"):
            rollout = start_rollout()
        size = ranks_per_engine(config, layout.world_size)
        yield Collector(
            rollout=rollout,
            verifiers=verifiers,
            tokenizer=tokenizer,
            layout=layout,
            engine_size=size,
            engine_ranks=neighbour_ranks(size),
            max_concurrent=decoded_at_once(config),
            seed=config.seed,
            is_stopping=run.is_stopping,
        )


def start_verifiers(config: RunConfig, say: Callable[[str], None]) -> VerifierPool | RemoteVerifiers:
    """Processes of this machine, or reward servers. A context manager: leaving it stops the workers."""
    return RemoteVerifiers(config.tasks, say) if config.tasks.servers else VerifierPool(config.tasks, say)


def tell_ignored(path: str, description: ModelDescription, say: Callable[[str], None]) -> None:
    """A message on the fields of the model's configuration that have no meaning here, if there are any."""
    if description.ignored:
        say(f"ignored: {', '.join(description.ignored)} of {path}/config.json, which nothing here knows")


def load_tokenizer(model: ModelConfig) -> Tokenizer:
    """The tokenizer of `model.path`, with the chat template as `model.chat` wants it."""
    return Tokenizer(model.path, keep_special=model.keep_special_tokens, **dataclasses.asdict(model.chat))


def build_mixture(
    config: RunConfig, ranks: Ranks, tokenizer: Tokenizer | None, say: Callable[[str], None]
) -> SharedMixture:
    """The problems of all tasks; without a tokenizer prompts of any length. Data files that are broken are an error."""
    problems = SharedMixture(
        config.tasks,
        config.seed,
        ranks,
        check=None
        if tokenizer is None
        else length_check(
            lambda problem: len(tokenizer.encode_prompt(problem.prompt, problem.system)),
            config.rollout.max_prompt_tokens,
            "rollout.max_prompt_tokens",
        ),
        evaluates=True,
        report=say,
    )
    for line in problems.loaded(config.evaluation):
        say(line)
    return problems


def build_problems(config: RunConfig, run: Surroundings, ranks: Ranks, tokenizer: Tokenizer) -> Curriculum:
    """The problems, from the run's position on. Data files that are broken or have changed are an error here."""
    curriculum = Curriculum(build_mixture(config, ranks, tokenizer, run.message), config.recipe.curriculum)
    if run.saved_state is not None:
        curriculum.load_state_dict(run.saved_state["problems"])
    return curriculum
