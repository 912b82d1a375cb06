"""Held-out problems: how many does a policy solve, and how many could it solve with more attempts?

    python -m prorl_mega.evaluate tasks=reasoning model.path=/models/Qwen2.5-1.5B        a Hugging Face directory
    python -m prorl_mega.evaluate run=demo                                               a run's newest checkpoint
    python -m prorl_mega.evaluate run=demo step=best evaluation.samples=256              its best, with more samples
    python -m prorl_mega.evaluate benchmarks=aime24,math500 model.path=DIR               published benchmarks, alone
    python -m prorl_mega.evaluate --benchmarks                                           their names, and files found
    python -m prorl_mega.evaluate --regrade runs/demo/evaluation/step_000080             today's verdicts, no GPU

Samples with the inference engine alone: no learner, no optimizer, no reference policy. Ranks and nodes (torchrun, srun)
share the samples. Every answer is kept in `runs/<name>/evaluation/<label>/` as it ends; the same command goes on after
an interruption, and with a larger evaluation.samples adds to what is there. The results are in `<label>.json` beside
it: pass@k and more, per task and problem. Of a run, nothing else changes, also while it goes on.

Benchmarks are read from files below data/benchmarks and sampled as ProRL did (evaluation=paper), unless another file of
that group is chosen; docs/benchmarks.md.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from prorl_mega.config.command_line import BENCHMARKS, with_paper_protocol
from prorl_mega.config.compose import run_composed, to_config
from prorl_mega.config.schema import EvaluateConfig
from prorl_mega.distributed.launch import read_launch
from prorl_mega.errors import ConfigError, ExitCode, RolloutError
from prorl_mega.evaluation.store_summary import summarise_store
from prorl_mega.garbage import collection_paused
from prorl_mega.regrade import regrade_if_asked
from prorl_mega.reporting.score_lines import score_lines
from prorl_mega.run.console import counted
from prorl_mega.run.evaluation_run import Block, EvaluationRun
from prorl_mega.run.recorded import with_recorded
from prorl_mega.run.sample_store import SampleStore, StoredSample
from prorl_mega.sample_requests import SampleAnswer, SampleRequest
from prorl_mega.seeds import sample_seed
from prorl_mega.stored import STREAM, stored_sample, to_problem
from prorl_mega.tasks.benchmarks import benchmarks_alone, benchmarks_label
from prorl_mega.tasks.benchmarks.listing import print_if_asked

if TYPE_CHECKING:
    from prorl_mega.evaluation_parts import EvaluationParts
    from prorl_mega.grader import Grader
    from prorl_mega.types import Problem

BLOCK = 16  # samples of one problem that one engine takes: they share the computation of the prompt
MOST_WAITING = 50_000  # answers without a verdict; beyond, sampling waits for the verifiers
WAIT_S = 0.5  # for verdicts, between two looks at whether to stop


def evaluate(parts: EvaluationParts, run: EvaluationRun) -> ExitCode:
    """Sample what the evaluation's store lacks, judge it, and write the results from the whole store. Collective."""
    missing = run.begin(parts.header, parts.problems)
    store = SampleStore(run.directory)
    problems = [to_problem(problem) for problem in store.problems()]
    share = list(blocks(missing, parts.engine, parts.engines))
    run.message(described(sum(len(samples) for _, samples in missing), len(missing), parts.header.samples))
    if parts.writes:
        sample_and_judge(parts, run, store, problems, share)
    else:  # drives the engine that another rank keeps the answers of
        for _ in parts.source.answers(requests(parts, problems, share), run.is_stopping):
            pass
    code = run.end_of_sampling()
    if code is ExitCode.FINISHED and run.is_first:
        metrics, records = summarise_store(store)
        run.write(parts.header, metrics, records)
        for line in [*score_lines(metrics, run.directory), *parts.results(metrics)]:
            run.message(line)
        if missing_still := int(metrics["evaluation/missing"]):
            raise RolloutError(
                f"{missing_still:,} of {len(missing) * parts.header.samples:,} answers are missing and not in these "
                "numbers; the same command asks for them again"
            )
    return code


def sample_and_judge(
    parts: EvaluationParts, run: EvaluationRun, store: SampleStore, problems: list[Problem], share: list[Block]
) -> None:
    """This engine's share: every answer is on disk when it has ended, and judged while others are sampled."""
    with run.writers(parts.engine) as (samples, verdicts), parts.grading(problems, verdicts.write) as grader:
        for answer in store.unjudged(parts.engine, parts.engines):  # of a job that was stopped before their verdicts
            grader.add(answer.problem, answer.sample, answer.text)
            wait_for_room(grader, run)
        progress = run.progress(sum(len(numbers) for _, numbers in share))
        for answers in parts.source.answers(requests(parts, problems, share), run.is_stopping):
            samples.write(to_stored(answer) for answer in answers)
            for each in answers:
                grader.add(each.request.index, each.request.sample, each.text)
            grader.poll()
            progress(len(answers))
            wait_for_room(grader, run)
        while not run.is_stopping() and not grader.wait(WAIT_S):
            progress(0)


