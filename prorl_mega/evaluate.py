"""Held-out problems: how many does the policy solve, and how many could it solve with more attempts?

    python -m prorl_mega.evaluate experiment=demo model.path=runs/base name=base

evaluates a Hugging Face directory, or the newest checkpoint of the run of that name, with the inference engine alone
(no learner is built), and writes `runs/<name>/evaluation/policy.json`; of a run that is there, nothing else changes.
The training loop calls the same function.

    python -m prorl_mega.evaluate benchmarks=aime24,math500 model.path=DIR name=NAME
    python -m prorl_mega.evaluate --benchmarks

evaluates published benchmarks alone, from files below data/benchmarks, as ProRL did (`evaluation=paper`, unless another
one is chosen), and lists their names, with what has been found of them (docs/benchmarks.md).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from prorl_mega.collect import Sampling
from prorl_mega.config.command_line import with_paper_protocol
from prorl_mega.config.compose import run_hydra
from prorl_mega.config.schema import RunConfig, WeightSource
from prorl_mega.config.stages import compared_response, stage_settings
from prorl_mega.errors import ConfigError, ExitCode
from prorl_mega.evaluation.conditions import conditions
from prorl_mega.evaluation.summary import problem_records, summarise
from prorl_mega.resumable import collect_in_parts
from prorl_mega.run.changes import with_entries_of_run
from prorl_mega.run.evaluations import BASE, POLICY
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.run.signals import Interrupted
from prorl_mega.tasks.benchmarks import benchmark_scores, benchmarks_alone, completed, score_lines
from prorl_mega.tasks.benchmarks.listing import print_if_asked
from prorl_mega.types import Group, Metrics

if TYPE_CHECKING:
    from prorl_mega.build import Parts
    from prorl_mega.sampler import Sampler


class Evaluation(NamedTuple):
    """The metrics of `evaluation/summary.py`, and the groups that they were computed from."""

    metrics: Metrics
    groups: list[Group]


def evaluate(
    parts: Parts | Sampler, config: RunConfig, run: TrainingRun, problems_per_task: int, max_tokens: int | None = None
) -> Evaluation:
    """Sample and score the first `problems_per_task` held-out problems of every task with the engine's weights.

    The problems and the seeds are the same at every call, so that two evaluations differ by the policy alone, and by
    `max_tokens`: validation has the response limit of the current stage, like ProRL's; comparisons have their own.
    What an interrupted call has finished is not done again.
    """
    sampling = Sampling(
        samples=config.evaluation.samples,
        temperature=config.evaluation.temperature,
        top_p=config.evaluation.top_p,
        max_tokens=max_tokens,
        stream="evaluation",
    )
    problems = parts.problems.held_out(problems_per_task)
    groups = collect_in_parts(parts.collector, problems, sampling, policy=parts.sync.checksum, config=config, run=run)
    return Evaluation(summarise(groups), groups)


def evaluate_as(label: str, step: int, parts: Parts | Sampler, config: RunConfig, run: TrainingRun) -> list[Group]:
    """The large evaluation, written to the run directory under `label`; returns its groups.

    An evaluation of this step under these settings that is there already is kept, and no groups are returned.
    """
    settings = conditions(config, problems_per_task=config.evaluation.final_problems_per_task, max_tokens=None)
    what = "the policy" if label == POLICY else f"the {label} policy"
    known = run.evaluated(label, step=step, settings=settings)
    if known is not None:
        run.message(f"{what} was evaluated at step {step} before: {_scores(known)}")
        _tell_benchmarks(known, config, run)
        return []
    limit = compared_response(config, stage_settings(config))
    with run.phase(f"evaluating {what} on held-out problems"):
        metrics, groups = evaluate(parts, config, run, config.evaluation.final_problems_per_task, limit)
    run.evaluation(label, step=step, settings=settings, metrics=metrics, problems=problem_records(groups))
    run.message(f"{what} at step {step}: {_scores(metrics)}")
    _tell_benchmarks(metrics, config, run)
    return groups


def evaluate_base(parts: Parts, config: RunConfig, run: TrainingRun) -> None:
    """The large evaluation of the policy before training, and its validation as training has it: step 0 of the metrics.

    Validation is a part of the large evaluation, with the same answers, unless it has more problems or another
    response limit.
    """
    count, limit = config.evaluation.problems_per_task, parts.controller.settings().rollout.max_response_tokens
    large = {group.problem.key: group for group in evaluate_as(BASE, 0, parts, config, run)}
    keys = [problem.key for problem in parts.problems.held_out(count)]
    if limit == compared_response(config, stage_settings(config)) and all(key in large for key in keys):
        run.before_training(summarise([large[key] for key in keys]))
        return
    with run.phase("validating the base policy"):
        run.before_training(evaluate(parts, config, run, count, limit).metrics)


def _scores(metrics: Metrics) -> str:
    """ "pass@1 0.310  pass@16 0.620", the smallest and the largest k."""
    found = {int(name[16:]): value for name, value in metrics.items() if re.fullmatch(r"evaluation/pass@\d+", name)}
    shown = dict.fromkeys((min(found), max(found))) if found else {}
    return "  ".join(f"pass@{k} {found[k]:.3f}" for k in shown)


def _tell_benchmarks(metrics: Metrics, config: RunConfig, run: TrainingRun) -> None:
    """The results by benchmark and domain, in percent, where benchmarks were evaluated."""
    for line in score_lines(benchmark_scores(metrics, config.tasks.mixture)) if config.evaluation.benchmarks else ():
        run.message(line)


def main(config: RunConfig) -> ExitCode:
    from prorl_mega.consistency import contradictions
    from prorl_mega.sampler import build_sampler, join_job  # seconds of imports, after the settings have been checked

    ranks = join_job(config)
    measured = benchmarks_alone(config)
    if measured is not config:
        config = with_entries_of_run(config, Path(config.root) / config.name)
    with TrainingRun(config, ranks, contradictions) as run:
        if config.model.weights is WeightSource.random and run.saved_state is None:
            raise ConfigError(
                f"model.weights=random: there is no policy to evaluate before {config.name} has a checkpoint"
            )
        with build_sampler(measured, run, ranks) as sampler:
            try:
                step = run.look_at(sampler.policy.restore)
                sampler.sync.update_weights(version=step)
                evaluate_as(POLICY, step, sampler, measured, run)
            except Interrupted as interruption:
                return run.interrupted(interruption)
    return ExitCode.FINISHED


if __name__ == "__main__":
    print_if_asked(sys.argv[1:])
    sys.argv[1:] = with_paper_protocol(sys.argv[1:])
    run_hydra(main, RunConfig, completed)
