"""The contract of tasks, as checks that can be run on any task: in the tests, and on the command line.

Answers are scored by the real pool, so that a task that only works in the process that made its problems is noticed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from prorl_mega.config.schema import TasksConfig
from prorl_mega.tasks import extension, extract
from prorl_mega.tasks.registry import Task, create
from prorl_mega.types import Outcome, Problem, Verdict
from prorl_mega.verifiers.pool import VerifierPool

SEED, OTHER_SEED = 0, 1
FULL = 1 - 1e-6
WRONG = "I do not know."
HOSTILE = [
    " \n\t ",
    "\x00\x07\x1b[2J\u202e\ufeff",
    "NaN",
    "inf",
    "__import__('os').system('true')",
    "9**9**9**9",
    "9^{9^{9^{9}}}",
    "9e999999999",
    "(" * 3000,
    "[[" * 2000,
    "{" * 3000,
    "-" * 3000 + "1",
    "()()()'\"{}%s%n{0.__class__}",
    "\\boxed{" * 50 + "1" + "}" * 50,
    "\U0001d7d7" * 100,
    "\u0661" * 3000,
    "\ud800",
    "exit()",
    "0x" + "f" * 3000,
    "1/0",
    "R99999999 A+99999999",
    "a" * 4000,
    "1," * 2000,
    "\\frac" * 800,
]
LONG = "{[(\\boxed{<answer>" * 55_000


@dataclass(kw_only=True, slots=True)
class ContractCheck:
    """One promise of one entry: how many cases were checked, and what was wrong with those that broke it."""

    promise: str
    cases: int = 0
    broken: list[str] = field(default_factory=list)


def wrapped(text: str) -> list[str]:
    """The text as it is, and in the forms in which tasks look for answers."""
    return [text, *(extract.mark("", text, form) for form in (extract.Form.tags, extract.Form.boxed))]


def check(tasks: TasksConfig, pool: VerifierPool, *, problems: int) -> dict[str, list[ContractCheck]]:
    """The promises of every entry, checked on its first `problems` problems; `pool` is made from the same settings."""
    extension.load(tasks.modules, "tasks.modules")
    made = {entry: create(each.name, entry, each.options) for entry, each in tasks.mixture.items()}
    results: dict[str, list[ContractCheck]] = {}
    for entry, task in made.items():
        task.load()
        count = min(problems, task.size() or problems)
        posed = [task.problem(index, SEED) for index in range(count)]
        again = create(tasks.mixture[entry].name, entry, tasks.mixture[entry].options)
        results[entry] = [_is_reproducible(posed, again), _is_plain(posed, entry)]
        results[entry] += _judged(posed, task, pool)
    return results


def _is_reproducible(posed: list[Problem], again: Task) -> ContractCheck:
    result = ContractCheck(promise="same seed, same problems, in any order", cases=len(posed))
    again.load()
    for index in reversed(range(len(posed))):
        if again.problem(index, SEED) != posed[index]:
            result.broken.append(f"{posed[index].key} is another problem when it is made again")
    if again.size() is None and again.problem(0, OTHER_SEED).key == posed[0].key:
        result.broken.append(f"seeds {SEED} and {OTHER_SEED} give the same key {posed[0].key!r}")
    return result


def _is_plain(posed: list[Problem], entry: str) -> ContractCheck:
    result = ContractCheck(promise="plain data with keys of its own", cases=len(posed))
    if len({problem.key for problem in posed}) < len(posed):
        result.broken.append(f"two problems have the same key: {[problem.key for problem in posed]}")
    for problem in posed:
        try:
            same = json.loads(json.dumps(problem.entry)) == problem.entry
        except (TypeError, ValueError) as error:
            result.broken.append(f"{problem.key}: entry is no JSON: {error}")
            continue
        if not same:
            result.broken.append(f"{problem.key}: entry changes on its way through JSON (tuples, numbers as keys)")
        if problem.task != entry or not problem.key.startswith(f"{entry}/") or not problem.prompt.strip():
            result.broken.append(
                f"{problem.key}: task must be {entry!r}, the key begin with '{entry}/', a prompt be there"
            )
    return result


def _judged(posed: list[Problem], task: Task, pool: VerifierPool) -> list[ContractCheck]:
    solved = [(problem, problem.solution) for problem in posed if problem.solution is not None]
    wrong = [(problem, text) for problem in posed for text in ("", WRONG, *wrapped("")[1:])]
    hostile = [(posed[0], text) for each in HOSTILE for text in wrapped(each)] + [(posed[0], LONG)]

    def is_full(text: str, verdict: Verdict) -> str | None:
        return None if verdict.reward >= FULL else "its own solution does not score 1"

    def is_nothing(text: str, verdict: Verdict) -> str | None:
        may_be_right = task.judges_form and text.strip()
        return None if verdict.reward <= 0 or may_be_right else "an empty or wrong answer does not score 0"

    def is_less(text: str, verdict: Verdict) -> str | None:
        return None if verdict.reward < FULL or task.judges_form else "a hostile answer scores 1"

    return [
        _run(pool, "its own solutions score 1", solved, is_full),
        _run(pool, "empty and wrong answers score 0", wrong, is_nothing),
        _run(pool, "hostile answers end in time", hostile, is_less),
    ]


def _run(
    pool: VerifierPool,
    promise: str,
    pairs: list[tuple[Problem, str]],
    complaint: Callable[[str, Verdict], str | None],
) -> ContractCheck:
    """Score all pairs; an answer without a verdict breaks every promise."""
    result = ContractCheck(promise=promise, cases=len(pairs))
    for (problem, text), verdict in zip(pairs, pool.score(pairs), strict=True):
        reason = complaint(text, verdict) if verdict.outcome is Outcome.SCORED else "no verdict"
        if reason is not None:
            shown = ascii(text[:60]) + ("..." if len(text) > 60 else "")
            result.broken.append(f"{problem.key}: {reason}: {shown} -> {verdict.reward:g} {verdict.detail}".rstrip())
    return result
