"""A verifier process: reads answers from standard input, scores them one by one, writes verdicts to standard output.

Started by `VerifierPool` as `python -m prorl_mega.verifiers.worker PARENT_PID`. Scorers of third parties evaluate
what a model wrote, so the process drops rights before the first answer: memory and file-size limits, no new
processes (a task starts those that it needs before that), no network, files for reading only, and it dies with its
parent. This stops accidents and crude attacks; it is no boundary against code written to defeat it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from prorl_mega.sandbox.channel import Inbox, pipes_to_parent, send
from prorl_mega.tasks.registry import Task
from prorl_mega.tasks.second_opinion import create_verifier
from prorl_mega.types import Grading, Outcome, Problem
from prorl_mega.verifiers.messages import (
    MAX_DETAIL,
    MAX_NAME,
    AnswerMessage,
    VerdictMessage,
    WorkerEvent,
    WorkerReply,
    WorkerRequest,
    WorkerSetup,
)

FILE_SIZE = 1 << 20  # bytes that may be written to one file (the error log)
_FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.kill", "os.killpg",
              "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
              "subprocess.Popen", "socket.", "pty.spawn", "signal.pthread_kill", "ctypes.dlopen")  # fmt: skip


def serve(source: int, sink: int) -> None:
    """Answer requests until the other end of the pipe is closed."""
    inbox = Inbox(WorkerRequest)
    tasks: dict[str, Task] = {}
    warm: set[str] = set()
    timeout_s = 0.0

    def report(event: WorkerEvent) -> None:
        send(sink, WorkerReply(event, time.process_time()))

    def warm_up(entry: str) -> None:
        if entry in warm:
            return
        report("warming")
        tasks[entry].warm_up()
        tasks[entry].progress = lambda: report("working")
        report("warm")
        if not warm:
            sys.addaudithook(_refuse)
        warm.add(entry)

    while data := os.read(source, 1 << 16):
        for request in inbox.feed(data):
            if request.setup is not None:
                timeout_s = request.setup.timeout_s
                tasks = start_tasks(request.setup)
                report("ready")
            for entry in tasks if request.warm else ():
                warm_up(entry)
            for answer in request.answers:
                warm_up(answer.problem.task)
                report(score(tasks[answer.problem.task], answer, timeout_s))


def start_tasks(setup: WorkerSetup) -> dict[str, Task]:
    """The tasks by entry, after they have started their processes; from now on memory and files are limited."""
    for module in setup.modules:
        importlib.import_module(module)
    tasks = {entry: create_verifier(name, entry, options) for entry, (name, options) in setup.entries.items()}
    for task in tasks.values():
        task.start()
    resource.setrlimit(resource.RLIMIT_AS, (setup.memory, setup.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    return tasks


def score(task: Task, answer: AnswerMessage, timeout_s: float) -> VerdictMessage:
    """The verdict, or the scorer's error."""
    problem, text = answer.problem.problem(), answer.answer
    try:
        if answer.grading is Grading.RELAXED:
            return _relaxed(task, problem, answer, timeout_s)
        _bound_processor_time(timeout_s)
        return _judged(task, problem, text, answer.id, task.canonical if answer.grading is Grading.NAMED else None)
    except BaseException as error:  # a scorer may raise SystemExit or a time-out that is no Exception
        return _failed(answer.id, f"the verifier raised {type(error).__name__}: {str(error)[:200]}")


def _judged(
    task: Task, problem: Problem, text: str, number: int, name: Callable[[Problem, str], str] | None
) -> VerdictMessage:
    verdict = task.score(problem, text)
    reward, outcome = float(verdict.reward), Outcome(verdict.outcome)
    low, high = task.rewards
    if not low <= reward <= high:
        return _failed(number, f"the verifier returned {reward!r}, not a number from {low:g} to {high:g}")
    answer = ""
    if name is not None and outcome is Outcome.SCORED and verdict.found:
        with contextlib.suppress(Exception):  # a reward is not lost because nobody can name the answer
            answer = str(name(problem, text))[:MAX_NAME]
    return VerdictMessage(number, reward, outcome, str(verdict.detail)[:200], bool(verdict.found), answer)


def _relaxed(task: Task, problem: Problem, answer: AnswerMessage, timeout_s: float) -> VerdictMessage:
    """The best verdict on the readings of an answer, each with its own time limit; without any, nothing is found."""
    best = VerdictMessage(answer.id, 0.0, Outcome.SCORED, "", False)
    for reading in task.readings(problem, answer.answer):
        task.progress()
        _bound_processor_time(timeout_s)
        verdict = _judged(task, problem, reading, answer.id, None)
        if verdict.outcome is not Outcome.SCORED:
            return verdict
        if not best.found or verdict.reward > best.reward:
            best = VerdictMessage(answer.id, verdict.reward, Outcome.SCORED, verdict.detail)
        if best.reward >= 1.0:
            break
    return best


def _failed(number: int, detail: str) -> VerdictMessage:
    return VerdictMessage(number, 0.0, Outcome.INFRA_ERROR, detail[:MAX_DETAIL])


def _bound_processor_time(seconds: float) -> None:
    """Have the kernel send SIGXCPU some time after the parent should have killed us: it may be stopped or starved."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    bound = int(used.ru_utime + used.ru_stime + 2 * seconds) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (bound, resource.RLIM_INFINITY))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook that forbids operations no scorer needs. It cannot be removed once it is installed."""
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"{event} is not allowed while answers are scored")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise PermissionError("writing files is not allowed while answers are scored")


if __name__ == "__main__":
    serve(*pipes_to_parent())
