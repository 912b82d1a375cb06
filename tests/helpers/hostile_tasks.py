"""Tasks whose verifiers misbehave on request: the answer says how."""

import ctypes
import mmap
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.tasks.registry import Task, register
from prorl_mega.types import Problem, Verdict


@dataclass(kw_only=True, slots=True)
class NoOptions:
    pass


@register("hostile")
class Hostile(Task):
    """`good` is right, numbers are the reward, anything else breaks the worker in some way."""

    options_type = NoOptions

    def problem(self, index: int, seed: int) -> Problem:
        return Problem(key=self.key(index, seed), task=self.entry, prompt=f"problem {index}", solution="good")

    def score(self, problem: Problem, answer: str) -> Verdict:
        if answer in MISDEEDS:
            MISDEEDS[answer]()
        if answer in RETURNS:
            return Verdict(reward=RETURNS[answer])
        return Verdict(reward=1.0 if answer == "good" else 0.0, found=not answer.startswith("?"))

    def canonical(self, problem: Problem, answer: str) -> str:
        return answer.upper()

    def readings(self, problem: Problem, answer: str) -> list[str]:
        """`?half good`: the words, each of which may break the worker."""
        return answer.removeprefix("?").split()


def _sleep() -> None:
    time.sleep(600)


def _spin() -> None:
    while True:
        pass


def _work() -> None:
    """Half a second of computing, honestly."""
    start = time.process_time()
    while time.process_time() < start + 0.5:
        pass


def _allocate() -> None:
    hoard = []
    while True:
        hoard.append(mmap.mmap(-1, 1 << 28))


def _recurse() -> None:
    _recurse()


def _forge() -> None:
    """Write on every descriptor what could pass for something that the pool might believe."""
    for descriptor in range(3, 32):
        try:
            os.write(descriptor, b"\xff\xff\xff\x7fgarbage")
        except OSError:
            continue


def _print() -> None:
    print("noise " * 10_000)
    sys.stderr.write("noise " * 10_000)


MISDEEDS = {
    "sleep": _sleep,
    "spin": _spin,
    "work": _work,
    "allocate": _allocate,
    "recurse": _recurse,
    "gigabyte": lambda: mmap.mmap(-1, 1 << 30).close(),
    "forge": _forge,
    "print": _print,
    "exit": lambda: os._exit(0),
    "sys.exit": lambda: sys.exit(0),
    "raise": lambda: (_ for _ in ()).throw(RuntimeError("broken verifier")),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "fork": os.fork,
    "close": lambda: os.closerange(0, 64),
}
RETURNS: dict[str, Any] = {
    "nan": float("nan"),
    "inf": float("inf"),
    "two": 2.0,
    "minus": -0.1,
    "text": "1.0",
    "none": None,
    "true": True,
    "half": 0.5,
}


@register("wide")
class Wide(Hostile):
    """Any number is the reward."""

    rewards = (-1.0, 5.0)

    def score(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(reward=float(answer))


def hostile_config(**settings: Any) -> TasksConfig:
    return TasksConfig(mixture={"bad": TaskConfig(name="hostile")}, **settings)
