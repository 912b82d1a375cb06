"""Evidence that lies in the answers themselves, from the store of one evaluation: two passes over its lines, first the
verdicts, then the samples. Of all answers only bits and counts stay in memory; texts only of those that are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from prorl_mega.evaluation.derivation import SIGNS, signs_of
from prorl_mega.evaluation.problem_counts import SOLVED
from prorl_mega.run.sample_store import Places, RawSample, SampleStore, StoredProblem, StoredVerdict
from prorl_mega.run.samples import shortened

EXAMPLES = 8  # answers with signs that are kept, per group


class Sampled(NamedTuple):
    """How the right answers to a problem are looked at for signs: those of `group`, at most `limit` of them."""

    group: str
    limit: int


@dataclass(kw_only=True, slots=True)
class Votes:
    """How often the answers to a problem occur."""

    samples: int = 0  # with a verdict
    right: int = 0
    distinct: int = 0  # answers, the right one included
    common: int = 0  # samples with the most common wrong answer
    wrong: str = ""  # that answer


@dataclass(kw_only=True, slots=True)
class SignShares:
    """Signs in right answers. `shares` are means over problems, by sign, and "any" for at least one."""

    problems: int = 0
    answers: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)  # key, sample, signs


@dataclass(kw_only=True, slots=True)
class ShownAnswer:
    """An answer for people to read."""

    sample: int
    text: str
    finish: str
    length: int
    tokens: list[int]
    logprobs: list[float]
    reward: float | None
    relaxed: float | None
    answer: str
    detail: str
    signs: dict[str, str]

    @property
    def is_right(self) -> bool:
        return self.reward is not None and self.reward >= SOLVED


@dataclass(kw_only=True, slots=True)
class AnswerEvidence:
    """The evidence. Keys are those of problems."""

    untruncated: dict[str, tuple[int, int]] = field(default_factory=dict)  # (samples, solved) with a verdict
    unsolved: int = 0  # samples with a verdict
    unsolved_truncated: int = 0
    signs: dict[str, SignShares] = field(default_factory=dict)  # by group
    votes: dict[str, Votes] = field(default_factory=dict)
    shown: dict[str, list[ShownAnswer]] = field(default_factory=dict)  # right ones first
    prompts: dict[str, str] = field(default_factory=dict)  # of those that are shown
    solved: dict[str, int] = field(default_factory=dict)
    damaged: int = 0  # lines that could not be read


def read_answers(
    store: SampleStore, keys: Iterable[str], *, looked_at: Mapping[str, Sampled], voted: set[str], shown: set[str]
) -> AnswerEvidence:
    """Evidence on the problems `keys`: signs in right answers to those `looked_at`, votes on `voted`, answers to read
    of `shown`."""
    wanted = set(keys)
    problems = {}
    for number, problem in enumerate(store.problems()):
        problem.key = shortened(problem.key)  # as it is spelt in the evaluation's file
        if problem.key in wanted:
            problems[number] = problem
    verdicts = _Verdicts(store, problems, looked_at, voted | shown)
    found = AnswerEvidence(votes={key: verdicts.votes(key) for key in voted & verdicts.answers.keys()})
    found.prompts = {each.key: each.prompt for each in problems.values() if each.key in shown}
    tallies: dict[str, dict[str, _Signs]] = {}
    for line in store.samples_as(RawSample):
        if line.problem not in problems:
            continue
        place, key, is_cut = (line.problem, line.sample), problems[line.problem].key, line.is_truncated
        if place in verdicts.judged:
            is_solved = place in verdicts.solved
            found.unsolved += not is_solved
            found.unsolved_truncated += is_cut and not is_solved
            if not is_cut:
                samples, solved = found.untruncated.get(key, (0, 0))
                found.untruncated[key] = (samples + 1, solved + is_solved)
        if place in verdicts.chosen:
            signs = signs_of(line.text_only(), verdicts.chosen[place].answer, is_truncated=is_cut)
            of_group = tallies.setdefault(looked_at[key].group, {})
            of_group.setdefault(key, _Signs()).add(line.sample, signs)
        if key in shown and line.sample in verdicts.to_show[key]:
            found.shown.setdefault(key, []).append(_shown(line, verdicts.answers[key][line.sample]))
    for answers in found.shown.values():
        answers.sort(key=lambda each: (not each.is_right, each.sample))
    found.signs = {group: _shares(of_group) for group, of_group in tallies.items()}
    found.solved = dict(verdicts.counts)
    found.damaged = store.damaged
    return found


class _Verdicts:
    """The first pass: what was judged and solved, and which answers are worth reading."""

    def __init__(
        self,
        store: SampleStore,
        problems: Mapping[int, StoredProblem],
        looked_at: Mapping[str, Sampled],
        kept: set[str],
    ) -> None:
        self.judged, self.solved = Places(), Places()
        self.counts: Counter[str] = Counter()  # of solved samples, by key
        self.answers: dict[str, dict[int, StoredVerdict]] = {}  # by key and sample, of problems that are kept
        self.chosen: dict[tuple[int, int], StoredVerdict] = {}
        candidates: dict[int, dict[int, StoredVerdict]] = {}
        for verdict in store.verdicts():
            problem = problems.get(verdict.problem)
            if problem is None:
                continue
            if problem.key in kept:
                self.answers.setdefault(problem.key, {})[verdict.sample] = verdict
            if verdict.reward is None:
                continue
            self.judged.add(verdict.problem, verdict.sample)
            if verdict.reward >= SOLVED:
                self.solved.add(verdict.problem, verdict.sample)
                self.counts[problem.key] += 1
                if problem.key in looked_at:
                    _keep_lowest(
                        candidates.setdefault(verdict.problem, {}), verdict, limit=looked_at[problem.key].limit
                    )
        self.chosen = {(number, sample): each for number, of in candidates.items() for sample, each in of.items()}
        self.to_show = {key: _readable(verdicts) for key, verdicts in self.answers.items()}

    def votes(self, key: str) -> Votes:
        verdicts = [each for each in self.answers[key].values() if each.reward is not None]
        right = {each.answer for each in verdicts if (each.reward or 0) >= SOLVED}
        wrong = Counter(each.answer for each in verdicts if each.answer and each.answer not in right)
        answer, common = wrong.most_common(1)[0] if wrong else ("", 0)
        solved = sum((each.reward or 0) >= SOLVED for each in verdicts)
        return Votes(
            samples=len(verdicts), right=solved, distinct=len(wrong) + bool(right), common=common, wrong=answer
        )


class _Signs:
    """The signs in right answers to one problem."""

    def __init__(self) -> None:
        self.answers = 0
        self.counts: Counter[str] = Counter()
        self.examples: list[tuple[int, dict[str, str]]] = []

    def add(self, sample: int, signs: dict[str, str]) -> None:
        self.answers += 1
        self.counts.update([*signs, *(["any"] if signs else [])])
        if signs and len(self.examples) < EXAMPLES:
            self.examples.append((sample, signs))


def _shares(of_problems: dict[str, _Signs]) -> SignShares:
    tallies = list(of_problems.values())
    examples = [
        {"key": key, "sample": sample, "signs": signs}
        for turn in range(EXAMPLES)
        for key, each in of_problems.items()
        for sample, signs in sorted(each.examples, key=lambda example: example[0])[turn : turn + 1]
    ]
    return SignShares(
        problems=len(tallies),
        answers=sum(each.answers for each in tallies),
        shares={
            sign: sum(each.counts[sign] / each.answers for each in tallies) / len(tallies) for sign in (*SIGNS, "any")
        },
        examples=examples[:EXAMPLES],
    )


def _keep_lowest(kept: dict[int, StoredVerdict], verdict: StoredVerdict, *, limit: int) -> None:
    """Those with the lowest numbers, not those that ended first, which are the short ones."""
    kept[verdict.sample] = verdict
    if len(kept) > limit:
        del kept[max(kept)]


def _readable(verdicts: dict[int, StoredVerdict], each_kind: int = 2) -> set[int]:
    """The samples of a problem that are shown: the first right and the first wrong ones, also the nearly right."""
    ordered = [verdicts[sample] for sample in sorted(verdicts)]
    right = [each.sample for each in ordered if (each.reward or 0) >= SOLVED]
    wrong = [each for each in ordered if (each.reward or 0) < SOLVED]
    wrong.sort(key=lambda each: (-(each.relaxed or each.reward or 0), each.sample))
    return {*islice(right, each_kind), *(each.sample for each in islice(wrong, each_kind))}


def _shown(line: RawSample, verdict: StoredVerdict) -> ShownAnswer:
    text, tokens, logprobs = line.whole()
    return ShownAnswer(
        sample=line.sample,
        text=text,
        finish=line.finish,
        length=line.length,
        tokens=tokens,
        logprobs=logprobs,
        reward=verdict.reward,
        relaxed=verdict.relaxed,
        answer=verdict.answer,
        detail=verdict.detail,
        signs=signs_of(text, verdict.answer, is_truncated=line.is_truncated),
    )
