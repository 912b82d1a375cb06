"""Several programs of this package that build on each other: warm starts, runs, evaluations, and the page at the end.

    python -m prorl_mega.workflow examples/boundary.yaml --output runs/boundary --jobs 2

Every step of the file is a program of its own with one thread, started when the steps that it names under `after` are
done, as many at a time as --jobs says. A step whose file `makes` exists is done, and one that was interrupted goes on
where its program resumes, so the same command continues a workflow. What a step prints is in
`<output>/logs/<step>.log`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from prorl_mega.documents import read_yaml
from prorl_mega.errors import ConfigError, ProRLError, exit_status
from prorl_mega.run.console import duration
from prorl_mega.run.programs import Programs
from prorl_mega.run.storage import storage_errors

OUTPUT = "{output}"  # in arguments: the folder of the workflow
TELL_S = 60.0  # between two lines on the time left


class WorkflowStep(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One program with its arguments."""

    program: str  # `train` for `python -m prorl_mega.train`
    arguments: list[str] = []  # as on the command line; `{output}` stands for the folder of the workflow
    makes: str  # the file, below that folder, that is there when the step is done
    after: list[str] = []  # steps that have to be done before
    minutes: Annotated[float, msgspec.Meta(gt=0)] = 1.0  # on a quiet core, roughly: for the time left