def wait_for_room(grader: Grader, run: EvaluationRun) -> None:
    """Let verifiers catch up, so that the texts of all answers are never in memory at once."""
    while grader.unfinished > MOST_WAITING and not run.is_stopping():
        grader.wait(WAIT_S)


def blocks(missing: Sequence[Block], engine: int, engines: int) -> Iterator[Block]:
    """The share of one engine: every `engines`-th run of up to BLOCK missing samples of a problem."""
    every = (
        (number, samples[start : start + BLOCK])
        for number, samples in missing
        for start in range(0, len(samples), BLOCK)
    )
    return islice(every, engine, None, engines)


def requests(parts: EvaluationParts, problems: list[Problem], share: list[Block]) -> Iterator[SampleRequest]:
    """A request per sample, with its own seed, which no other sample of the run has."""
    for number, samples in share:
        problem = problems[number]
        for sample in samples:
            seed = sample_seed(parts.header.seed, STREAM, problem.key, sample)
            yield SampleRequest(index=number, sample=sample, seed=seed, problem=problem)


def to_stored(answer: SampleAnswer) -> StoredSample:
    """An answer as the store keeps it."""
    request = answer.request
    return stored_sample(
        (request.index, request.sample),
        seed=request.seed,
        text=answer.text,
        finish=answer.finish,
        length=answer.length,
        tokens=answer.tokens,
        logprobs=answer.logprobs,
    )


def described(missing: int, problems: int, samples: int) -> str:
    """ "64 problems, 16 samples each", and how many of the answers are there already."""
    wanted = problems * samples
    there = "" if missing == wanted else f"; {wanted - missing:,} of {wanted:,} answers are there already"
    return f"{counted(problems, 'problem')}, {counted(samples, 'sample')} each{there}"


def resolved(settings: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The settings with those of the run that is evaluated, if one is named, and with a name for the results."""
    if settings.run is not None:
        found = with_recorded(settings, overrides)
        if not any(text.startswith(f"{BENCHMARKS}=") for text in overrides):
            found.evaluation.benchmarks = []  # the run's own are entries of its mixture
        return found
    server = settings.evaluation.server
    if server.url is not None and OmegaConf.is_missing(settings.model, "path"):
        settings.model.path = ""  # messages need no tokenizer
    if OmegaConf.is_missing(settings.model, "path"):
        raise ConfigError(
            "there is no policy to evaluate: name a Hugging Face directory with model.path=DIR, a run with run=NAME, "
            "or a server with evaluation.server.url=URL"
        )
    model = settings.model.path or server.model or "server"
    if OmegaConf.is_missing(settings, "name") and model:
        settings.name = re.sub(r"[^A-Za-z0-9._-]", "-", Path(model).resolve().name).lstrip("._-") or "model"
    directory = Path(settings.root) / ("" if OmegaConf.is_missing(settings, "name") else settings.name)
    if any(directory.glob("checkpoints/step_*")):
        raise ConfigError(
            f"name={settings.name}: {directory} is a training run; evaluate its checkpoints with run={settings.name}, "
            f"or give the results of model.path={model} another name"
        )
    return settings


def main(settings: DictConfig) -> ExitCode:
    launch = read_launch(os.environ)
    os.environ.update(launch.variables())
    config = to_config(
        resolved(settings, HydraConfig.get().overrides.task), EvaluateConfig, launch.world_size, benchmarks_alone
    )
    with collection_paused():  # seconds of imports, after the settings have been checked
        from prorl_mega.evaluation_parts import build_evaluation, chosen_policy
        from prorl_mega.sampler import join_job

    ranks = join_job(config)
    policy = chosen_policy(config, ranks)
    label = config.label or benchmarks_label(policy.label, config.evaluation.benchmarks)
    with EvaluationRun(config, ranks, label) as run:  # noqa: SIM117 (the parts need the run)
        with build_evaluation(config, policy, run, ranks) as parts:
            return evaluate(parts, run)


if __name__ == "__main__":
    regrade_if_asked(sys.argv[1:])
    print_if_asked(sys.argv[1:])
    sys.argv[1:] = with_paper_protocol(sys.argv[1:])
    run_composed(main, EvaluateConfig)
