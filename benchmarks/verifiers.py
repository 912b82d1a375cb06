"""Answers per second through the pool, and what they cost a worker. `python benchmarks/verifiers.py [--workers N]`.

The mixes are those of the tables in tests/tasks/tables: right and wrong answers as models write them, two of three of
them plain numbers, which is the share that data sets of mathematics have. `formulas` has no numbers, `hard` only
references that math-verify must judge.

Which rows are numbers is decided by the code itself, and another version of it would draw others. To compare two
versions, run this file with each of them in PYTHONPATH and the same `--pairs FILE`: the first run writes the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.answer_tables import Row, read_table

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.tasks.answers.equivalence import number
from prorl_mega.types import Problem
from prorl_mega.verifiers.pool import VerifierPool

COUNT, ROUNDS, SEED = 4000, 3, 1
THOUGHT = "Let us think step by step. " * 60  # what stands before the answer
HARD = [(r"\sum_{k=1}^{n} k", r"\sum_{j=1}^{n} j"), (r"\int_0^1 f(x)\,dx", r"\int_0^1 f(t)\,dt"),
        (r"\lim_{n\to\infty} a_n", "0"), (r"\{x : x>3\}", r"(3,\infty)"), (r"\max(a,b)", r"\max(b,a)")]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pairs", type=Path, help="file of the pairs that are judged; written if it is not there")
    wanted = parser.parse_args()
    workers = wanted.workers
    rows = read_table("math.tsv")
    numbers = [row for row in rows if number(row.reference) is not None]
    formulas = [row for row in rows if number(row.reference) is None]
    random = Random(SEED)
    mixes: dict[str, list[tuple[str, str]]] = {
        "math, numbers": _pairs(random.choices(numbers, k=COUNT)),
        "math, formulas": _pairs(random.choices(formulas, k=COUNT)),
        "math, mixed": _pairs(random.choices(numbers, k=2 * COUNT // 3) + random.choices(formulas, k=COUNT // 3)),
        "math, never seen before": _fresh(random),
        "math, hard": random.choices(HARD, k=COUNT // 20),
    }
    science = [row for row in read_table("stem.tsv") if " :: " not in row.reference]
    mixes["stem"] = _pairs(random.choices(science, k=COUNT))
    for pairs in mixes.values():
        random.shuffle(pairs)
    if wanted.pairs and wanted.pairs.exists():
        mixes = {name: [tuple(pair) for pair in pairs] for name, pairs in json.loads(wanted.pairs.read_text()).items()}
    elif wanted.pairs:
        wanted.pairs.write_text(json.dumps(mixes))
    print(f"{workers} workers on {len(os.sched_getaffinity(0))} cores")
    stem = mixes.pop("stem")
    for name, pairs in mixes.items():
        _measure(name, "math", {"verifier": "math"}, pairs, workers)
    _measure("math, mixed, two verifiers", "math", {"verifier": "math"}, mixes["math, mixed"], workers, second="plain")
    _measure("stem", "stem", {"tolerance": 0.0}, stem, workers)


def _pairs(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row.reference, row.answer) for row in rows]


def _fresh(random: Random) -> list[tuple[str, str]]:
    """References and answers of which no cache knows any."""
    pairs = []
    for _ in range(COUNT):
        a, b, c = (random.randint(2, 10**6) for _ in range(3))
        made = [(str(a * b), f"{a * b:,}"), (rf"\frac{{{a}}}{{{b}}}", f"{a}/{b}"), (f"y={a}x+{b}", f"{a}x-y=-{b}"),
                (rf"{a}\sqrt{{{b}}}", rf"\sqrt{{{a * a * b}}}"), (f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})"),
                (f"({a},{b})", f"({a}, {c})")]  # fmt: skip
        pairs.append(random.choice(made))
    return pairs


def _measure(name: str, task: str, entry: dict, pairs: list[tuple[str, str]], workers: int, **options: str) -> None:
    """The best of some rounds; the first starts the workers and does not count."""
    problems = [
        (
            Problem(key=f"{task}/{i}", task=task, prompt="?", entry={"answer": reference, **entry}),
            f"{THOUGHT}\\boxed{{{answer}}}",
        )
        for i, (reference, answer) in enumerate(pairs)
    ]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.jsonl"
        path.write_text(json.dumps({"prompt": "?", "answer": "1"}))
        config = TasksConfig(
            mixture={task: TaskConfig(name=task, options={"path": str(path), **options})},
            workers=workers,
            timeout_s=30.0,
        )
        with VerifierPool(config) as pool:
            pool.score(problems[: 64 * workers])
            seconds, processor = [], []
            for _ in range(1 if name.endswith("before") else ROUNDS):
                used, began = _used(), time.perf_counter()
                verdicts = pool.score(problems)
                seconds.append(time.perf_counter() - began)
                processor.append(_used() - used)
    failed = sum(verdict.outcome.value != "scored" for verdict in verdicts)
    each = 1000 * min(processor) / len(problems)
    rate = len(problems) / min(seconds)
    lost = f", {failed} lost" if failed else ""
    print(f"{name:28} {rate:7.0f} answers/s; a worker {1000 / each:7.0f} in a second, {each:5.2f} ms each{lost}")


def _used() -> float:
    """Processor time of the children of this process, in seconds."""
    ticks = 0
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
