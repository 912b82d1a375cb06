"""The Creativity Index of every answer of an evaluation, kept as lines of `creativity.jsonl`.

Words that an answer quotes from its own prompt (runs of 5 or more, `uniqueness.quoted`) are no words of its own: unless
`keep_prompt`, they are left out of both sides of the share, and no match goes over the gap. Without this an answer that
restates a problem which the corpus has would look copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec
import numpy as np
from blake3 import blake3

from prorl_mega.errors import DataError
from prorl_mega.evaluation.creativity.index import CorpusIndex
from prorl_mega.evaluation.creativity.uniqueness import LONGEST, RANGE, coverage, quoted, uniqueness
from prorl_mega.evaluation.creativity.words import words_of
from prorl_mega.run.sample_store import PROBLEMS, SampleStore, StoredProblem, StoredSample

VERSION = 1  # of what a score means
BATCH = 1 << 20  # words that are looked up at a time
EMPTY, SHORT = "empty", "short"  # why an answer has no index: no words; fewer than 12 of its own

Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class CreativityScore(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One answer."""

    of: str  # identity of the evaluation, the index and the way of counting: `scoring_identity`
    evaluation: str  # label, for people
    problem: Count
    sample: Count
    digest: str  # of the answer: one that was sampled anew is scored anew
    words: Count
    quoted: Count = 0  # words that are left out because the prompt has them
    index: float | None = None  # 0 … 8; None: left out
    uniqueness: list[float] = []  # for L = 5 … 12
    longest: Count = 0  # words of the longest run that the corpus has
    left_out: str = ""  # why

    @property
    def own(self) -> int:
        """Words that count."""
        return self.words - self.quoted


class _Text(msgspec.Struct):
    sample: StoredSample
    words: list[str | None]  # None: quoted
    quoted: int


def scoring_identity(store: SampleStore, index: CorpusIndex, *, keep_prompt: bool) -> str:
    """A hash of what scores depend on, but for the answers: 16 hexadecimal digits."""
    content = [VERSION, store.header.identity, store.header.policy, index.manifest.identity, list(RANGE), keep_prompt]
    return blake3(msgspec.json.encode(content)).hexdigest()[:16]


def score_store(
    store: SampleStore,
    index: CorpusIndex,
    *,
    label: str,
    keep_prompt: bool = False,
    known: Mapping[tuple[int, int], CreativityScore] = MappingProxyType({}),
    batch: int | None = None,
) -> Iterator[list[CreativityScore]]:
    """The scores of all answers, in parts of about `batch` words (BATCH).

    `known` scores, by (problem, sample), of answers that are still the same are yielded as they are. Raises
    DataError where the problems of the store are damaged.
    """
    identity = scoring_identity(store, index, keep_prompt=keep_prompt)
    problems, kind = _problems(store), index.manifest.tokenisation
    prompts: dict[int, list[str]] = {}
    waiting: list[_Text] = []
    found: list[CreativityScore] = []
    size = 0
    for sample in store.samples():
        if sample.problem >= len(problems):
            continue
        earlier = known.get((sample.problem, sample.sample))
        if earlier is not None and earlier.digest == _digest(sample.text):
            found.append(earlier)
            continue
        if not keep_prompt and sample.problem not in prompts:
            prompts = {sample.problem: prompt_words(problems[sample.problem], kind)}  # the next is mostly of the same
        waiting.append(_read(sample, prompts.get(sample.problem, []), kind))
        size += len(waiting[-1].words)
        if size >= (batch or BATCH):
            yield found + _scores(waiting, index, identity, label)
            waiting, found, size = [], [], 0
    yield found + (_scores(waiting, index, identity, label) if waiting else [])


def _problems(store: SampleStore) -> list[StoredProblem]:
    before = store.damaged
    problems = store.problems()
    if store.damaged > before:
        raise DataError(
            f"{store.directory / PROBLEMS}: has damaged lines, so it is not known which problem an answer is to; "
            "evaluate again"
        )
    return problems


def prompt_words(problem: StoredProblem, tokenisation: str) -> list[str]:
    """The words that an answer may have quoted: the system prompt, then the prompt."""
    return [*words_of(problem.system, tokenisation), *words_of(problem.prompt, tokenisation)]


def own_words(words: list[str], prompt: list[str]) -> tuple[list[str | None], int]:
    """The words with None for each that is quoted, and how many these are."""
    gaps = quoted(words, prompt)
    count = int(gaps.sum())
    return ([None if gap else word for word, gap in zip(words, gaps, strict=True)] if count else list(words)), count


def _read(sample: StoredSample, prompt: list[str], tokenisation: str) -> _Text:
    words, count = own_words(words_of(sample.text, tokenisation), prompt)
    return _Text(sample, words, count)


def _digest(text: str) -> str:
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _scores(texts: list[_Text], index: CorpusIndex, identity: str, label: str) -> list[CreativityScore]:
    lengths = index.longest([word for text in texts for word in (*text.words, None)])
    found, end = [], 0
    for text in texts:
        start, end = end, end + len(text.words) + 1
        own = np.fromiter((word is not None for word in text.words), bool)
        score = CreativityScore(
            of=identity, evaluation=label, problem=text.sample.problem, sample=text.sample.sample,
            digest=_digest(text.sample.text), words=len(text.words), quoted=text.quoted,
        )  # fmt: skip
        if score.own < LONGEST:
            score.left_out = EMPTY if not text.words else SHORT
        else:
            here = lengths[start : end - 1]
            unique = uniqueness(coverage(here)[own])
            score.uniqueness = [round(float(each), 6) for each in unique]
            score.index, score.longest = round(float(unique.sum()), 6), int(here.max())
        found.append(score)
    return found
