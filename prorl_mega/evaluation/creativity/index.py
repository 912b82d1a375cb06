"""An index of a corpus, for asking: the longest matches of texts, and where in the corpus they stand.

Its arrays stay on the disk and are mapped into memory; of them, a search touches what it needs. An index is a file that
somebody may have changed: its parts are compared with their checksums, and numbers that would lead out of an array are
refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prorl_mega.errors import DataError
from prorl_mega.evaluation.creativity import matching
from prorl_mega.evaluation.creativity.manifest import (
    PLACES,
    SUFFIXES,
    VOCABULARY,
    WORDS,
    IndexedShard,
    IndexManifest,
    read_manifest,
)
from prorl_mega.run.storage import content_hash

HELD = 8  # shards whose vocabularies stay in memory, a hundred megabytes each
CONTEXT = 12  # words on either side of an occurrence
_SLICE = 1 << 15  # words that a thread looks up at a time
_PART = 1 << 22  # words that are counted at a time


class Occurrence(NamedTuple):
    """A place of the corpus that holds a run of words."""

    file: str
    line: int  # on which the run begins; for a row of a table its number
    before: str
    text: str
    after: str


class CorpusIndex:
    """All shards of an index. Raises DataError for one that is damaged, of another version, or none."""

    def __init__(self, directory: Path) -> None:
        self.manifest: IndexManifest = read_manifest(directory)
        names = [each.name for each in self.manifest.files]
        self._shards = [_Shard(directory / each.name, each, names) for each in self.manifest.shards]
        self._threads = len(os.sched_getaffinity(0))

    def longest(self, words: Sequence[str | None]) -> np.ndarray:
        """The number of words from each word on that stand together in the corpus: [W] int32.

        None ends a text, or a part of one: no match goes over it.
        """
        numbers: dict[str, int] = {}
        text = np.fromiter((-1 if each is None else numbers.setdefault(each, len(numbers)) for each in words), np.int32)
        lengths = np.zeros(len(text), np.int32)
        unique = list(numbers)
        for shard in self._shards:
            shard.match(unique, text, lengths, self._threads)
            if len(self._shards) > HELD:
                shard.forget()
        return lengths

    def occurrences(self, run: Sequence[str], most: int) -> tuple[int, list[Occurrence]]:
        """How often a run of words stands in the corpus, and `most` of the places."""
        total = 0
        found: list[Occurrence] = []
        for shard in self._shards:
            count, places = shard.occurrences(run, most - len(found))
            total += count
            found += places
        return total, found


class _Shard:
    def __init__(self, folder: Path, about: IndexedShard, files: list[str]) -> None:
        self._folder, self._files = folder, files
        for part, digest in about.digests.items():
            try:
                is_whole = content_hash(folder / part) == digest
            except OSError as error:
                raise self._damaged(part, error.strerror or str(error)) from None
            if not is_whole:
                raise self._damaged(part, "its content is not what was written")
        self._ids, self._suffixes, self._places = (self._array(part) for part in (WORDS, SUFFIXES, PLACES))
        if self._places.ndim != 2 or self._places.shape[1] != 3 or self._ids.ndim != 1 or self._suffixes.ndim != 1:
            raise self._damaged(PLACES, "of another shape")
        if not len(self._ids):
            raise self._damaged(WORDS, "no words")
        for array, end in (
            (self._suffixes, len(self._ids)),
            (self._ids, len(self._ids) + 1),
            (self._places[:, 0], len(self._ids)),
            (self._places[:, 1], len(files)),
        ):
            if len(array) and not 0 <= array.min() <= array.max() < end:
                raise self._damaged(SUFFIXES, "a number leads out of the shard")
        ends = np.zeros(int(self._ids.max()) + 1, np.int64)
        for start in range(0, len(self._ids), _PART):  # which takes eight bytes per word
            ends += np.bincount(self._ids[start : start + _PART], minlength=len(ends))
        ends[matching.BORDER] = 0
        self._firsts = np.concatenate([[0], np.cumsum(ends)]).astype(np.int64)
        if self._firsts[-1] != len(self._suffixes):
            raise self._damaged(SUFFIXES, "has not every word of the shard")

    def _array(self, part: str) -> np.ndarray:
        try:
            array = np.load(self._folder / part, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise self._damaged(part, str(error)) from None
        if array.dtype != np.int32:
            raise self._damaged(part, f"of {array.dtype}")
        return np.asarray(array)

    def _damaged(self, part: str, why: str) -> DataError:
        return DataError(f"{self._folder / part}: damaged ({why}); build the index again")

    @cached_property
    def _names(self) -> list[str]:
        names = (self._folder / VOCABULARY).read_text(encoding="utf-8").split("\n")
        if len(names) + 2 != len(self._firsts):
            raise self._damaged(VOCABULARY, "has another number of words")
        return names

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._names, start=1)}

    def forget(self) -> None:
        """Give the memory of the vocabulary back until it is needed again."""
        self.__dict__.pop("_names", None)
        self.__dict__.pop("_numbers", None)

    def match(self, unique: list[str], text: np.ndarray, lengths: np.ndarray, threads: int) -> None:
        """Raise `lengths` [W] to the longest matches; `text` [W] are places in `unique`, −1 for an end."""
        known = np.fromiter((self._numbers.get(word, matching.UNKNOWN) for word in [*unique, ""]), np.int32)
        here = known[text]  # −1 is the last, which no vocabulary has
        tasks = [slice(start, start + _SLICE) for start in range(0, len(text), _SLICE)]

        def look_up(part: slice) -> None:
            matching.match(self._ids, self._suffixes, self._firsts, here, part.start, lengths[part])

        with ThreadPoolExecutor(max(1, min(threads, len(tasks)))) as pool:
            for _ in pool.map(look_up, tasks):
                pass

    def occurrences(self, run: Sequence[str], most: int) -> tuple[int, list[Occurrence]]:
        """How often a run of words stands in this shard, and `most` of the places, those that come first."""
        pattern = np.fromiter((self._numbers.get(word, matching.UNKNOWN) for word in run), np.int32)
        first, last = matching.occurrences(self._ids, self._suffixes, self._firsts, pattern)
        found = np.sort(self._suffixes[first:last])[: max(0, most)]
        return int(last - first), [self._occurrence(int(position), len(run)) for position in found]

    def _occurrence(self, start: int, length: int) -> Occurrence:
        row = int(np.searchsorted(self._places[:, 0], start, side="right")) - 1
        _, file, line = (int(each) for each in self._places[row])
        borders = np.flatnonzero(self._ids[max(0, start - CONTEXT) : start] == matching.BORDER)
        begin = max(0, start - CONTEXT) + (int(borders[-1]) + 1 if len(borders) else 0)
        after = self._ids[start + length : start + length + CONTEXT]
        borders = np.flatnonzero(after == matching.BORDER)
        end = start + length + (int(borders[0]) if len(borders) else len(after))
        return Occurrence(
            file=self._files[file], line=line, before=self._text(begin, start),
            text=self._text(start, start + length), after=self._text(start + length, end),
        )  # fmt: skip

    def _text(self, start: int, end: int) -> str:
        return " ".join(self._names[number - 1] for number in self._ids[start:end])
