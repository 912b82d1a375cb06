"""The Creativity Index of several evaluations side by side: over all, by domain and by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np

from prorl_mega.evaluation.creativity.equal_lengths import Measured, at_equal_lengths
from prorl_mega.evaluation.creativity.score import CreativityScore
from prorl_mega.evaluation.creativity.uniqueness import RANGE
from prorl_mega.evaluation.pass_at_k import Estimate, bootstrap
from prorl_mega.evaluation.problem_counts import SOLVED
from prorl_mega.run.sample_store import SampleStore, StoredProblem

ALL = "all tasks"
DOMAINS = {
    "arithmetic": "math", "mathematics": "math", "program": "code", "stem": "STEM", "gym": "logic", "puzzle": "logic",
    "ifeval": "instruction following", "generated_instructions": "instruction following",
}  # fmt: skip
"""The domains of ProRL's figure 3 by registered task."""

Chosen = Callable[[str, str], bool]
"""Whether a problem of this domain and task belongs to a group."""


class MeanIndex(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The mean over problems of the mean index of their answers, with the ends of its 95 % interval."""

    answers: int
    mean: float | None = None  # None: no answers
    low: float | None = None
    high: float | None = None
    at_equal_lengths: list[float] | None = None  # mean, low, high; the others of the comparison have the same lengths


class CreativityRow(msgspec.Struct, kw_only=True):
    """An evaluation in a group of problems."""

    evaluation: str
    problems: int
    index: MeanIndex  # at equal lengths: with the other evaluations of the group
    difference: list[float] | None  # to the first evaluation, over the problems of both: mean, low, high
    right: MeanIndex  # at equal lengths: with the wrong ones of the same evaluation
    wrong: MeanIndex
    uniqueness: list[float]  # for L = 5 … 12, mean over problems
    words: float  # per answer, those that count
    quoted: float  # share of all words that were left out as quoted from the prompt
    longest: float  # words of the longest copied run, mean
    left_out: dict[str, int]  # answers without an index, by reason


class CreativityGroup(msgspec.Struct, kw_only=True):
    """Problems of one kind."""

    name: str
    kind: str  # "all", "domain" or "task"
    rows: list[CreativityRow]
    compared: float | None  # share of the answers whose class of length all evaluations have


class ScoredEvaluation:
    """The scores of one evaluation, in arrays; N answers that have an index, of P problems."""

    def __init__(self, label: str, store: SampleStore, scores: Iterable[CreativityScore]) -> None:
        self.label = label
        self.about = {
            "label": label,
            "answers": str(store.directory),
            "policy": store.header.policy,
            "step": store.header.step,
            "settings": store.header.settings,
        }
        self.problems: list[StoredProblem] = store.problems()
        mixture = store.header.config.get("tasks", {})
        self.domains = [domain_of(each.task, mixture) for each in self.problems]
        verdicts = {(each.problem, each.sample): each.reward for each in store.verdicts() if each.reward is not None}
        kept = [each for each in scores if each.problem < len(self.problems)]
        self.left_out = [each for each in kept if each.index is None]
        self.scores = [each for each in kept if each.index is not None]
        self.problem = np.asarray([each.problem for each in self.scores], np.int64)  # [N]
        self.index = np.asarray([each.index for each in self.scores], np.float64)  # [N]
        self.own = np.asarray([each.own for each in self.scores], np.int64)  # [N]
        self.words = np.asarray([each.words for each in self.scores], np.int64)  # [N]
        self.longest = np.asarray([each.longest for each in self.scores], np.int64)  # [N]
        self.unique = np.asarray([each.uniqueness for each in self.scores], np.float64).reshape(-1, len(RANGE))
        rewards = [verdicts.get((each.problem, each.sample)) for each in self.scores]
        self.damaged = store.damaged
        self.is_right = np.asarray([each is not None and each >= SOLVED for each in rewards], bool)
        self.is_wrong = np.asarray([each is not None and each < SOLVED for each in rewards], bool)

    def members(self, chosen: Chosen) -> np.ndarray:
        """Whether each problem belongs to a group: [P] bool."""
        places = zip(self.domains, self.problems, strict=True)
        return np.asarray([chosen(domain, problem.task) for domain, problem in places], bool)

    def measured(self, chosen: np.ndarray) -> Measured:
        return Measured(self.problem[chosen], self.own[chosen], self.index[chosen])

    def by_problem(self, values: np.ndarray, chosen: np.ndarray) -> dict[str, float]:
        """The mean value of the chosen answers of each problem that has some, by its task and key."""
        if not chosen.any():
            return {}
        count = np.bincount(self.problem[chosen], minlength=len(self.problems))
        total = np.bincount(self.problem[chosen], values[chosen], minlength=len(self.problems))
        return {
            f"{self.problems[number].task}\0{self.problems[number].key}": float(total[number] / count[number])
            for number in np.flatnonzero(count).tolist()
        }


def domain_of(task: str, settings: Any) -> str:
    """The domain of a task by the settings of its evaluation, `tasks` of a RunConfig as plain values; "" if unknown."""
    mixture = settings.get("mixture", {}) if isinstance(settings, dict) else {}
    entry = mixture.get(task, {}) if isinstance(mixture, dict) else {}
    registered = entry.get("name", task) if isinstance(entry, dict) else task
    return DOMAINS.get(str(registered), "")


def compare_creativity(evaluations: list[ScoredEvaluation]) -> list[CreativityGroup]:
    """All tasks together, then the domains, then the tasks; groups with one task alone are not repeated."""
    pairs = {(each.domains[i], p.task) for each in evaluations for i, p in enumerate(each.problems)}
    tasks = sorted({task for _, task in pairs})
    domains = sorted({domain for domain, _ in pairs if domain})
    groups = [_group(ALL, "all", evaluations, lambda *_: True)] if len(tasks) != 1 else []
    if len(tasks) > len(domains) > 1:
        groups += [_group(name, "domain", evaluations, _has(name, 0)) for name in domains]
    groups += [_group(name, "task", evaluations, _has(name, 1)) for name in tasks]
    return groups


def _has(name: str, place: int) -> Chosen:
    return lambda *kinds: kinds[place] == name


def _group(name: str, kind: str, evaluations: list[ScoredEvaluation], chosen: Chosen) -> CreativityGroup:
    members = [each.members(chosen) for each in evaluations]
    answers = [among[each.problem] for among, each in zip(members, evaluations, strict=True)]
    filled = [place for place, each in enumerate(answers) if each.any()]
    compared = None
    equal: dict[int, Estimate] = {}
    if len(filled) > 1:
        found = at_equal_lengths([evaluations[place].measured(answers[place]) for place in filled])
        compared = found.share if found else 0.0
        equal = dict(zip(filled, found.means, strict=True)) if found else {}
    first = evaluations[0].by_problem(evaluations[0].index, answers[0])
    rows = []
    for place, each in enumerate(evaluations):
        row = _row(each, members[place], answers[place])
        if place in equal:
            row.index.at_equal_lengths = _plain(equal[place])
        if place:
            own = each.by_problem(each.index, answers[place])
            gains = [own[key] - first[key] for key in own if key in first]
            row.difference = _plain(bootstrap(gains)) if gains else None
        rows.append(row)
    return CreativityGroup(name=name, kind=kind, rows=rows, compared=compared)


def _row(each: ScoredEvaluation, members: np.ndarray, answers: np.ndarray) -> CreativityRow:
    right, wrong = answers & each.is_right, answers & each.is_wrong
    ours, theirs = _mean_index(each, right), _mean_index(each, wrong)
    if right.any() and wrong.any() and (found := at_equal_lengths([each.measured(right), each.measured(wrong)])):
        ours.at_equal_lengths, theirs.at_equal_lengths = map(_plain, found.means)
    words, own = int(each.words[answers].sum()), int(each.own[answers].sum())
    return CreativityRow(
        evaluation=each.label,
        problems=len(np.unique(each.problem[answers])),
        index=_mean_index(each, answers),
        difference=None,
        right=ours,
        wrong=theirs,
        uniqueness=[_problem_mean(each, column, answers) for column in each.unique.T],
        words=_mean(each.own[answers]),
        quoted=1 - own / words if words else 0.0,
        longest=_mean(each.longest[answers]),
        left_out=dict(Counter(score.left_out for score in each.left_out if members[score.problem])),
    )


def _mean_index(each: ScoredEvaluation, chosen: np.ndarray) -> MeanIndex:
    values = list(each.by_problem(each.index, chosen).values())
    if not values:
        return MeanIndex(answers=0)
    mean, low, high = bootstrap(values)
    return MeanIndex(answers=int(chosen.sum()), mean=mean, low=low, high=high)


def _problem_mean(each: ScoredEvaluation, values: np.ndarray, chosen: np.ndarray) -> float:
    return _mean(np.asarray(list(each.by_problem(values, chosen).values())))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _plain(estimate: Estimate) -> list[float]:
    return [estimate.mean, estimate.low, estimate.high]
