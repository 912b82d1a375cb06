"""Held-out problems: how many does the policy solve, and how many could it solve with more attempts?

    python -m prorl_mega.evaluate experiment=demo model.path=runs/base name=base

evaluates a Hugging Face directory and writes `runs/<name>/evaluation/policy.json`. The training loop calls the same
function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prorl_mega.collect import Sampling
from prorl_mega.config.compose import run_hydra
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ExitCode
from prorl_mega.evaluation.summary import problem_records, summarise
from prorl_mega.resumable import collect_in_parts
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.run.signals import Interrupted
from prorl_mega.types import Group, Metrics

if TYPE_CHECKING:
    from prorl_mega.build import Parts


class Evaluation(NamedTuple):
    """The metrics of `evaluation/summary.py`, and the groups that they were computed from."""

    metrics: Metrics
    groups: list[Group]


def evaluate(
    parts: Parts, config: RunConfig, run: TrainingRun, problems_per_task: int, max_tokens: int | None = None
) -> Evaluation:
    """Sample and score the first `problems_per_task` held-out problems of every task with the engine's weights.

    The problems and the seeds are the same at every call, so that two evaluations differ by the policy alone, and by
    `max_tokens`: validation has the response limit of the current stage, like ProRL's; comparisons have the largest.
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


def evaluate_as(label: str, step: int, parts: Parts, config: RunConfig, run: TrainingRun) -> Metrics:
    """The large evaluation, written to the run directory under `label`, unless it is there already."""
    if run.evaluated(label):
        return {}
    with run.phase(f"evaluating the {label} policy on held-out problems"):
        metrics, groups = evaluate(parts, config, run, config.evaluation.final_problems_per_task)
    run.evaluation(label, step=step, metrics=metrics, problems=problem_records(groups))
    scores = "  ".join(
        f"{name.removeprefix('evaluation/')} {metrics[name]:.3f}"
        for name in ("evaluation/pass@1", f"evaluation/pass@{config.evaluation.samples}")
    )
    run.message(f"{label} policy: {scores}")
    return metrics


def main(config: RunConfig) -> ExitCode:
    from prorl_mega.build import build, join_job  # seconds of imports, after the settings have been checked

    ranks = join_job(config)
    with TrainingRun(config, ranks) as run, build(config, run, ranks) as parts:
        parts.sync.update_weights(version=run.resume(parts.restore))
        try:
            evaluate_as("policy", 0, parts, config, run)
        except Interrupted as interruption:
            return run.interrupted(interruption)
    return ExitCode.FINISHED


if __name__ == "__main__":
    run_hydra(main, RunConfig)
