"""The Creativity Index of an evaluation's answers: how little of them is copied, word for word, from a corpus.

    python -m prorl_mega.creativity index corpus/ --output corpus.index
    python -m prorl_mega.creativity score runs/a/evaluation/policy --index corpus.index
    python -m prorl_mega.creativity score base=runs/a/evaluation/base runs/b/evaluation/policy --index … --output a_b

Needs neither torch nor the models. docs/creativity.md says how to read the numbers, and what they do not show.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prorl_mega.errors import ConfigError, DataError, ExitCode, exit_status
from prorl_mega.run.signals import Interrupted, StopSignals

if TYPE_CHECKING:
    from prorl_mega.data.corpus import CorpusFile
    from prorl_mega.evaluation.creativity.comparison import CreativityGroup
    from prorl_mega.evaluation.creativity.index_writer import Passage
    from prorl_mega.run.sample_store import SampleStore

LINES, NUMBERS, PAGE, LOCK = "creativity.jsonl", "creativity.json", "creativity.html", "creativity.lock"
TELL_S = 5.0  # between two lines on progress

_INDEX = """\
A corpus is files, and folders with them: .txt and .md, which are one document each; .jsonl, .json, .csv, .parquet and
.arrow, of which every row is one, with its text in the column --field. All but the last two may end in .gz.

Words are compared with their case; punctuation marks are words; layout does not matter. No match goes over the border
of two documents. The folder --output appears when the index is whole. It takes 8 bytes per word; building takes 40 per
word of a shard, of which a corpus gets as many as it needs.
"""
_SCORE = """\
An evaluation is the folder in which `python -m prorl_mega.evaluate` keeps its answers, runs/x/evaluation/LABEL, or the
file LABEL.json beside it; NAME=PATH gives it another name. With several, the others are compared with the first.

  uniq(x, L)        share of the words of x that are in no run of at least L words which the corpus has
  Creativity Index  uniq(x, 5) + … + uniq(x, 12), from 0, a copy, to 8, nothing copied

Words that an answer quotes from its own prompt, in runs of 5 or more, are left out, unless --keep-prompt; so are
answers with fewer than 12 words of their own. Written are creativity.jsonl, a line per answer, creativity.json, means
with intervals, and creativity.html, the same with answers to read. What is scored already is not scored again.
"""
_STATUS = """
Exit status: 0; 10 if it was stopped, to be called again; 20 and 21 for what is wrong or cannot be read; 30 for a disk.
"""


class _Progress:
    """Tells how far something is, every few seconds, on stderr."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, max(total, 1), unit
        self._begun = self._told = time.monotonic()
        self._signals = StopSignals(announce=True)
        self._signals.install()

    def __call__(self, done: int) -> None:
        """`done` of the total. Raises Interrupted after a request to stop."""
        if self._signals.received is not None:
            raise Interrupted(f"{self._what}: stopped")
        now = time.monotonic()
        if now - self._told < TELL_S or not done:
            return
        from prorl_mega.run.console import duration

        self._told = now
        left = (now - self._begun) * (self._total - done) / done
        print(
            f"{self._what}: {done:,} of {self._total:,} {self._unit}  left {duration(max(left, 0))}",
            file=sys.stderr, flush=True,
        )  # fmt: skip

    def close(self) -> None:
        self._signals.restore()


