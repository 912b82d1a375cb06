"""How long the Creativity Index takes, and how much memory: the index of a synthetic corpus, and answers against it.

    python benchmarks/creativity.py                      100 MB, 1,000 answers of 1,000 words
    python benchmarks/creativity.py --megabytes 1000

The corpus is words with the frequencies of Zipf's law, of which a tenth repeats phrases, and the texts that installed
packages bring along (README, licences, metadata). Answers are made likewise and copy runs of the corpus. The same seed
makes the same corpus, but for the installed packages.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prorl_mega.run.sample_store import (
    PROBLEMS,
    SAMPLES,
    LineWriter,
    StoredProblem,
    StoredSample,
    StoreHeader,
    write_header,
)

LETTERS = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
VOCABULARY, LINE = 300_000, 12  # words
FILE = 20 << 20  # bytes


def vocabulary(random: np.random.Generator) -> np.ndarray:
    """Words of 2 to 11 letters, some of them twice."""
    letters = LETTERS[np.minimum(random.geometric(0.12, (VOCABULARY, 11)) - 1, 25)]
    sizes = random.integers(2, 12, VOCABULARY)
    return np.array(["".join(row[:size]) for row, size in zip(letters, sizes, strict=True)])


def zipf(random: np.random.Generator, words: np.ndarray, count: int) -> list[str]:
    return [str(each) for each in words[np.minimum(random.zipf(1.15, count) - 1, VOCABULARY - 1)]]


def installed_texts() -> Iterator[str]:
    for root in {Path(each) for each in sys.path if each.endswith("site-packages")}:
        for path in sorted(root.rglob("*")):
            if path.suffix in (".md", ".rst", ".txt") or path.name == "METADATA":
                try:
                    yield path.read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError):
                    continue


def write_corpus(directory: Path, size: int, random: np.random.Generator) -> list[list[str]]:
    """Write about `size` bytes; returns lines of it, for copying."""
    directory.mkdir()
    words = vocabulary(random)
    phrases = [zipf(random, words, int(random.integers(4, 30))) for _ in range(2000)]
    kept: list[list[str]] = []
    written, number = 0, 0
    with (directory / "installed.txt").open("w", encoding="utf-8") as file:
        for text in installed_texts():
            written += file.write(text.replace("\0", "") + "\n")
            if written > size // 3:
                break
    while written < size:
        lines = []
        have = 0
        while have < min(FILE, size - written):
            drawn = zipf(random, words, LINE * 5000)
            for start in range(0, len(drawn), LINE):
                line = drawn[start : start + LINE]
                if random.random() < 0.1:
                    line = [*line[:4], *phrases[int(random.integers(len(phrases)))], *line[4:]]
                lines.append(" ".join(line) + ("\n" if random.random() < 0.9 else ".\n\n"))
                have += len(lines[-1])
            kept += [line.split() for line in lines[-500:]]
        (directory / f"{number}.txt").write_text("".join(lines), encoding="utf-8")
        written, number = written + have, number + 1
    return kept


def write_answers(
    directory: Path, lines: list[list[str]], answers: int, length: int, random: np.random.Generator
) -> None:
    words = vocabulary(random)
    about = StoreHeader(
        label="x", step=0, policy="x", identity="x", seed=0, samples=8, settings={}, config={}, provenance={}
    )
    write_header(directory, about)
    problems, samples = LineWriter(directory / PROBLEMS), LineWriter(directory / SAMPLES / "0.jsonl")
    problems.write(
        StoredProblem(key=str(number), task="t", prompt=" ".join(lines[number])) for number in range((answers + 7) // 8)
    )
    for number in range(answers):
        text: list[str] = []
        while len(text) < length:
            text += zipf(random, words, int(random.integers(5, 40)))
            text += lines[int(random.integers(len(lines)))][: int(random.integers(3, 40))]
        problem, sample = divmod(number, 8)
        samples.write(
            [
                StoredSample(
                    problem=problem, sample=sample, seed=number, text=" ".join(text), finish="stop", length=length
                )
            ]
        )
    problems.close()
    samples.close()


def measured(what: str, command: list[str]) -> None:
    """Run a command of the package and print its time and the most memory that it had."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "prorl_mega.creativity", *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{what}: exit status {process.returncode}")
    seconds = time.monotonic() - begun
    print(
        f"{what}: {seconds:.0f} s ({usage.ru_utime + usage.ru_stime:.0f} s of a core), "
        f"{usage.ru_maxrss / 1e6:.2f} GB; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--words", type=int, default=1000, help="of an answer")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random = np.random.default_rng(given.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        lines = write_corpus(root / "corpus", given.megabytes * 1_000_000, random)
        write_answers(root / "answers", lines, given.answers, given.words, random)
        size = sum(each.stat().st_size for each in (root / "corpus").iterdir())
        print(f"{size / 1e6:.0f} MB; {given.answers} answers of {given.words} words")
        measured("index", ["index", str(root / "corpus"), "--output", str(root / "index")])
        kept = sum(each.stat().st_size for each in (root / "index").rglob("*") if each.is_file())
        print(f"index on the disk: {kept / 1e6:.0f} MB")
        measured("score", ["score", str(root / "answers"), "--index", str(root / "index")])


if __name__ == "__main__":
    main()
