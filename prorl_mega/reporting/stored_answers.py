"""A few answers of an evaluation for a page, found among the hundred thousand that its store may have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from prorl_mega.errors import DataError
from prorl_mega.run.sample_store import (
    LONGEST_LINE,
    SAMPLES,
    Count,
    SampleStore,
    StoredSample,
    StoredVerdict,
)

JudgedAnswer = tuple[StoredSample, StoredVerdict | None]


class _Place(msgspec.Struct):
    """All of a line that is read before its answer is wanted: tokens and text of the others are skipped."""

    problem: Count
    sample: Count


def few_answers(
    directory: Path, keys: Collection[str], right: int = 2, wrong: int = 1
) -> dict[str, list[JudgedAnswer]]:
    """Answers by the key of their problem: the first `right` with full marks and the first `wrong` of the others.

    Without verdicts the first ones. Nothing for problems that the store does not have; empty if there is no store.
    """
    try:
        store = SampleStore(directory)
    except DataError:
        return {}
    names = {number: each.key for number, each in enumerate(store.problems()) if each.key in set(keys)}
    verdicts = {(each.problem, each.sample): each for each in store.verdicts() if each.problem in names}
    chosen: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number in names:
        judged = sorted(place for place in verdicts if place[0] == number)
        solved = [place for place in judged if is_right(verdicts[place])]
        missed = [place for place in judged if not is_right(verdicts[place])]
        chosen[number] = [*solved[:right], *missed[: wrong + right - len(solved[:right])]] or [(number, 0), (number, 1)]
    wanted = {place for places in chosen.values() for place in places if store.asks_for(*place)}
    found = {(each.problem, each.sample): each for each in _samples(directory / SAMPLES, wanted)}
    return {
        names[number]: [(found[place], verdicts.get(place)) for place in places if place in found]
        for number, places in chosen.items()
    }


def is_right(verdict: StoredVerdict) -> bool:
    return verdict.reward is not None and verdict.reward >= 1 - 1e-6


def _samples(folder: Path, wanted: set[tuple[int, int]]) -> Iterator[StoredSample]:
    place_of, sample_of = msgspec.json.Decoder(_Place), msgspec.json.Decoder(StoredSample)
    seen: set[tuple[int, int]] = set()
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                try:
                    place = place_of.decode(line)
                    if (key := (place.problem, place.sample)) in wanted - seen:
                        yield sample_of.decode(line)
                        seen.add(key)
                except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                    continue  # damaged, or being written
            if seen == wanted:
                return
