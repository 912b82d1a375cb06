"""Every answer of an evaluation, on disk as it ends: the folder `evaluation/<label>/`.

    header.json           what was sampled from and how: weights, settings, seed, versions, command
    problems.jsonl        one line per problem, which samples name by its number
    samples/0.jsonl       one line per answer: tokens, log-probabilities, text, reason of its end; a file per writer
    verdicts/0.jsonl      one line per answer that was judged; `--regrade` replaces the folder and keeps the old one

Lines are only added, and a line is whole or does not count: what a crash leaves of the last one is cut off before the
next is written. An answer is (problem, sample), and its seed is a function of these two, so whoever goes on after a
crash, with however many processes, samples what is missing and nothing else. Files are read line by line; nothing here
holds more than the numbers of the verdicts in memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from prorl_mega.documents import BrokenDocumentError, read_json
from prorl_mega.errors import DataError
from prorl_mega.run.storage import fsync_path, remove_tree, storage_errors, write_durably

FORMAT = 1
HEADER, PROBLEMS, SAMPLES, VERDICTS = "header.json", "problems.jsonl", "samples", "verdicts"
LONGEST_LINE = 256 << 20  # bytes; an answer of a million tokens has a tenth of it
KEPT = "Answers so far are kept; when the disk can be written again, the same command goes on."
SYNC_S = 2.0  # between two times that lines are forced to the disk: what a power cut, not a kill, may cost

Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Line = TypeVar("Line", bound=msgspec.Struct)


class StoreHeader(msgspec.Struct, kw_only=True):
    """The facts that all answers have in common."""

    format: int = FORMAT
    label: str
    step: Count  # of the policy; 0 for a model that no run of ours has trained
    policy: str  # checksum of the weights; of a server its address and the name of its model
    identity: str  # a hash of everything that the answers depend on, but for how many there are
    seed: Count
    samples: Count  # per problem, that were asked for last
    asked: list[Count] | None = None  # problems that were asked for last, by number; None: all of them
    settings: dict[str, Any]  # evaluation/conditions.py
    config: dict[str, Any]  # the whole RunConfig as plain values; grading again reads its `tasks`
    provenance: dict[str, Any]  # versions, commit, command line, time: for people


class StoredProblem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A problem; its number is that of its line, from 0."""

    key: str
    task: str
    prompt: str
    system: str = ""
    entry: dict[str, Any] = {}  # what its verifier needs
    prompt_tokens: list[Count] = []  # [P]; empty if a server counted them


