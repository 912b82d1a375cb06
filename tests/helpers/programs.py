"""The real programs as a user starts them, on a model and a mixture that are small enough for a test."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from helpers.tiny import tiny_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "examples" / "tiny_qwen2"
LIMIT_S = 300
# Heads of the smallest size that vLLM's attention on a CPU has; the vocabulary is the tokenizer's, padded.
_SHAPE: dict[str, Any] = {
    "vocab_size": 104,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": 1,
}
# Instructions that a text of random characters follows about every second time: most groups are informative.
TASKS: dict[str, Any] = {
    "letters": {
        "name": "instruction",
        "weight": 2,
        "options": {
            "style": "short",
            "kinds": ["forbid_letter", "include_letter", "no_commas"],
            "min_constraints": 2,
            "max_constraints": 3,
        },
    },
    "sums": {"name": "arithmetic", "options": {"style": "short", "answer": "line", "max_digits": 2}},
}
TRAINING: dict[str, Any] = {
    "defaults": [{"override /rollout": "tiny"}, {"override /tasks": "small"}],
    "name": "small",
    "parallel": {"max_tokens_per_microbatch": 192},
    "rollout": {"max_prompt_tokens": 48, "max_response_tokens": 12, "max_concurrent": 32},
    "recipe": {
        "prompts_per_step": 4,
        "samples_per_prompt": 4,
        "prompts_per_update": 4,
        "kl": {"coef": 0.01, "estimator": "k3"},
    },
    "optimizer": {"learning_rate": 1e-3},
    "evaluation": {"problems_per_task": 2, "final_problems_per_task": 3, "samples": 2},
    "tasks": {"workers": 1},
}
WARMSTART: dict[str, Any] = {
    "defaults": [{"override /tasks": "small"}, {"override /model": "pretrained"}],
    "optimizer": {"learning_rate": 1e-3},
    "problems_per_step": 8,
    "max_tokens": 96,
}


def small_setup(directory: Path, tasks: dict[str, Any] | None = None) -> Path:
    """A model with random weights in `directory`/model, and experiments `small` and `small_base` on a mixture."""
    model = tiny_checkpoint(directory / "model", "qwen2_tied", **_SHAPE)
    for file in TOKENIZER.iterdir():
        if file.name != "config.json":
            shutil.copyfile(file, model / file.name)
    for path, content in {
        "tasks/small": {"mixture": TASKS if tasks is None else tasks},
        "experiment/small": TRAINING | {"model": {"path": model.name}},  # programs are started in `directory`
        "experiment/small_base": WARMSTART | {"model": {"path": model.name}},
    }.items():
        file = directory / "configs" / f"{path}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        header = "# @package _global_\n" if path.startswith("experiment") else ""
        file.write_text(header + yaml.safe_dump(content, sort_keys=False))
    return directory


class Program:
    """A command line of this project, running. Leaving the block ends it and everything that it has started."""

    def __init__(self, module: str, setup: Path, *arguments: str, ranks: int = 1) -> None:
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)] if ranks > 1 else []
        command = [sys.executable, *launcher, "-m", module, "--config-dir", str(setup / "configs"), *arguments]
        self._process = subprocess.Popen(
            command,
            cwd=setup,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            for process in [*self.started(), psutil.Process(self._process.pid)]:
                process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def started(self) -> list[psutil.Process]:
        """The processes below it; torchrun puts its ranks into sessions of their own."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Returns at once when `condition` holds; fails when the program ends before."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            if self._process.poll() is not None:
                raise AssertionError(f"ended with {self._process.returncode} too early:\n{self.finish().output}")
            assert time.monotonic() < deadline, "the program hangs"
            time.sleep(0.005)

    def finish(self) -> Finished:
        try:
            output, _ = self._process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"still running after {LIMIT_S} s:\n{(error.output or b'').decode()}") from None
        return Finished(code=self._process.returncode, output=output)


@dataclass(kw_only=True, slots=True, frozen=True)
class Finished:
    """Exit code (negative: the signal that ended it), standard output and error together."""

    code: int
    output: str


def run_program(module: str, setup: Path, *arguments: str, ranks: int = 1) -> Finished:
    with Program(module, setup, *arguments, ranks=ranks) as program:
        return program.finish()


MACHINE = ("seconds/", "memory/")


def metrics(run: Path, *, seconds: bool = True) -> list[dict[str, Any]]:
    """The rows of the steps in metrics.jsonl, with or without what the machine has to do with."""
    file = run / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [
        {key: value for key, value in row.items() if seconds or not key.startswith(MACHINE)}
        for row in rows
        if row["step"] > 0
    ]


def contents(directory: Path) -> dict[str, str]:
    """A hash of every file below `directory`."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def outcome(directory: Path) -> dict[str, str]:
    """`contents` but for what tells one program from another that did the same: time, command and name of a run."""
    found = contents(directory)
    for name in found:
        if name.endswith("header.json"):
            header = json.loads((directory / name).read_text())
            found[name] = json.dumps({key: header[key] for key in ("label", "step", "policy", "identity", "settings")})
    return found