class Workflow(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The content of a workflow's file, in the order in which steps start when they can."""

    steps: dict[str, WorkflowStep]

    def order(self) -> list[str]:
        """All steps, each behind those that it comes after. ValueError if some wait for each other."""
        found: list[str] = []
        while len(found) < len(self.steps):
            ready = [name for name, step in self.steps.items() if name not in found and set(step.after) <= set(found)]
            if not ready:
                waiting = [name for name in self.steps if name not in found]
                raise ValueError(f"{', '.join(waiting)} wait for each other")
            found += ready
        return found


def read_workflow(path: Path) -> Workflow:
    """The workflow in a file. Raises ConfigError that names the file and the key."""
    try:
        workflow = msgspec.convert(read_yaml(path), Workflow)
    except (OSError, ValueError) as error:  # msgspec's is one of these, and names the place
        raise ConfigError(f"{path}: {error}") from None
    if not workflow.steps:
        raise ConfigError(f"{path}: steps: there is none")
    for name, step in workflow.steps.items():
        where = f"{path}: steps.{name}"
        if not name.replace("_", "").isalnum():
            raise ConfigError(f"{where}: a name has letters, digits and underscores; it becomes that of a file")
        known = step.program.isidentifier() and importlib.util.find_spec(f"prorl_mega.{step.program}")
        if not known:
            raise ConfigError(f"{where}.program: there is no `python -m prorl_mega.{step.program}`")
        if unknown := [each for each in step.after if each not in workflow.steps]:
            raise ConfigError(f"{where}.after: {unknown[0]!r} is not one of the steps")
        if step.makes != os.path.normpath(step.makes) or step.makes.startswith(("/", "..")):
            raise ConfigError(f"{where}.makes: {step.makes!r} must be the path of a file below the output's folder")
    try:
        workflow.order()
    except ValueError as error:
        raise ConfigError(f"{path}: after: {error}") from None
    return workflow


def arguments_of(step: WorkflowStep, output: Path) -> list[str]:
    """The arguments of a step's program."""
    return [argument.replace(OUTPUT, str(output)) for argument in step.arguments]


def seconds_left(steps: Mapping[str, WorkflowStep], waits: Mapping[str, float], jobs: int) -> float:
    """Until all is done, if steps take `waits` seconds from now: each starts as soon as it can, `jobs` at a time.

    Steps that are not in `waits` are done; those of 0 seconds or less are about to be.
    """
    ends: dict[str, float] = {}
    cores = [0.0] * jobs
    left = [name for name in Workflow(steps=dict(steps)).order() if name in waits]
    while left:

        def start(name: str) -> float:
            ready = max((ends.get(each, 0.0) for each in steps[name].after if each in waits), default=0.0)
            return max(ready, min(cores))

        possible = [each for each in left if all(other not in left for other in steps[each].after)]
        name = min(possible, key=start)
        core = cores.index(min(cores))
        ends[name] = cores[core] = start(name) + max(waits[name], 0.0)
        left.remove(name)
    return max(ends.values(), default=0.0)


@dataclass(kw_only=True, slots=True)
class WorkflowRun:
    """Steps that are done, that run and that have failed. `start` begins a step and returns its exit status."""

    workflow: Workflow
    output: Path
    jobs: int
    start: Callable[[WorkflowStep, str], int]
    say: Callable[[str], None] = print
    failed: list[str] = field(default_factory=list)
    _running: dict[Future[int], tuple[str, float]] = field(default_factory=dict)  # when it began
    _taken: list[tuple[float, float]] = field(default_factory=list)  # seconds, and those that were expected

    def is_done(self, name: str) -> bool:
        return (self.output / self.workflow.steps[name].makes).is_file()

    def finish(self) -> None:
        """Do what is not done.

        Raises ProRLError, when nothing more can be done, for steps that have failed, and what `start` raises.
        """
        steps = self.workflow.steps
        done = [name for name in steps if self.is_done(name)]
        self.say(f"{len(steps)} steps, {len(done)} done before")
        with ThreadPoolExecutor(self.jobs) as pool:
            while True:
                for name in self._ready()[: self.jobs - len(self._running)]:
                    self._running[pool.submit(self.start, steps[name], name)] = (name, time.monotonic())
                    self.say(f"{name}: started, log {log_file(self.output, name)}  left about {self._left()}")
                if not self._running:
                    break
                ended, _ = wait(self._running, timeout=TELL_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._ended(future)
                if not ended:
                    names = ", ".join(name for name, _ in self._running.values())
                    self.say(f"{names}: running  left about {self._left()}")
        if self.failed:
            log = log_file(self.output, self.failed[0])
            raise ProRLError(f"{', '.join(self.failed)} failed; see {log}. What is done is kept; run again")

    def _ready(self) -> list[str]:
        running = {name for name, _ in self._running.values()}
        done = {name for name in self.workflow.steps if name not in running and self.is_done(name)}
        return [
            name
            for name, step in self.workflow.steps.items()
            if name not in running | done | set(self.failed) and done.issuperset(step.after)
        ]

    def _ended(self, future: Future[int]) -> None:
        name, began = self._running.pop(future)
        took = time.monotonic() - began
        if future.result() != 0 or not self.is_done(name):
            self.failed.append(name)
            self.say(f"{name}: failed after {duration(took)}, see {log_file(self.output, name)}")
            return
        self._taken.append((took, 60 * self.workflow.steps[name].minutes))
        self.say(f"{name}: done in {duration(took)}  left about {self._left()}")

    def _left(self) -> str:
        """The expected time until the end, at the speed of the steps that are done."""
        expected = sum(each for _, each in self._taken)
        pace = sum(took for took, _ in self._taken) / expected if expected else 1.0
        began = {name: time.monotonic() - at for name, at in self._running.values()}
        waits = {
            name: 60 * step.minutes * pace - began.get(name, 0.0)
            for name, step in self.workflow.steps.items()
            if not self.is_done(name)
        }
        return duration(seconds_left(self.workflow.steps, waits, self.jobs))


def log_file(output: Path, name: str) -> Path:
    """The file with all that a step has printed."""
    return output / "logs" / f"{name}.log"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.workflow",
        description="Do the steps of a workflow, each when those before it are done.",
        epilog="The same command continues a workflow that was interrupted.",
    )
    parser.add_argument("workflow", type=Path, help="for example examples/boundary.yaml")
    parser.add_argument("--output", type=Path, default=Path("runs/workflow"), help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="steps at a time; default: %(default)s")
    options = parser.parse_args(arguments)

    def work() -> None:
        workflow, output = read_workflow(options.workflow), options.output
        with storage_errors(f"creating {output}"):
            (output / "logs").mkdir(parents=True, exist_ok=True)
        with Programs() as programs:

            def start(step: WorkflowStep, name: str) -> int:
                return programs.run(step.program, arguments_of(step, output), log_file(output, name))

            WorkflowRun(
                workflow=workflow, output=output, jobs=max(1, options.jobs), start=start,
                say=lambda line: print(line, flush=True),
            ).finish()  # fmt: skip
        print(f"everything is in {output}")

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