class StoredSample(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An answer."""

    problem: Count
    sample: Count  # 0 … n − 1 of its problem
    seed: Seed
    text: str
    finish: str  # "stop" or "length", as in FinishReason
    length: Count  # tokens
    tokens: list[Count] = []  # [T], the end token included; empty if a server did not say
    logprobs: list[float] = []  # [T], natural, of the distribution that was sampled from, to four digits

    @property
    def is_truncated(self) -> bool:
        return self.finish == "length"


class RawSample(msgspec.Struct):
    """An answer whose long fields are read only where they are needed: for those who go through all of them."""

    problem: Count
    sample: Count
    finish: str
    length: Count
    text: msgspec.Raw
    tokens: msgspec.Raw = msgspec.Raw(b"[]")
    logprobs: msgspec.Raw = msgspec.Raw(b"[]")

    @property
    def is_truncated(self) -> bool:
        return self.finish == "length"

    def whole(self) -> tuple[str, list[int], list[float]]:
        """Text, tokens and log-probabilities; empty where a field is of another kind."""
        return _read(self.text, str, ""), _read(self.tokens, list[int], []), _read(self.logprobs, list[float], [])

    def text_only(self) -> str:
        """The text alone."""
        text: str = _read(self.text, str, "")
        return text


class StoredText(msgspec.Struct):
    """The part of an answer that a verifier reads."""

    problem: Count
    sample: Count
    text: str


class StoredVerdict(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The verdict on an answer. Without `reward` the verifier failed, which says nothing about the answer."""

    problem: Count
    sample: Count
    reward: float | None
    relaxed: float | None = None  # reward for what it says, whatever its form; None: not tried, `reward` stands
    answer: str = ""  # that was found in it, in a form that equal answers share where the task has one
    detail: str = ""


class SampleStore:
    """An evaluation's folder, for reading. Raises DataError for one that is none, or of a later format.

    Its readers get the answers that were asked for last, and no others: an evaluation with fewer samples or problems
    than one before it leaves the rest in the files. With `everything` they get those as well.
    """

    def __init__(self, directory: Path, *, everything: bool = False) -> None:
        self.directory = directory
        self._everything = everything
        self.damaged = 0  # lines that were left out by the readers so far
        try:
            self.header = msgspec.convert(read_json(directory / HEADER), StoreHeader)
        except FileNotFoundError:
            raise DataError(
                f"{directory}: keeps no answers (no {HEADER}); `python -m prorl_mega.evaluate` keeps them"
            ) from None
        except (OSError, BrokenDocumentError, msgspec.ValidationError) as error:
            raise DataError(f"{directory / HEADER}: cannot be read ({error}); evaluate again") from None
        if self.header.format > FORMAT:
            raise DataError(
                f"{directory}: is of format {self.header.format}; this version of prorl_mega reads up to {FORMAT}"
            )
        self._asked = None if self.header.asked is None else frozenset(self.header.asked)

    def asks_for(self, problem: int, sample: int) -> bool:
        """Whether an answer was asked for last; with `everything` all of them are."""
        return self._everything or (sample < self.header.samples and (self._asked is None or problem in self._asked))

    def problems(self) -> list[StoredProblem]:
        """All problems, in the order of their numbers. Raises DataError for a damaged line, which has a number, too."""
        path = self.directory / PROBLEMS

        def refuse() -> None:
            raise DataError(f"{path}: has a damaged line, and answers name problems by their lines; evaluate again")

        return list(read_lines(path, StoredProblem, refuse))

    def wanted(self) -> int:
        """How many answers were asked for last, whether they are there or not."""
        return self.header.samples * (len(self.problems()) if self._asked is None else len(self._asked))

    def samples(self) -> Iterator[StoredSample]:
        """Every answer once, the first of two, in the order of the files."""
        return self._once(SAMPLES, StoredSample)

    def samples_as(self, kind: type[Line]) -> Iterator[Line]:
        """The same with other fields: `kind` names `problem`, `sample` and those that are needed."""
        return self._once(SAMPLES, kind)

    def texts(self) -> Iterator[StoredText]:
        """The text of every answer once, the first of two, in the order of the files; reads no tokens."""
        return self._once(SAMPLES, StoredText)

    def verdicts(self, folder: str = VERDICTS) -> Iterator[StoredVerdict]:
        """One verdict for every answer that was judged, one with a reward where there are several."""
        judged = self.rewarded(folder)
        return self._once(
            folder, StoredVerdict, lambda each: each.reward is not None or (each.problem, each.sample) not in judged
        )

    def unjudged(self, share: int = 0, shares: int = 1) -> Iterator[StoredSample]:
        """The answers without a reward: one of `shares` equal shares, which the place of an answer decides, so that
        they fit together while others add answers and verdicts."""
        judged = self.rewarded(VERDICTS)
        mine = (each for each in self.samples() if (each.problem + each.sample) % shares == share)
        return (each for each in mine if _place(each) not in judged)

    def judged(self) -> Iterator[tuple[StoredSample, StoredVerdict | None]]:
        """Every answer with its verdict; None for one that has none yet."""
        verdicts = {(each.problem, each.sample): each for each in self.verdicts()}
        return ((each, verdicts.get((each.problem, each.sample))) for each in self.samples())

    def done(self) -> Places:
        """(problem, sample) of every answer that is there, and whole, also of those that were not asked for."""
        done = Places()
        for each in self._lines(SAMPLES, StoredSample):
            done.add(each.problem, each.sample)
        return done

    def rewarded(self, folder: str = VERDICTS) -> Places:
        """(problem, sample) of every answer whose verdict has a reward, also of those that were not asked for."""
        found = Places()
        for each in self._lines(folder, _Rewarded):
            if each.reward is not None:
                found.add(each.problem, each.sample)
        return found

    def _once(
        self, folder: str, kind: type[Line], counts: Callable[[Line], bool] = lambda line: True
    ) -> Iterator[Line]:
        """The lines of a folder's files that were asked for and count, the first of every answer."""
        seen = Places()
        for line in self._lines(folder, kind):
            if self.asks_for(*_place(line)) and counts(line) and seen.add(*_place(line)):
                yield line

    def _lines(self, folder: str, kind: type[Line]) -> Iterator[Line]:
        for path in sorted((self.directory / folder).glob("*.jsonl")):
            yield from read_lines(path, kind, self._damage)

    def _damage(self) -> None:
        self.damaged += 1


class Places:
    """A set of (problem, sample), a bit for each: 1,024 samples of a problem take some 200 bytes."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, int], int] = {}  # by problem and sample // 1024

    def add(self, problem: int, sample: int) -> bool:
        """Whether it was not there before."""
        block, bit = (problem, sample >> 10), 1 << (sample & 1023)
        bits = self._blocks.get(block, 0)
        self._blocks[block] = bits | bit
        return not bits & bit

    def __len__(self) -> int:
        return sum(bits.bit_count() for bits in self._blocks.values())

    def __contains__(self, place: tuple[int, int]) -> bool:
        problem, sample = place
        return bool(self._blocks.get((problem, sample >> 10), 0) >> (sample & 1023) & 1)

    def are_of(self, problems: int) -> bool:
        """Whether all of them are of the first so many problems."""
        return all(problem < problems for problem, _ in self._blocks)


class _Rewarded(msgspec.Struct):
    problem: Count
    sample: Count
    reward: float | None


def _place(line: Any) -> tuple[int, int]:
    return line.problem, line.sample


class LineWriter:
    """A file of lines that grows, opened where its last whole line ends. Closing it forces it to the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not _is_there(path)
            self._file = path.open("ab")
            self._file.truncate(whole_lines(path))
            if is_new:
                fsync_path(path.parent)
        self._synced = time.monotonic()

    def write(self, lines: Iterable[msgspec.Struct]) -> None:
        """Add lines; another process sees them when this returns."""
        content = _ENCODER.encode_lines(list(lines))
        with self._errors():
            self._file.write(content)
            self._file.flush()
            if time.monotonic() - self._synced > SYNC_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def close(self) -> None:
        with self._errors():
            if not self._file.closed:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()

    def _errors(self) -> Any:
        return storage_errors(f"writing {self._path}", KEPT)


def write_header(directory: Path, header: StoreHeader) -> None:
    """Write or replace the header, atomically."""
    with storage_errors(f"writing {directory}"):
        directory.mkdir(parents=True, exist_ok=True)
        write_durably(directory / HEADER, msgspec.json.format(msgspec.json.encode(header)).decode() + "\n")


def write_store(
    directory: Path,
    header: StoreHeader,
    problems: Iterable[StoredProblem],
    samples: Iterable[StoredSample],
    verdicts: Iterable[StoredVerdict],
) -> None:
    """Write a whole store in place of the one that is there: it exists completely or not at all."""
    aside = directory.with_name(f"{directory.name}.{os.getpid()}.tmp")
    with storage_errors(f"writing {directory}"):
        for each in (aside, directory):
            if each.exists():
                remove_tree(each)
        for name, lines in ((PROBLEMS, problems), (f"{SAMPLES}/0.jsonl", samples), (f"{VERDICTS}/0.jsonl", verdicts)):
            writer = LineWriter(aside / name)
            writer.write(lines)
            writer.close()
        write_header(aside, header)
        os.replace(aside, directory)
        fsync_path(directory.parent)


def read_lines(path: Path, kind: type[Line], damaged: Any = lambda: None) -> Iterator[Line]:
    """The lines of a file that are whole and of this kind; `damaged()` is called for others, none without a file."""
    if not _is_there(path):
        return
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            if not line.endswith(b"\n"):
                return  # being written, or cut off by a crash
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                damaged()


def _is_there(path: Path) -> bool:
    """Whether there is such a file. Raises DataError for a folder in its place, or a pipe, which one would wait for."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is not a regular file; move it away")
    return path.exists()


def whole_lines(path: Path) -> int:
    """Bytes of a file up to the end of its last whole line."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - (1 << 16))
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                return start + found + 1
            end = start
    return 0


def _read(raw: msgspec.Raw, kind: Any, otherwise: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return otherwise


_ENCODER = msgspec.json.Encoder()
