"""Small corpora with their indexes, and the Creativity Index by its definition, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prorl_mega.evaluation.creativity.index import CorpusIndex
from prorl_mega.evaluation.creativity.index_writer import IndexWriter, Passage
from prorl_mega.evaluation.creativity.manifest import IndexedFile

Words = Sequence[str | None]


def build(directory: Path, documents: Sequence[str | Sequence[str]], *, shard_words: int = 1000) -> CorpusIndex:
    """The index of documents, each a text or its lines; document `i` is the file `i.txt`."""
    writer = IndexWriter(directory, shard_words=shard_words)
    files = []
    for number, document in enumerate(documents):
        lines = [document] if isinstance(document, str) else document
        files.append(IndexedFile(name=f"{number}.txt", bytes=1, digest="-"))
        writer.add((Passage(number, line, text, line == 1) for line, text in enumerate(lines, start=1)), files[-1])
    writer.finish(files, "identity", {})
    return CorpusIndex(directory)


def has(documents: Sequence[Sequence[str]], run: Words) -> bool:
    """Whether a document has these words one after another."""
    return any(
        list(run) == list(each[start : start + len(run)])
        for each in documents
        for start in range(len(each) - len(run) + 1)
    )


def longest(documents: Sequence[Sequence[str]], text: Words) -> list[int]:
    """The longest match from each word on, by trying all."""
    found = []
    for start in range(len(text)):
        length = 0
        while start + length < len(text) and has(documents, text[start : start + length + 1]):
            length += 1
        found.append(length)
    return found


def uniqueness(documents: Sequence[Sequence[str]], text: Words, least: int) -> float:
    """uniq(x, L): the share of words that no run of at least L words, which a document has, holds."""
    covered = [False] * len(text)
    for start in range(len(text)):
        for end in range(start + least, len(text) + 1):
            if has(documents, text[start:end]):
                covered[start:end] = [True] * (end - start)
    return 1 - sum(covered) / len(text)


def two_pointers(documents: Sequence[Sequence[str]], text: Words) -> list[tuple[int, int]]:
    """The runs that DJ Search finds, as the paper describes it, from 5 words on."""
    found: list[tuple[int, int]] = []
    first, last = 0, 5
    while last <= len(text):
        if has(documents, text[first:last]):
            if found and found[-1][0] == first:
                found.pop()
            found.append((first, last))
            last += 1
        else:
            first += 1
            last = max(last, first + 5)
    return found
