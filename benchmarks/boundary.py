"""Seconds of `prorl_mega.boundary` for thousands of problems with up to 1,024 samples each, three models.

python benchmarks/boundary.py --problems 2000 --samples 1024 --tasks 40
python benchmarks/boundary.py --problems 200 --samples 256 --answers 400    # with stores: answers of 400 tokens
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prorl_mega.boundary import main as boundary
from prorl_mega.evaluation.store_summary import summarise_store
from prorl_mega.run.evaluations import write_evaluation
from prorl_mega.run.sample_store import (
    PROBLEMS,
    SAMPLES,
    VERDICTS,
    LineWriter,
    SampleStore,
    StoredProblem,
    StoredSample,
    StoredVerdict,
    StoreHeader,
    write_header,
)


def evaluation(directory: Path, label: str, rates: np.ndarray, samples: int, tasks: int, seed: int) -> Path:
    """An evaluation's file, without its answers."""
    random = np.random.default_rng(seed)
    solved = random.binomial(samples, rates)
    problems = [
        {
            "key": f"task{i % tasks}/{i}", "task": f"task{i % tasks}", "samples": samples, "solved": int(each),
            "mean_reward": each / samples, "relaxed": int(min(samples, each + i % 5)), "truncated": i % 7,
            "tokens": samples * int(random.integers(500, 9000)), "prompt": "q" * 500, "completion": "a" * 3000,
        }
        for i, each in enumerate(solved)
    ]  # fmt: skip
    metrics = {"evaluation/truncated": 0.01, "evaluation/length": 4000.0}
    write_evaluation(directory, label=label, step=0, settings={"seed": 1}, metrics=metrics, problems=problems)
    return directory / f"{label}.json"


def store(directory: Path, label: str, rates: np.ndarray, samples: int, tasks: int, tokens: int, seed: int) -> Path:
    """An evaluation with its answers, and the seconds that its summary takes on the way."""
    random = np.random.default_rng(seed)
    ids, logprobs, text = list(range(tokens)), [-0.1234] * tokens, "word 1 + 1 = 2 " * (tokens // 5)
    folder = directory / label
    header = StoreHeader(
        label=label, step=0, policy="", identity=label, seed=1, samples=samples, settings={"seed": 1}, config={},
        provenance={},
    )  # fmt: skip
    write_header(folder, header)

    def answers() -> Iterator[StoredSample]:
        for i in range(len(rates)):
            for j in range(samples):
                yield StoredSample(
                    problem=i, sample=j, seed=1, text=text, finish="stop", length=tokens, tokens=ids, logprobs=logprobs
                )

    def verdicts() -> Iterator[StoredVerdict]:
        for i, rate in enumerate(rates):
            for j in range(samples):
                right = random.random() < rate
                yield StoredVerdict(problem=i, sample=j, reward=float(right), answer=str(0 if right else j))

    problems = (
        StoredProblem(key=f"task{i % tasks}/{i}", task=f"task{i % tasks}", prompt="q") for i in range(len(rates))
    )
    for name, lines in ((PROBLEMS, problems), (f"{SAMPLES}/0.jsonl", answers()), (f"{VERDICTS}/0.jsonl", verdicts())):
        writer = LineWriter(folder / name)
        for line in lines:
            writer.write([line])
        writer.close()
    started = time.perf_counter()
    metrics, records = summarise_store(SampleStore(folder))
    print(f"summary of {label}: {time.perf_counter() - started:.1f} s")
    write_evaluation(directory, label=label, step=0, settings={"seed": 1}, metrics=metrics, problems=records)
    return directory / f"{label}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--answers", type=int, default=0, metavar="TOKENS", help="write stores with answers this long")
    given = parser.parse_args()
    base = np.random.default_rng(0).beta(0.2, 0.6, size=given.problems)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        paths = []
        for seed, (label, rates) in enumerate((("base", base), ("middle", base**0.7), ("last", base**0.5))):
            shape = (directory, label, rates, given.samples, given.tasks)
            paths.append(store(*shape, given.answers, seed) if given.answers else evaluation(*shape, seed))
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            code = boundary([*map(str, paths), "--output", str(directory / "out")])
        seconds = time.perf_counter() - started
        size = (directory / "out" / "boundary.html").stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"exit {code}, {seconds:.1f} s, page {size / 1e6:.1f} MB, at most {memory:.0f} MB of memory")


if __name__ == "__main__":
    main()
