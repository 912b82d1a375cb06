"""Every reader of an evaluation counts the answers that were asked for last, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import corpora
from helpers.stores import header, sample, write_store

from prorl_mega.evaluation.answer_evidence import Sampled, read_answers
from prorl_mega.evaluation.creativity.score import score_store
from prorl_mega.evaluation.store_summary import count_answers
from prorl_mega.evaluation.verdict_changes import changes
from prorl_mega.reporting.stored_answers import few_answers
from prorl_mega.run.sample_store import VERDICTS, RawSample, SampleStore, StoredProblem, StoredVerdict

KEYS = ["a", "b", "c"]
PLACES = [(problem, number) for problem in range(3) for number in range(4)]
ASKED = [(0, 0), (0, 1), (2, 0), (2, 1)]  # two samples of a and c, after an evaluation with four of all three
NEW = "n1 n2 n3 n4 n5 n6 n7 n8 n9 n10 n11 n12"

Places = list[tuple[int, int]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    problems = [StoredProblem(key=key, task="t", prompt="?") for key in KEYS]
    samples = [sample(*place, f"{place[0]}.{place[1]} {NEW}") for place in PLACES]
    verdicts = [StoredVerdict(problem=problem, sample=number, reward=1.0) for problem, number in PLACES]
    return write_store(tmp_path / "policy", problems, samples, verdicts, header(samples=2, asked=[0, 2]))


def _of(lines: object) -> Places:
    return [(each.problem, each.sample) for each in lines]  # type: ignore[attr-defined]


def _without_verdicts(store: SampleStore) -> SampleStore:
    (store.directory / VERDICTS / "0.jsonl").unlink()
    return store


def _places_of(texts: list[str]) -> Places:
    return [(int(text[0]), int(text[2])) for text in texts]


def _shown(store: SampleStore) -> Places:
    found = few_answers(store.directory, KEYS, right=9)
    return _places_of([each.text for answers in found.values() for each, _ in answers])


def _evidence(store: SampleStore) -> Places:
    looked_at = {key: Sampled("all", 9) for key in KEYS}
    found = read_answers(store, KEYS, looked_at=looked_at, voted=set(KEYS), shown=set(KEYS))
    assert found.untruncated == {"a": (2, 2), "c": (2, 2)}
    assert found.solved == {"a": 2, "c": 2}
    assert {key: votes.samples for key, votes in found.votes.items()} == {"a": 2, "c": 2}
    assert found.signs["all"].answers == len(ASKED)
    return _places_of([each.text for key in KEYS for each in found.shown.get(key, [])])


def _counted(store: SampleStore) -> Places:
    counts = count_answers(store)
    assert [(each.answers, each.samples, each.solved) for each in counts] == [(2, 2, 2)] * 2
    return [(KEYS.index(each.key), number) for each in counts for number in range(each.answers)]


def _changed(store: SampleStore) -> Places:
    counts = changes(store, VERDICTS, VERDICTS)["t"].counts
    return ASKED if counts.total() == len(ASKED) else []


def _creative(store: SampleStore) -> Places:
    index = corpora.build(store.directory.parent / "index", ["words of a corpus"])
    return [place for part in score_store(store, index, label="x") for place in _of(part)]


READERS: dict[str, Callable[[SampleStore], Places]] = {
    "samples": lambda store: _of(store.samples()),
    "samples in part": lambda store: _of(store.samples_as(RawSample)),
    "texts": lambda store: _of(store.texts()),
    "verdicts": lambda store: _of(store.verdicts()),
    "judged": lambda store: _of(each for each, _ in store.judged()),
    "unjudged": lambda store: _of(_without_verdicts(store).unjudged()),
    "summary": _counted,
    "boundary": _evidence,
    "pages": _shown,
    "pages without verdicts": lambda store: _shown(_without_verdicts(store)),
    "other verdicts": _changed,
    "creativity": _creative,
}


@pytest.mark.parametrize("reader", READERS)
def test_answers_that_were_not_asked_for_are_not_read(folder: Path, reader: str) -> None:
    store = SampleStore(folder)
    assert READERS[reader](store) == ASKED
    assert store.wanted() == len(ASKED)


def test_who_keeps_answers_sees_all_of_them(folder: Path) -> None:
    assert _of(SampleStore(folder, everything=True).samples()) == PLACES
    assert len(SampleStore(folder).done()) == len(SampleStore(folder).rewarded(VERDICTS)) == len(PLACES)
