"""Answers for people to read: their text with the runs that the corpus has, and where it has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from prorl_mega.evaluation.creativity.comparison import ScoredEvaluation
from prorl_mega.evaluation.creativity.index import CorpusIndex, Occurrence
from prorl_mega.evaluation.creativity.score import CreativityScore, own_words, prompt_words
from prorl_mega.evaluation.creativity.uniqueness import Run, coverage, runs
from prorl_mega.evaluation.creativity.words import PlacedWords, placed_words
from prorl_mega.run.sample_store import SampleStore

MOST_WORDS = 1500  # of an answer that are shown
MOST_PLACES = 5  # of a run
MOST_ANSWERS = 36  # of an evaluation
RANKS = ("lowest", "median", "highest")
_NO_RUN = -1


class CopiedRun(NamedTuple):
    """A run of words that the corpus has."""

    words: int
    times: int  # that the corpus has it
    places: list[Occurrence]


class Piece(NamedTuple):
    """A part of an answer's text whose words have all the same said about them."""

    text: str
    level: int  # of 0 … 8, how many L cover it
    run: int  # number of the longest run that it is in; −1: none
    is_quoted: bool  # the prompt has it; it does not count


class Excerpt(NamedTuple):
    """An answer, shown."""

    evaluation: str
    task: str
    key: str
    rank: str  # one of RANKS, of its task
    verdict: str  # "right", "wrong" or ""
    score: CreativityScore
    pieces: list[Piece]
    runs: list[CopiedRun]
    is_whole: bool  # False: it goes on after MOST_WORDS


def choose(scored: ScoredEvaluation) -> dict[tuple[int, int], str]:
    """The answers to show, (problem, sample), with their rank: of every task those at the ends and in the middle."""
    tasks: dict[str, list[int]] = {}
    for place in np.argsort(scored.index, kind="stable").tolist():
        tasks.setdefault(scored.problems[scored.scores[place].problem].task, []).append(place)
    found: dict[tuple[int, int], str] = {}
    for _, places in sorted(tasks.items()):
        for rank, place in zip(RANKS, (places[0], places[len(places) // 2], places[-1]), strict=True):
            score = scored.scores[place]
            if len(found) < MOST_ANSWERS:
                found.setdefault((score.problem, score.sample), rank)
    return found


def excerpts(scored: ScoredEvaluation, store: SampleStore, index: CorpusIndex, *, keep_prompt: bool) -> list[Excerpt]:
    """The chosen answers of an evaluation, by task and rank."""
    chosen = choose(scored)
    number = {(score.problem, score.sample): place for place, score in enumerate(scored.scores)}
    found = []
    for sample in store.samples():
        at = (sample.problem, sample.sample)
        if at not in chosen:
            continue
        problem, place = scored.problems[sample.problem], number[at]
        verdict = "right" if scored.is_right[place] else "wrong" if scored.is_wrong[place] else ""
        prompt = [] if keep_prompt else prompt_words(problem, index.manifest.tokenisation)
        pieces, copied, is_whole = shown(sample.text, prompt, index)
        found.append(
            Excerpt(scored.label, problem.task, problem.key, chosen[at], verdict, scored.scores[place], pieces, copied,
                    is_whole)
        )  # fmt: skip
    return sorted(found, key=lambda each: (each.task, RANKS.index(each.rank)))


def shown(text: str, prompt: list[str], index: CorpusIndex) -> tuple[list[Piece], list[CopiedRun], bool]:
    """The pieces of a text, the runs in it, and whether all of it is shown."""
    placed = placed_words(text, index.manifest.tokenisation)
    words, _ = own_words(placed.words, prompt)
    lengths = index.longest([*words, None])[:-1]
    found = [run for run in runs(lengths) if run.start < MOST_WORDS]
    copied = []
    for run in found:
        count, places = index.occurrences(placed.words[run.start : run.end], MOST_PLACES)
        copied.append(CopiedRun(run.end - run.start, count, places))
    kinds = _kinds(words, found, coverage(lengths))
    return list(_pieces(placed, kinds[:MOST_WORDS])), copied, len(words) <= MOST_WORDS


def _kinds(words: list[str | None], found: list[Run], covered: np.ndarray) -> list[tuple[int, int, bool]]:
    """Level, longest run and whether it is quoted, of each word."""
    longest = np.full(len(words), _NO_RUN)
    for number in sorted(range(len(found)), key=lambda each: found[each].end - found[each].start):
        longest[found[number].start : found[number].end] = number  # the longest comes last
    return [
        (int(level), int(run), word is None) for word, level, run in zip(words, covered, longest.tolist(), strict=True)
    ]


def _pieces(placed: PlacedWords, kinds: list[tuple[int, int, bool]]) -> Iterable[Piece]:
    """Pieces that follow one another without gaps; blanks between words of one kind belong to it."""
    end, place = 0, 0
    while place < len(kinds):
        last = place
        while last + 1 < len(kinds) and kinds[last + 1] == kinds[place]:
            last += 1
        start = placed.spans[place][0]
        if start > end:
            yield Piece(placed.text[end:start], 0, _NO_RUN, False)
        end = placed.spans[last][1]
        yield Piece(placed.text[start:end], *kinds[place])
        place = last + 1
