"""Held-out problems on the way and at the end of training: how many does the policy solve, and how many could it solve
with more attempts? `python -m prorl_mega.evaluate` asks the same of a policy on disk."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from prorl_mega.collect import Sampling
from prorl_mega.config.schema import RunConfig
from prorl_mega.config.stages import compared_response, stage_settings
from prorl_mega.evaluation.conditions import conditions
from prorl_mega.evaluation.summary import problem_records, summarise
from prorl_mega.resumable import collect_in_parts
from prorl_mega.run.checkpoints import EVALUATION_BEGAN
from prorl_mega.run.evaluations import BASE
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.stored import STREAM, keep_groups, store_header
from prorl_mega.types import Group, Metrics

if TYPE_CHECKING:
    from prorl_mega.build import Parts
    from prorl_mega.evaluation_beside import EvaluationBeside


class Evaluation(NamedTuple):
    """The metrics of `evaluation/summary.py`, and the groups that they were computed from."""

    metrics: Metrics
    groups: list[Group]


def evaluate(
    parts: Parts, config: RunConfig, run: TrainingRun, problems_per_task: int, max_tokens: int | None = None
) -> Evaluation:
    """Sample and score the first `problems_per_task` held-out problems of every task with the engine's weights.

    The problems and the seeds are the same at every call, so that two evaluations differ by the policy alone, and by
    `max_tokens`: validation has the response limit of the current stage, like ProRL's; comparisons have their own.
    What an interrupted call has finished is not done again.
    """
    chosen, policy = sampling(config, max_tokens), parts.sync.identity()
    problems = parts.problems.held_out(problems_per_task)
    groups = collect_in_parts(parts.collector, problems, chosen, policy=policy, config=config, run=run)
    return Evaluation(summarise(groups), groups)


def sampling(config: RunConfig, max_tokens: int | None) -> Sampling:
    """How evaluations sample; `max_tokens` of an answer, None: the engine's limit."""
    return Sampling(
        samples=config.evaluation.samples,
        temperature=config.evaluation.temperature,
        top_p=config.evaluation.top_p,
        max_tokens=max_tokens,
        stream=STREAM,
    )


class Validation:
    """The evaluations on the way: each when it is due, or in the gaps of the steps that follow."""

    def __init__(self, parts: Parts, config: RunConfig, run: TrainingRun) -> None:
        self._parts, self._config, self._run = parts, config, run
        self._beside = parts.beside

    def begin_again(self, step: int) -> None:
        """Begin with the evaluation that was open when the run was saved after `step`, if one was."""
        if self._beside is not None and (self._run.saved_state or {}).get(EVALUATION_BEGAN) is not None:
            self._begin(self._beside, step)

    def begin(self, step: int) -> None:
        """Begin with the evaluation that is due after `step`, if steps do not wait for it. The last one does not
        begin: what it would say, the final evaluation says."""
        if self._beside is not None and self._is_due(step) and step < self._config.schedule.steps:
            self._begin(self._beside, step)

    def has_results(self, step: int) -> bool:
        """Whether there are numbers to record after `step`, or will be once they have been waited for."""
        if self._beside is None:
            return self._is_due(step)
        return self._beside.began is not None and (self._is_due(step) or self._beside.has_ended())

    def results(self, step: int) -> Metrics:
        """The numbers to record after `step`. Raises Interrupted on every rank."""
        if self._beside is not None:
            return self._beside.results(step)
        count = self._config.evaluation.problems_per_task
        return evaluate(self._parts, self._config, self._run, count, self._limit()).metrics

    def _begin(self, beside: EvaluationBeside, step: int) -> None:
        problems = self._parts.problems.held_out(self._config.evaluation.problems_per_task)
        beside.begin(step, problems, sampling(self._config, self._limit()))

    def _is_due(self, step: int) -> bool:
        return self._run.due(step, self._config.schedule.evaluate_every)

    def _limit(self) -> int:
        return self._parts.controller.settings().rollout.max_response_tokens


def evaluate_as(label: str, step: int, parts: Parts, config: RunConfig, run: TrainingRun) -> list[Group]:
    """The large evaluation, written to the run directory under `label`; returns its groups.

    An evaluation of this step under these settings that is there already is kept, and no groups are returned.
    """
    settings = conditions(config, problems_per_task=config.evaluation.final_problems_per_task, max_tokens=None)
    what = f"the {label} policy"
    known = run.evaluations.known(label, step=step, settings=settings)
    if known is not None:
        run.message(f"{what} was evaluated at step {step} before: {_scores(known)}")
        return []
    with run.phase(f"evaluating {what} on held-out problems"):
        limit = compared_response(config, stage_settings(config))
        metrics, groups = evaluate(parts, config, run, config.evaluation.final_problems_per_task, limit)
    header = store_header(config, policy=parts.sync.identity(), step=step, label=label)
    run.evaluations.write(
        label,
        step=step,
        settings=settings,
        metrics=metrics,
        problems=problem_records(groups),
        keep_answers=lambda directory: keep_groups(directory, header, groups),
    )
    run.message(f"{what} at step {step}: {_scores(metrics)}")
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
