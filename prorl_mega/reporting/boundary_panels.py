"""Panels at the side of a boundary page: a task with its numbers, a problem with its answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from prorl_mega.evaluation.answer_evidence import AnswerEvidence, ShownAnswer
from prorl_mega.evaluation.boundary_study import BoundaryStudy, TaskBoundary
from prorl_mega.evaluation.comparison import ALL_TASKS
from prorl_mega.evaluation.crossings import Crossing
from prorl_mega.evaluation.problem_counts import SOLVED
from prorl_mega.evaluation.solve_rate import posterior
from prorl_mega.huggingface.token_pieces import TokenPieces
from prorl_mega.reporting import kit
from prorl_mega.run.samples import shortened

HEAD, TAIL = 1200, 600  # tokens of an answer that are shown
LISTED = 40  # problems of a task


def task_panel(
    task: TaskBoundary, models: Sequence[str], crossed: Sequence[tuple[str, str, Crossing]], chart: str
) -> dict[str, Any]:
    """A task: its numbers for every model, and its crossed problems, each with its id and the name of its list."""

    def interval(index: int) -> str:
        each = task.boundary[index]
        return f"{each.mean:.3f}" + (f" [{each.low:.3f}, {each.high:.3f}]" if task.problems > 1 else "")

    rows = [
        ["pass@1", *(_number(each) for each in task.pass_at_1)],
        [f"pass@{task.k}", *(interval(index) for index in range(len(models)))],
        ["bound by mean and variance", *(_number(each) for each in task.most)],
        *([f"Cover@{tau}", *(f"{each:.3f}" for each in of_models)] for tau, of_models in task.cover.items()),
    ]
    gain = f"gain {task.gain.mean:+.3f}"
    if task.problems > 1:
        gain += f" [{task.gain.low:+.3f}, {task.gain.high:+.3f}]"
    parts = [
        kit.text(f"{task.regime.regime.value}: {gain} at k = {task.k}, {task.problems or 'unknown'} problems"),
        kit.table(["", *models], rows),
        kit.opens(chart, "its curves"),
    ]
    for name in ("gained", "lost"):
        of_list = [(id_, each) for id_, of_name, each in crossed if of_name == name]
        if of_list:
            parts.append(kit.heading(f"{len(of_list)} problems {name}"))
            parts += [
                kit.opens(id_, f"{each.key}: {each.solved} of {each.samples} by {each.solver}")
                for id_, each in of_list[:LISTED]
            ]
    return kit.panel(task.task, parts)


def problem_panel(
    crossing: Crossing,
    study: BoundaryStudy,
    evidence: Mapping[str, AnswerEvidence],
    pieces: Mapping[str, TokenPieces],
    neighbours: Sequence[str],
) -> dict[str, Any]:
    """A problem that crossed, with right and wrong answers of both models where they were kept."""
    sure = "luck is ruled out" if crossing.is_certain else "luck is possible"
    parts = [
        kit.text(
            f"{crossing.never} never solved it in {crossing.tried} samples: its rate is below {crossing.upper:.4f}. "
            f"{crossing.solver} solved {crossing.solved} of {crossing.samples}: its rate is above {crossing.lower:.4f}."
            f" At the confidence of all lists together, {sure}."
        )
    ]
    parts.append(kit.table(["", "solved", "rate", "95 % interval"], _rates(crossing, study)))
    prompts = [each.prompts[crossing.key] for each in evidence.values() if crossing.key in each.prompts]
    if prompts:
        parts += [kit.heading("Problem"), kit.pre(shortened(prompts[0]))]
    for model in (crossing.solver, crossing.never):
        of_model = evidence.get(model)
        answers = of_model.shown.get(crossing.key, []) if of_model else []
        if of_model and crossing.key in of_model.votes:
            votes = of_model.votes[crossing.key]
            most = f", {votes.wrong[:60]!r} {votes.common} times as the most common wrong one" if votes.common else ""
            if votes.distinct > 1:
                parts.append(kit.text(f"{model} gave {votes.distinct} different answers{most}.", "soft"))
        parts += [part for each in answers for part in _answer(model, each, pieces.get(model))]
    if not prompts:
        parts.append(kit.text("No answers are kept here for this problem.", "soft"))
    before, after = neighbours
    return kit.panel(crossing.key, parts, before=before, after=after)


def _rates(crossing: Crossing, study: BoundaryStudy) -> list[list[str]]:
    """The solve rate of every model on the problem, with its posterior."""
    rows = []
    for task, keys in study.curves.keys.items():
        if task == ALL_TASKS or crossing.key not in keys:
            continue
        for model in study.models:
            samples, solved = study.curves.problems[task][model][keys.index(crossing.key)]
            rate = posterior(samples, solved)
            rows.append(
                [model, f"{solved} of {samples}", f"{solved / samples:.3f}", f"{rate.low:.3f} to {rate.high:.3f}"]
            )
    return rows


def _answer(model: str, answer: ShownAnswer, pieces: TokenPieces | None) -> list[kit.Part]:
    label = f"{model}, sample {answer.sample}: {answer.length:,} tokens"
    if answer.finish == "length":
        label += ", cut off"
    verdict, tone = _verdict(answer)
    said = [f"{sign} ({detail})" for sign, detail in answer.signs.items()]
    if answer.answer:
        said.insert(0, f"answer: {answer.answer[:200]}")
    if answer.detail and answer.detail != answer.answer:
        said.append(answer.detail[:300])
    below = [kit.text("; ".join(said), "soft")] if said else []
    if pieces is None or not answer.tokens or len(answer.tokens) != len(answer.logprobs):
        return [kit.pre(shortened(answer.text), label, verdict, tone), *below]
    left_out = len(answer.tokens) - HEAD - TAIL
    spans = [slice(None)] if left_out <= 0 else [slice(HEAD), slice(-TAIL, None)]
    shown: list[str] = []
    logprobs: list[float] = []
    for number, span in enumerate(spans):
        if number:
            shown.append(f"\n[… {left_out:,} tokens …]\n")
            logprobs.append(math.nan)
        shown += pieces.of(answer.tokens[span])
        logprobs += answer.logprobs[span]
    return [kit.tokens(shown, logprobs, label, verdict, tone), *below]


def _verdict(answer: ShownAnswer) -> tuple[str, str]:
    if answer.reward is None:
        return "no verdict", ""
    if answer.is_right:
        return "right", "good"
    if answer.relaxed is not None and answer.relaxed >= SOLVED:
        return "right in another form", "bad"
    return ("wrong" if answer.reward == 0 else f"reward {answer.reward:.3g}"), "bad"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"
