"""Answers per second of grading an evaluation again, and the memory that it takes for few answers and for many.

    python benchmarks/regrade.py                 4,000 and 40,000 answers to problems of arithmetic
    python benchmarks/regrade.py --answers 1000 --workers 2

Every tenth answer is right but for its form, and is read in other ways. Each size is graded in a process of its own,
whose largest resident memory is that of the grader; the verifier processes have theirs (`tasks.memory_mib`).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers import stores

from prorl_mega.config.schema import RunConfig, TaskConfig, TasksConfig
from prorl_mega.regrade import regrade
from prorl_mega.run.settings import to_plain
from prorl_mega.stored import stored_problem
from prorl_mega.tasks import create

SAMPLES = 100  # of each problem
THOUGHTS = "First we look at the digits, one after the other, and carry. " * 100  # 6,000 characters


def write(directory: Path, answers: int) -> None:
    """An evaluation with so many answers."""
    tasks = TasksConfig(mixture={"sums": TaskConfig(name="arithmetic")})
    task = create("arithmetic", "sums", {})
    problems = [task.problem(index, 1) for index in range(-(-answers // SAMPLES))]
    forms = ["\\boxed{{{0}}}", "The answer is {0}."]
    stores.write_store(
        directory,
        [stored_problem(problem) for problem in problems],
        (
            stores.sample(
                number // SAMPLES,
                number % SAMPLES,
                THOUGHTS + forms[number % 10 == 0].format(problems[number // SAMPLES].entry["answer"]),
                tokens=[],
                logprobs=[],
            )
            for number in range(answers)
        ),
        about=stores.header("policy", SAMPLES, config=to_plain(RunConfig(name="run", tasks=tasks))),
    )


def measure(directory: Path, workers: int) -> None:
    began = time.monotonic()
    regrade(directory, workers=workers)
    seconds = time.monotonic() - began
    status = Path("/proc/self/status").read_text()  # getrusage would count the process that has started this one
    memory = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]
    print(f"{seconds:.1f} s, {memory:.0f} MiB in the grading process")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, nargs="+", default=[4000, 40_000])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)  # of one size, in a process of its own
    given = parser.parse_args()
    if given.directory is not None:
        measure(given.directory, given.workers)
        return
    for answers in given.answers:
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder) / "evaluation" / "policy"
            write(directory, answers)
            command = [sys.executable, __file__, "--directory", str(directory), "--workers", str(given.workers)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            print(f"{answers:>7,} answers, {given.workers} processes: {said}", flush=True)


if __name__ == "__main__":
    main()
