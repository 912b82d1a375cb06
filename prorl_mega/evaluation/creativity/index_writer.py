"""An index of a corpus, built shard by shard.

Words are numbered in the order in which they first occur in a shard, and its suffixes are sorted by libdivsufsort
(`pydivsufsort`), which sorts bytes: a word is written as the bytes of its number, the most significant first, and the
suffixes that begin within a word are dropped. Building takes about 40 bytes per word of a shard, keeping it 8.

An index is built in a folder beside its own and renamed when its manifest is on the disk: there is a whole one or none.
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from blake3 import blake3

from prorl_mega.errors import DataError
from prorl_mega.evaluation.creativity.manifest import (
    FORMAT,
    MANIFEST,
    PARTS,
    PLACES,
    SUFFIXES,
    VOCABULARY,
    WORDS,
    IndexedFile,
    IndexedShard,
    IndexManifest,
)
from prorl_mega.evaluation.creativity.matching import BORDER
from prorl_mega.evaluation.creativity.words import TOKENISATION, words_of
from prorl_mega.run.storage import content_hash, fsync_path, storage_errors, write_durably

SHARD_WORDS = 32_000_000  # about 200 MB of English; building the shard takes 1.3 GB of memory
FEWEST, MOST = 1000, 500_000_000  # words of a shard; positions in bytes have to fit into 31 bits
OVERLAP = 512  # words that a document that is cut in two has in both shards; longer matches are found in parts
_NONE = -1  # no document is open


class Passage(NamedTuple):
    """A line of a text or a row of a table, in the order of the corpus."""

    file: int  # number of the file
    line: int  # from 1
    text: str
    is_first: bool  # of its document


class _Vocabulary(dict[str, int]):
    """Numbers of words from 1 on; one that is asked for the first time gets the next."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self) + 1
        return number


class IndexWriter:
    """Takes a corpus in, file by file, and writes its index."""

    def __init__(self, directory: Path, *, shard_words: int = SHARD_WORDS, tokenisation: str = TOKENISATION) -> None:
        """An index that will be `directory`, which must not exist; of at most about `shard_words` words per shard."""
        assert FEWEST <= shard_words <= MOST, shard_words
        self._directory, self._most, self._tokenisation = directory, shard_words, tokenisation
        self._aside = directory.with_name(f"{directory.name}.building")
        self._shards: list[IndexedShard] = []
        with storage_errors(f"writing {self._aside}"):
            if self._aside.exists():  # left by a process that was killed
                shutil.rmtree(self._aside)
            self._aside.mkdir(parents=True)
        self._begin()

    def _begin(self) -> None:
        self._vocabulary = _Vocabulary()
        self._words = array("i")
        self._places = array("i")  # three numbers each
        self._start = _NONE  # of the document that is open, in the words of this shard
        self._documents = self._carried = 0

    def add(self, passages: Iterable[Passage], file: IndexedFile) -> None:
        """Take in a whole file; its documents with words are counted in `file`."""
        for passage in passages:
            if passage.is_first:
                self._close()
            words = words_of(passage.text, self._tokenisation)
            if not words:
                continue
            if self._start != _NONE and len(self._words) + len(words) > self._most:
                self._cut()
            if self._start == _NONE:
                self._start = len(self._words)
                self._documents += 1
                file.documents += 1
            self._places.extend((len(self._words), passage.file, passage.line))
            self._words.extend(map(self._vocabulary.__getitem__, words))
        self._close()

    def finish(self, files: list[IndexedFile], identity: str, provenance: dict[str, str]) -> IndexManifest:
        """Write what is left and the manifest. Raises DataError for a corpus without words."""
        if self._words:
            self._write_shard()
        if not self._shards:
            shutil.rmtree(self._aside, ignore_errors=True)
            raise DataError("the corpus has no words: its files are empty, or hold nothing but blanks")
        manifest = IndexManifest(
            identity=identity,
            tokenisation=self._tokenisation,
            files=files,
            shards=self._shards,
            provenance=provenance,
        )
        with storage_errors(f"writing {self._aside}"):
            text = msgspec.json.format(msgspec.json.encode(manifest)).decode()
            write_durably(self._aside / MANIFEST, text + "\n")
            self._aside.rename(self._directory)
            fsync_path(self._directory.parent)
        return manifest

    def discard(self) -> None:
        """Delete what was written, of an index that is not finished."""
        shutil.rmtree(self._aside, ignore_errors=True)

    def _close(self) -> None:
        """End the document that is open."""
        if self._start == _NONE:
            return
        self._words.append(BORDER)
        self._start = _NONE
        if len(self._words) >= self._most:
            self._write_shard()

    def _cut(self) -> None:
        """End the shard within a document, whose last words begin the next one."""
        first = max(self._start, len(self._words) - OVERLAP)
        names = list(self._vocabulary)
        carried = [names[number - 1] for number in self._words[first:]]
        places = np.array(self._places, np.int32).reshape(-1, 3)
        places = places[np.searchsorted(places[:, 0], first, side="right") - 1 :]  # from the line on that holds it
        places[:, 0] = np.maximum(places[:, 0] - first, 0)
        self._words.append(BORDER)
        self._write_shard()
        self._words.extend(map(self._vocabulary.__getitem__, carried))
        self._places.extend(places.reshape(-1).tolist())
        self._start, self._carried = 0, len(carried)

    def _write_shard(self) -> None:
        name = f"shard-{len(self._shards):05}"
        folder = self._aside / name
        ids = np.frombuffer(self._words, np.int32)
        with storage_errors(f"writing {folder}"):
            folder.mkdir()
            np.save(folder / WORDS, ids)
            np.save(folder / PLACES, np.array(self._places, np.int32).reshape(-1, 3))
            (folder / VOCABULARY).write_text("\n".join(self._vocabulary), encoding="utf-8", newline="\n")
            np.save(folder / SUFFIXES, sorted_suffixes(ids, len(self._vocabulary)))
            for part in PARTS:
                fsync_path(folder / part)
            fsync_path(folder)
        borders = int(np.count_nonzero(ids == BORDER))
        self._shards.append(
            IndexedShard(
                name=name,
                words=len(ids) - borders - self._carried,
                documents=self._documents,
                digests={part: content_hash(folder / part) for part in PARTS},
            )
        )
        del ids  # its memory is that of the words
        self._begin()


def sorted_suffixes(ids: np.ndarray, words: int) -> np.ndarray:
    """Positions of the words in `ids` [N], numbers up to `words`, sorted by what stands from there on: [S] int32."""
    from pydivsufsort import divsufsort

    width = max(1, (words.bit_length() + 7) // 8)  # bytes of a number
    content = np.ascontiguousarray(ids.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 4 - width :]).reshape(-1)
    suffixes = divsufsort(content)
    if width > 1:
        suffixes = suffixes[suffixes % width == 0] // width
    borders = int(np.count_nonzero(ids == BORDER))  # which come first
    return suffixes[borders:].astype(np.int32)


def corpus_identity(files: list[IndexedFile], shard_words: int, field: str, tokenisation: str = TOKENISATION) -> str:
    """A hash of everything that an index depends on: 16 hexadecimal digits."""
    content = [FORMAT, tokenisation, shard_words, field, [(each.name, each.digest) for each in files]]
    return blake3(msgspec.json.encode(content)).hexdigest()[:16]
