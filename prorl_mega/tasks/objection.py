"""Problems that a run cannot use, because their prompt is too long for the engine, for example.

A check that is handed in, because only a run knows its tokenizer and its limits, objects to a problem or does not.
Problems of files are looked at when the files are read: one without a right to be skipped ends the start. Generated
ones are looked at when they are made: they are left out and counted, and the generator's next one is taken. Either
way the check decides by the problem alone, so that a resumed run draws what the interrupted one would have drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks.registry import Task
from prorl_mega.types import Problem

PROBED = 64  # first problems of a generator, of which the run must be able to use one


@dataclass(kw_only=True, slots=True, frozen=True)
class Objection:
    """Why a run cannot use a problem."""

    reason: str  # a few words that are equal for all problems of the kind, and counted
    detail: str  # names the problem, and the setting with the numbers
    setting: str = ""  # a key that could be raised
    needs: int = 0  # its smallest value with which the problem could be used

    def remedy(self) -> str:
        return f"raise {self.setting}, leave the problem out" if self.setting else "leave the problem out"


Check = Callable[[Problem], Objection | None]


def length_check(tokens: Callable[[Problem], int], most: int, setting: str, what: str = "prompt") -> Check:
    """The check that refuses problems of more than `most` tokens; `setting` is the key that `most` comes from."""

    def check(problem: Problem) -> Objection | None:
        try:
            count = tokens(problem)
        except DataError as error:  # a text that the tokenizer cannot express
            raise DataError(f"{problem.key}: {error}") from None
        if count <= most:
            return None
        detail = f"the {what} of {problem.key} has {count} tokens and {setting} is {most}"
        return Objection(reason=f"{what} too long", detail=detail, setting=setting, needs=count)

    return check


def leave_out_rows(tasks: Mapping[str, Task], check: Check, seed: int) -> None:
    """Drop the problems of files that `check` objects to. Raises DataError where a task's options do not allow it."""
    for task in tasks.values():
        found: dict[str, dict[str, str]] = {}
        for index in range(task.size() or 0):
            problem = task.problem(index, seed)
            if (objection := check(problem)) is not None:
                found.setdefault(objection.reason, {})[problem.key] = f"{objection.detail}; {objection.remedy()}"
        for reason, details in found.items():
            task.leave_out(reason, details)


def probe_generators(tasks: Mapping[str, Task], check: Check) -> None:
    """Raise ConfigError for a generator whose first problems are all objected to: a draw might never end."""
    for entry, task in tasks.items():
        if task.size() is not None:
            continue
        objections: list[Objection] = []
        for index in range(PROBED):
            if (objection := check(task.problem(index, 0))) is None:
                break
            objections.append(objection)
        else:
            least = min(objections, key=lambda each: each.needs)
            raise ConfigError(
                f"tasks.mixture.{entry}: none of its first {PROBED} problems can be used: {least.detail}"
                + (f" (the least of them); raise {least.setting} to {least.needs} or more" if least.setting else "")
                + "; change the entry's options, or leave the entry out"
            )