def build_index(given: argparse.Namespace) -> None:
    """The command `index`. Raises ConfigError, DataError and StorageError."""
    from prorl_mega.data.corpus import corpus_files
    from prorl_mega.evaluation.creativity.index_writer import FEWEST, MOST, SHARD_WORDS, IndexWriter, corpus_identity
    from prorl_mega.evaluation.creativity.manifest import MANIFEST, IndexedFile, read_manifest
    from prorl_mega.evaluation.creativity.words import CHARACTERS, TOKENISATION
    from prorl_mega.run.storage import content_hash

    size = SHARD_WORDS if given.shard_words is None else given.shard_words
    if not FEWEST <= size <= MOST:
        raise ConfigError(f"--shard-words={size} must be between {FEWEST} and {MOST}")
    kind = CHARACTERS if given.characters else TOKENISATION
    files = corpus_files(given.corpus)
    try:
        indexed = [
            IndexedFile(name=each.name, bytes=each.path.stat().st_size, digest=content_hash(each.path))
            for each in files
        ]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None
    identity = corpus_identity(indexed, size, given.field, kind)
    if given.output.exists():
        if (given.output / MANIFEST).exists() and read_manifest(given.output).identity == identity:
            print(f"{given.output}: is the index of this corpus already")
            return
        raise DataError(f"{given.output}: exists already; name another --output, or delete it")
    progress = _Progress("index", sum(each.bytes for each in indexed), "bytes")
    writer = IndexWriter(given.output, shard_words=size, tokenisation=kind)
    try:
        before = 0
        for number, (file, about) in enumerate(zip(files, indexed, strict=True)):
            writer.add(_passages(file, number, given.field, progress, before), about)
            before += about.bytes
            progress(before)
        manifest = writer.finish(indexed, identity, _provenance())
    except BaseException:
        writer.discard()
        raise
    finally:
        progress.close()
    print(
        f"{given.output}: {manifest.words:,} words in {manifest.documents:,} documents of {len(files):,} files, "
        f"{len(manifest.shards)} shard{'s' * (len(manifest.shards) > 1)}"
    )
    if empty := [each.name for each in indexed if not each.documents]:
        print(f"without a word: {', '.join(empty[:10])}{' …' * (len(empty) > 10)}")


def _passages(
    file: CorpusFile, number: int, field: str, progress: Callable[[int], None], before: int
) -> Iterator[Passage]:
    from prorl_mega.data.corpus import texts
    from prorl_mega.evaluation.creativity.index_writer import Passage

    for each in texts(file, field, lambda done: progress(before + done)):
        yield Passage(number, each.line, each.text, each.is_first)


