"""The texts of a corpus: files of plain text, and rows of tables that have a text.

A plain text (.txt, .md) is one document, read line by line; every row of a table (.jsonl, .json, .csv, .parquet,
.arrow) is one. All but the last two may be compressed with gzip (.gz). What is no UTF-8 or has NUL bytes is no text.
"""

from __future__ import annotations

import codecs
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from prorl_mega.data import archive
from prorl_mega.data.rows import READERS, Fault, read_file
from prorl_mega.errors import DataError

PLAIN = (".txt", ".md")
SINGLE = ".gz"
LONGEST_PIECE = 1 << 20  # bytes of a line of plain text that are taken at a time
_OFTEN = 256  # pieces between two times that progress is told


class CorpusFile(NamedTuple):
    """A file of a corpus; `name` is unique in it."""

    path: Path
    name: str

    @property
    def kind(self) -> str:
        """Its suffix, without that of compression."""
        return Path(self.path.name.removesuffix(SINGLE)).suffix.lower()


class CorpusText(NamedTuple):
    """A line of a plain text, or the text of a row."""

    line: int  # or row, from 1
    text: str
    is_first: bool  # of its document


def corpus_files(places: list[str]) -> list[CorpusFile]:
    """The files that are named and those in folders that are, sorted by name. Raises DataError if there is none."""
    found: list[CorpusFile] = []
    for place in places:
        path = Path(place)
        if path.is_dir():
            inside = (each for each in path.rglob("*") if each.is_file() and _is_seen(each.relative_to(path)))
            readable = [CorpusFile(each, str(Path(path.resolve().name) / each.relative_to(path))) for each in inside]
            readable = [each for each in readable if _is_readable(each)]
            if not readable:
                raise DataError(f"{place}: has no files of text ({_kinds()})")
            found += sorted(readable, key=lambda each: each.name)
        elif path.is_file():
            file = CorpusFile(path, path.name)
            if not _is_readable(file):
                raise DataError(f"{place}: is not read as text; a corpus has files {_kinds()}, or folders with them")
            found.append(file)
        else:
            raise DataError(f"{place}: no such file or folder")
    found = [each._replace(name=_written(each.name)) for each in dict.fromkeys(found)]
    uses = Counter(each.name for each in found)
    return [each if uses[each.name] == 1 else CorpusFile(each.path, _written(str(each.path))) for each in found]


def texts(file: CorpusFile, field: str, tell: Callable[[int], None] = lambda place: None) -> Iterator[CorpusText]:
    """The texts of a file; `field` is the column of a table that has them.

    `tell` is called now and then, with the bytes that were read so far, 0 of a compressed file; what it raises ends the
    reading. Raises DataError, with the line, for what is no text and for rows without one.
    """
    with _opened(file) as content:
        found = _lines(content, file) if file.kind in PLAIN else _rows(content, file, field)
        for number, each in enumerate(found):
            if number % _OFTEN == 0:
                tell(0 if file.path.name.endswith(SINGLE) else content.tell())
            yield each


@contextlib.contextmanager
def _opened(file: CorpusFile) -> Iterator[IO[bytes]]:
    if file.path.name.endswith(SINGLE):
        with archive.opened(file.path, file.name) as content:
            yield content
    else:
        with file.path.open("rb") as content:
            yield content


def _lines(content: IO[bytes], file: CorpusFile) -> Iterator[CorpusText]:
    """Lines; one that is longer than a piece comes in several, cut at blanks."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, rest, is_first = 1, "", True
    while piece := content.readline(LONGEST_PIECE):
        if b"\0" in piece:
            raise DataError(f"{file.path}:{number}: has NUL bytes; not a text in UTF-8")
        try:
            text = rest + decoder.decode(piece)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{file.path}:{number}: invalid UTF-8 at byte {error.start + 1}; save it as UTF-8"
            ) from None
        rest = ""
        if not piece.endswith(b"\n"):
            whole, blank, last = text.rpartition(" ")
            if blank:
                text, rest = whole, last
        yield CorpusText(number, text.removeprefix("\ufeff") if is_first else text, is_first)
        is_first = False
        number += piece.endswith(b"\n")
    if decoder.getstate()[0]:
        raise DataError(f"{file.path}:{number}: ends within a character; the file may be truncated")
    if rest:
        yield CorpusText(number, rest, is_first)


def _rows(content: IO[bytes], file: CorpusFile, field: str) -> Iterator[CorpusText]:
    for row in read_file(content, str(file.path), file.kind):
        if isinstance(row, Fault):
            raise DataError(f"{row.place}: {row.detail}")
        text = row.fields.get(field)
        if not isinstance(text, str):
            has = f"it has {', '.join(map(str, list(row.fields)[:20]))}" if field not in row.fields else "no text"
            raise DataError(f"{row.place}: has no text {field!r} ({has}); name the column with --field")
        yield CorpusText(int(row.name), text, True)


def _written(name: str) -> str:
    """A name as it can be written; bytes of a file's name that are no UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _is_seen(inside: Path) -> bool:
    return not any(part.startswith(".") for part in inside.parts)


def _is_readable(file: CorpusFile) -> bool:
    return file.kind in PLAIN or (file.kind in READERS and not _needs_seeking(file))


def _needs_seeking(file: CorpusFile) -> bool:
    return file.path.name.endswith(SINGLE) and file.kind in (".parquet", ".arrow")


def _kinds() -> str:
    return ", ".join((*PLAIN, *READERS)) + ", most also with .gz"
