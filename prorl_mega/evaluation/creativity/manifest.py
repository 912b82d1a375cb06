"""The description of an index, `manifest.json`: it is written last, so that an index which has one is whole.

    manifest.json
    shard-00000/words.npy        [N] int32, words by number, in the order of the corpus; 0 ends a document
    shard-00000/suffixes.npy     [S] int32, positions of its words, sorted by the words from there on
    shard-00000/places.npy       [P, 3] int32: first word, file, line of every line of a text and every row
    shard-00000/vocabulary.txt   one word per line; the first is number 1

A shard is an index by itself: what is asked is asked of all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from prorl_mega.documents import BrokenDocumentError, read_json
from prorl_mega.errors import DataError
from prorl_mega.evaluation.creativity.words import TOKENISATION, TOKENISATIONS

FORMAT = 1
MANIFEST = "manifest.json"
WORDS, SUFFIXES, PLACES, VOCABULARY = "words.npy", "suffixes.npy", "places.npy", "vocabulary.txt"
PARTS = (WORDS, SUFFIXES, PLACES, VOCABULARY)

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class IndexedFile(msgspec.Struct, kw_only=True):
    """A file of the corpus."""

    name: str  # as it was named, relative to its folder
    bytes: Count
    digest: str  # BLAKE3 of its bytes
    documents: Count = 0


class IndexedShard(msgspec.Struct, kw_only=True):
    """A shard of the index."""

    name: str
    words: Count  # without the borders
    documents: Count  # that begin in it
    digests: dict[str, str]  # BLAKE3 by file


class IndexManifest(msgspec.Struct, kw_only=True):
    """The whole index."""

    format: int = FORMAT
    tokenisation: str = TOKENISATION
    identity: str  # hash of the files' contents, of the tokenisation and of the size of shards
    files: list[IndexedFile]
    shards: list[IndexedShard]
    provenance: dict[str, str]  # versions, time, command line: for people

    @property
    def words(self) -> int:
        return sum(each.words for each in self.shards)

    @property
    def documents(self) -> int:
        return sum(each.documents for each in self.files)


def read_manifest(directory: Path) -> IndexManifest:
    """The manifest of an index. Raises DataError for a folder that holds none, or one that this version cannot use."""
    again = "build it again with `python -m prorl_mega.creativity index`"
    try:
        manifest = msgspec.convert(read_json(directory / MANIFEST), IndexManifest)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{directory}: holds no index of a corpus (no {MANIFEST}); {again}") from None
    except (OSError, BrokenDocumentError, msgspec.ValidationError) as error:
        raise DataError(f"{directory / MANIFEST}: cannot be read ({error}); {again}") from None
    if manifest.format != FORMAT or manifest.tokenisation not in TOKENISATIONS:
        raise DataError(
            f"{directory}: was built as format {manifest.format} with {manifest.tokenisation}; this version of "
            f"prorl_mega compares by format {FORMAT} with {' or '.join(TOKENISATIONS)}; {again}"
        )
    if not manifest.shards or not manifest.words:
        raise DataError(f"{directory}: indexes no words; {again}, from a corpus of text")
    for shard in manifest.shards:
        if Path(shard.name).name != shard.name or set(shard.digests) != set(PARTS):
            raise DataError(f"{directory / MANIFEST}: names {shard.name!r}, which is no shard; {again}")
    return manifest
