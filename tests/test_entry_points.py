"""Every program answers what is wrong on its command line, and `--help`, before it imports what takes seconds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from prorl_mega.errors import ExitCode

ROOT = Path(__file__).resolve().parents[1]
SLOW = ("torch", "megatron", "vllm", "transformers", "pyarrow", "reasoning_gym", "sympy", "matplotlib", "numba")


def run(module: str, *arguments: str) -> tuple[int, str, set[str]]:
    """Exit code, everything that was printed, and the slow packages that were imported."""
    command = [sys.executable, "-X", "importtime", "-m", f"prorl_mega.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    said = "\n".join(line for line in lines if not line.startswith("import time:"))
    assert "argparse" in imported, "what is imported is not shown"
    return done.returncode, done.stdout + said, {name for name in imported if name in SLOW}


@pytest.mark.parametrize(
    ("module", "arguments", "code", "message"),
    [
        ("train", ["experiment=demo", "recipe.kl_cof=1"], ExitCode.CONFIG, r"recipe\.kl_cof: no such setting"),
        ("evaluate", ["experiment=dmeo"], ExitCode.CONFIG, r"did you mean demo"),
        (
            "evaluate",
            ["benchmarks=[aime24]", "model.path=x"],
            ExitCode.CONFIG,
            r"aime24: no file\. Looked for data/benchmarks/",
        ),
        ("warmstart", ["experiment=demo_base", "steps=many"], ExitCode.CONFIG, r"steps"),
        ("plan", ["experiment=demo", "seed=x"], ExitCode.CONFIG, r"seed"),
        ("study", ["/nowhere.yaml"], ExitCode.CONFIG, r"/nowhere\.yaml: cannot be read"),
        ("report", ["/nowhere"], ExitCode.CONFIG, r"/nowhere"),
        ("boundary", ["/nowhere"], ExitCode.CONFIG, r"/nowhere: does not exist"),
        ("tasks", ["show", "arithmetik"], ExitCode.CONFIG, r"did you mean 'arithmetic'"),
        ("data", ["inspect", "/nowhere.jsonl"], ExitCode.DATA, r"/nowhere\.jsonl: no such file"),
        ("view", ["/nowhere"], ExitCode.CONFIG, r"/nowhere is not a directory"),
        ("creativity", ["score", "/nowhere", "--index", "/nowhere"], ExitCode.CONFIG, r"/nowhere: is no folder"),
        ("serve", ["tasks=nothing"], ExitCode.CONFIG, r"nothing"),
        ("doctor", ["experiment=demo"], ExitCode.CONFIG, r"say what to examine: .*doctor parity experiment=demo`"),
        ("doctor", ["parity", "experiment=demo", "seed=x"], ExitCode.CONFIG, r"seed"),
        ("doctor", ["parity", "experiment=demo", "--samples", "0"], ExitCode.CONFIG, r"--samples 0: at least 1"),
        ("doctor", ["sync", "experiment=demo", "--pushes", "0"], ExitCode.CONFIG, r"--pushes 0: at least 1"),
        ("doctor", ["parity", "-m", "experiment=demo"], ExitCode.CONFIG, r"--multirun: one examination"),
    ],
)
def test_what_is_wrong_is_said_at_once(module: str, arguments: list[str], code: int, message: str) -> None:
    left, said, imported = run(module, *arguments)
    assert re.search(message, said), said
    assert (left, imported) == (code, set()), said


@pytest.mark.parametrize(
    "module", ["train", "export", "backtest", "creativity", "doctor", "sandbox", "submit", "attempt", "tasks", "view"]
)
def test_help_comes_at_once(module: str) -> None:
    left, said, imported = run(module, "--help")
    assert (left, imported) == (0, set())
    assert f"prorl_mega.{module}" in said, "how to call it is not shown"


def test_an_evaluation_needs_no_learner() -> None:
    code = "import sys, prorl_mega.sampler; sys.exit(any(name.startswith('megatron') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=False).returncode == 0


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("tasks.serve", "serve"),
        ("tasks.agreement", "tasks agreement"),
        ("tasks.sandbox", "sandbox"),
        ("replay", "backtest"),
    ],
)
def test_old_names_are_refused_with_the_new_one(before: str, now: str) -> None:
    command = [sys.executable, "-m", f"prorl_mega.{before}", "doctor"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == ExitCode.CONFIG
    assert done.stderr == f"error: `python -m prorl_mega.{before}` is now `python -m prorl_mega.{now}`\n"
