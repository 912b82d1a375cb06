"""Held-out problems: how many does a policy solve, and how many could it solve with more attempts?

    python -m prorl_mega.evaluate tasks=reasoning model.path=/models/Qwen2.5-1.5B        a Hugging Face directory
    python -m prorl_mega.evaluate run=demo                                               a run's newest checkpoint
    python -m prorl_mega.evaluate run=demo step=best evaluation.samples=256              its best, with more samples
    python -m prorl_mega.evaluate --regrade runs/demo/evaluation/step_000080             today's verdicts, no GPU

Samples with the inference engine alone: no learner, no optimizer, no reference policy. Ranks and nodes (torchrun, srun)
share the samples. Every answer is kept in `runs/<name>/evaluation/<label>/` as it ends; the same command goes on after
an interruption, and with a larger evaluation.samples adds to what is there. The results are in `<label>.json` beside
it: pass@k and more, per task and problem. Of a run, nothing else changes, also while it goes on.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from prorl_mega.config.compose import run_composed, to_config
from prorl_mega.config.schema import EvaluateConfig
from prorl_mega.distributed.launch import read_launch
from prorl_mega.errors import ConfigError, ExitCode
from prorl_mega.run.chosen import chosen_checkpoint, step_of
from prorl_mega.run.evaluation_run import EvaluationRun
from prorl_mega.run.evaluations import POLICY
from prorl_mega.run.recorded import run_directory, with_recorded
from prorl_mega.run.sample_store import SampleStore, StoredSample

if TYPE_CHECKING:
    from prorl_mega.evaluation_parts import EvaluationParts
    from prorl_mega.sample_requests import SampleAnswer, SampleRequest

BLOCK = 16  # samples of one problem that one engine takes: they share the computation of the prompt
MOST_WAITING = 50_000  # answers without a verdict; beyond, sampling waits for the verifiers
WAIT_S = 0.5  # for verdicts, between two looks at whether to stop


def evaluate(parts: EvaluationParts, run: EvaluationRun) -> ExitCode:
    """Sample what the evaluation's store lacks, judge it, and write the results from the whole store. Collective."""
    missing = run.begin(parts.header, parts.stored)
    store = SampleStore(run.directory)
    problems = [to_problem(problem) for problem in store.problems()]
    share = list(blocks(missing, parts.engine, parts.engines))
    _announce(parts, run, sum(len(samples) for _, samples in missing))
    if parts.writes:
        sample_and_judge(parts, run, store, problems, share)
    else:  # drives the engine that another rank keeps the answers of
        for _ in parts.source.answers(requests(parts, problems, share), run.is_stopping):
            pass
    code = run.end_of_sampling()
    if code is ExitCode.FINISHED and run.is_first:
        metrics, records = summarise_store(store)
        run.write(parts.header, metrics, records)
        for line in to_lines(metrics):
            run.message(line)
    return code


def sample_and_judge(
    parts: EvaluationParts, run: EvaluationRun, store: SampleStore, problems: list[Problem], share: list[Block]
) -> None:
    """This engine's share: every answer is on disk when it has ended, and judged while others are sampled."""
    with run.writers(parts.engine) as (samples, verdicts), parts.grading(problems, verdicts.write) as grader:
        for answer in store.unjudged(parts.engine, parts.engines):  # of a job that was stopped before their verdicts
            grader.add(answer.problem, answer.sample, answer.text)
        progress = run.progress(sum(len(numbers) for _, numbers in share))
        for answers in parts.source.answers(requests(parts, problems, share), run.is_stopping):
            samples.write(kept(answer) for answer in answers)
            for each in answers:
                grader.add(each.request.index, each.request.sample, each.text)
            grader.poll()
            progress(len(answers))
            while grader.unfinished > MOST_WAITING and not run.is_stopping():
                grader.wait(WAIT_S)
        while not run.is_stopping() and not grader.wait(WAIT_S):
            progress(0)


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
            seed = sample_seed(parts.header.seed, "evaluation", problem.key, sample)
            yield SampleRequest(index=number, sample=sample, seed=seed, problem=problem)


def kept(answer: SampleAnswer) -> StoredSample:
    """An answer as the store keeps it."""
    return StoredSample(
        problem=answer.request.index,
        sample=answer.request.sample,
        seed=answer.request.seed,
        text=printable_text(answer.text),
        finish=answer.finish.value,
        length=answer.length,
        tokens=answer.tokens.tolist(),
        logprobs=np.round(answer.logprobs.astype(np.float64), DIGITS).tolist(),
    )
