"""From never to reliably: problems that the base did not solve once and a later model solves nearly always.

A gain of pass@k can be many problems that a model solves now and then. Here a problem counts that the base solved in
none of its samples and a later model in the share `reliably` of its own. Every bound is exact (Clopper-Pearson), and
corrected (Bonferroni) for all problems, models and both sides, so that all of them hold at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prorl_mega.evaluation.comparison import ALL_TASKS, Record
from prorl_mega.evaluation.pass_curves import PassCurves
from prorl_mega.evaluation.solve_rate import at_least, at_most

RELIABLY = 0.9


@dataclass(kw_only=True, slots=True, frozen=True)
class Mastery:
    """One task and one later model. Where no problem is mastered the bounds are 1 and 0."""

    task: str
    model: str
    problems: int
    never: int  # problems that the base never solved
    tried: int  # fewest samples of the base on one of these
    mastered: int  # of these: solved by the model in the share `reliably` of its samples
    upper: float  # of the mastered: the largest upper bound of the base's rate
    lower: float  # and the smallest lower bound of the model's
    in_any_form: int | None  # mastered problems that the base solved in another form; None: nobody looked
    further_problems: int  # mastered problems on which the base was given further samples
    further_samples: int  # of each, the fewest
    further_never: int  # of these: still not solved once
    further_upper: float  # the largest upper bound of the base's rate on them, all its samples together


@dataclass(kw_only=True, slots=True)
class _Base:
    """Records of the base by key, and those of its further samples."""

    records: Mapping[str, Record] = field(default_factory=dict)
    further: Mapping[str, Record] = field(default_factory=dict)


def mastered(
    curves: PassCurves,
    base: Sequence[Record] = (),
    further: Sequence[Record] = (),
    *,
    reliably: float = RELIABLY,
    confidence: float = 0.95,
) -> list[Mastery]:
    """A row for every task and later model, in the order of the models; none for a table of means.

    `base` are the base's records, asked for answers in another form; `further` those of another evaluation of the same
    model with other seeds, on some of the problems.
    """
    single = [task for task in curves.problems if task != ALL_TASKS]
    tasks = [*single, *([ALL_TASKS] if ALL_TASKS in curves.problems else [])]
    looked_at = sum(len(curves.keys[task]) for task in single)
    later = curves.models[1:]
    error = (1 - confidence) / (2 * max(1, looked_at * len(later)))
    known = _Base(records=_by_key(base), further=_by_key(further))
    return [_mastery(curves, task, model, known, reliably, error) for task in tasks for model in later]


def _by_key(records: Sequence[Record]) -> dict[str, Record]:
    return {str(each["key"]): each for each in records}


def _mastery(curves: PassCurves, task: str, model: str, known: _Base, reliably: float, error: float) -> Mastery:
    first, second = (curves.problems[task][each] for each in (curves.models[0], model))
    rows = list(zip(curves.keys[task], first, second, strict=True))
    never = [row for row in rows if row[1][1] == 0]
    reached = [row for row in never if row[2][1] >= reliably * row[2][0]]
    again = [(key, tried, known.further[key]) for key, (tried, _), _ in reached if key in known.further]
    still = [(tried + int(each["samples"])) for _, tried, each in again if int(each["solved"]) == 0]
    relaxed = [known.records[key].get("relaxed") for key, _, _ in reached if key in known.records]
    return Mastery(
        task=task,
        model=model,
        problems=len(rows),
        never=len(never),
        tried=min((tried for _, (tried, _), _ in never), default=0),
        mastered=len(reached),
        upper=max((at_most(tried, 0, error) for _, (tried, _), _ in reached), default=1.0),
        lower=min((at_least(samples, solved, error) for _, _, (samples, solved) in reached), default=0.0),
        in_any_form=sum(bool(each) for each in relaxed) if any(each is not None for each in relaxed) else None,
        further_problems=len(again),
        further_samples=min((int(each["samples"]) for _, _, each in again), default=0),
        further_never=len(still),
        further_upper=max((at_most(samples, 0, error) for samples in still), default=1.0),
    )