def _provenance() -> dict[str, str]:
    import prorl_mega

    return {
        "prorl_mega": prorl_mega.__version__,
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def find_stores(sources: list[str]) -> dict[str, SampleStore]:
    """The answers of evaluations by their names, in order. Raises ConfigError and DataError."""
    from prorl_mega.run.sample_store import SampleStore

    found: dict[str, SampleStore] = {}
    for source in sources:
        named = None if os.path.exists(source) else re.fullmatch(r"([^=/]+)=(.+)", source)
        path = Path((named[2] if named else source).removesuffix(".json"))
        if not os.path.isdir(path):
            raise ConfigError(
                f"{str(path)[:200]}: is no folder with the answers of an evaluation: runs/x/evaluation/LABEL"
            )
        name = named[1] if named else path.resolve().name
        if name in found:
            raise ConfigError(f"{source}: there is a {name} already; give it a name of its own: NAME={source}")
        found[name] = SampleStore(path)
    return found


def score(given: argparse.Namespace) -> None:
    """The command `score`. Raises ConfigError, DataError and StorageError, and Interrupted after a request to stop."""
    stores = find_stores(given.evaluations)
    output: Path | None = given.output
    if output is None:
        if len(stores) > 1:
            raise ConfigError("several evaluations: name the folder for what is written, --output DIR")
        output = next(iter(stores.values())).directory
    from prorl_mega.evaluation.creativity.comparison import ScoredEvaluation, compare_creativity
    from prorl_mega.evaluation.creativity.excerpt import excerpts
    from prorl_mega.evaluation.creativity.index import CorpusIndex
    from prorl_mega.reporting.creativity_page import creativity_page
    from prorl_mega.reporting.creativity_text import creativity_remarks, creativity_table
    from prorl_mega.run.lock import RunLock
    from prorl_mega.run.storage import storage_errors, write_durably

    index = CorpusIndex(given.index)
    with storage_errors(f"writing {output}"):
        output.mkdir(parents=True, exist_ok=True)
        lock = RunLock(output / LOCK)
        lock.acquire()
    try:
        scored = []
        for name, store in stores.items():
            rows = _score_one(name, store, index, output / LINES, given.keep_prompt)
            scored.append(ScoredEvaluation(name, store, rows))
        groups = compare_creativity(scored)
        remarks = creativity_remarks(scored, corpus_words=index.manifest.words, keep_prompt=given.keep_prompt)
        shown = [
            each for one, store in zip(scored, stores.values(), strict=True)
            for each in excerpts(one, store, index, keep_prompt=given.keep_prompt)
        ]  # fmt: skip
        with storage_errors(f"writing {output}"):
            write_durably(output / NUMBERS, _numbers(groups, scored, index, remarks, given.keep_prompt))
            write_durably(output / PAGE, creativity_page(groups, scored, shown, index.manifest, remarks))
    finally:
        lock.release()
    print(creativity_table(groups), end="")
    print(*remarks, f"Written: {output / NUMBERS}, {LINES}, {PAGE}", sep="\n")


def _score_one(name: str, store: SampleStore, index: Any, path: Path, keep_prompt: bool) -> list[Any]:
    """The scores of all answers of an evaluation: those that are in the file, and the others, which are added to it."""
    from prorl_mega.evaluation.creativity.score import CreativityScore, score_store, scoring_identity
    from prorl_mega.run.sample_store import LineWriter, read_lines

    identity = scoring_identity(store, index, keep_prompt=keep_prompt)
    known = {
        (each.problem, each.sample): each
        for each in read_lines(path, CreativityScore)
        if each.of == identity and store.asks_for(each.problem, each.sample)
    }
    rows: list[CreativityScore] = []
    wanted = store.wanted()
    store.damaged = 0  # the problems are read again, and counted then
    progress, fresh = _Progress(f"score {name}", wanted - len(known), "answers"), 0
    with contextlib.closing(LineWriter(path)) as writer:
        try:
            for part in score_store(store, index, label=name, keep_prompt=keep_prompt, known=known):
                new = [each for each in part if known.get((each.problem, each.sample)) is not each]
                writer.write(new)
                rows += part
                fresh += len(new)
                progress(fresh)
        except Interrupted:
            kept = len(known.keys() | {(each.problem, each.sample) for each in rows})
            raise Interrupted(f"{name}: {kept} of {wanted} answers are scored and kept") from None
        finally:
            progress.close()
    return rows


def _numbers(
    groups: list[CreativityGroup], scored: list[Any], index: Any, remarks: list[str], keep_prompt: bool
) -> str:
    import msgspec

    from prorl_mega.evaluation.creativity.uniqueness import QUOTED, RANGE

    content = {
        "format": 1,
        "definition": {
            "L": list(RANGE),
            "tokenisation": index.manifest.tokenisation,
            "prompt": "counted" if keep_prompt else f"runs of {QUOTED} words or more that the prompt has are left out",
        },
        "index": {
            "identity": index.manifest.identity,
            "words": index.manifest.words,
            "documents": index.manifest.documents,
            "files": [each.name for each in index.manifest.files],
        },
        "evaluations": [each.about for each in scored],
        "remarks": remarks,
        "groups": groups,
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1).decode() + "\n"


def _arguments(given: list[str] | None) -> argparse.Namespace:
    shape: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.creativity",
        description="The Creativity Index (arXiv 2410.04265): how little of a text is copied from a corpus.",
        epilog="`index --help` and `score --help` say more.",
        **shape,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    index = commands.add_parser("index", help="build the index of a corpus", epilog=_INDEX + _STATUS, **shape)
    index.add_argument("corpus", nargs="+", metavar="CORPUS", help="file or folder")
    index.add_argument("--output", type=Path, required=True, metavar="DIR", help="the index; must not exist")
    index.add_argument("--field", default="text", metavar="NAME", help="column with the text (default %(default)s)")
    index.add_argument("--shard-words", type=int, metavar="N", help="words of a shard (default: 32 million)")
    index.add_argument(
        "--characters", action="store_true", help="compare by characters instead of words: for answers of a few words"
    )
    command = commands.add_parser("score", help="score the answers of evaluations", epilog=_SCORE + _STATUS, **shape)
    command.add_argument("evaluations", nargs="+", metavar="EVALUATION", help="see below")
    command.add_argument("--index", type=Path, required=True, metavar="DIR", help="what `index` has built")
    command.add_argument(
        "--output", type=Path, metavar="DIR", help="what is written (default: the evaluation's folder)"
    )
    command.add_argument(
        "--keep-prompt", action="store_true", help="count what is quoted from the prompt like the rest"
    )
    return parser.parse_args(given)


def main(arguments: list[str] | None = None) -> int:
    given = _arguments(arguments)
    try:
        return exit_status(lambda: build_index(given) if given.command == "index" else score(given))
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return int(ExitCode.SAVED_AFTER_SIGNAL)


if __name__ == "__main__":
    sys.exit(main())
