"""Second verifiers of answers: other judges of the problems of an entry, which give no rewards.

A second verifier is a task whose `score` is asked for problems of the entry: another registered one, the entry's own
with other options, one of VERIFIERS, or a function of your own, `my_file.py:judge`. The function gets the problem and
the text of an answer, and returns whether it accepts it, a reward, or a Verdict. Whatever it is, it runs in verifier
processes, and nothing that it does, or fails to do, harms the run.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.plugins import load
from prorl_mega.tasks import extension
from prorl_mega.tasks.math.math_verify import MathVerify
from prorl_mega.tasks.registry import Task, names, nearest, parse_options, task_class
from prorl_mega.types import Problem, Verdict

VERIFIERS: dict[str, type[Task]] = {"math_verify": MathVerify}
"""Verifiers that make no problems."""
OWN = "own"  # name of the entry's own task


class NoSecondOptions(msgspec.Struct, forbid_unknown_fields=True):
    """The options of a function: there are none."""


def second_verifiers(tasks: TasksConfig) -> TasksConfig:
    """`tasks` with the second verifiers of those entries that have one in place of the first.

    Raises ConfigError for one that does not exist, whose options are wrong, or that is the first one again.
    """
    extension.load(tasks.modules, "tasks.modules")
    given = tasks.second_opinions
    second = {
        entry: _second(entry, tasks.mixture[entry], name, given.options.get(entry, {}))
        for entry, name in given.verifiers.items()
        if entry in tasks.mixture  # config/ refuses others
    }
    return dataclasses.replace(tasks, mixture=second, workers=1, retries=0, servers=[])


def verifier_class(name: str, where: str) -> type[Task]:
    """The class of a verifier by its name, or by the import path of a task or of a function; `where` is the key that
    an error message names."""
    if name in VERIFIERS:
        return VERIFIERS[name]
    if ":" not in name:
        if name not in names():
            known = (*names(), *VERIFIERS)
            raise ConfigError(
                f"{where}: no verifier is called {name!r}{nearest(name, known)}. Known: {', '.join(known)}, or yours: "
                "my_file.py:judge"
            )
        return task_class(name, where)
    found = load(name, what="verifier", key=where)
    if isinstance(found, type):
        if issubclass(found, Task):
            return found
        raise ConfigError(f"{where}: {name} is a class, and no Task; a function of problem and answer works as well")

    class JudgedByFunction(Task):
        """Answers judged by a function of the user's."""

        options_type = NoSecondOptions

        def problem(self, index: int, seed: int) -> Problem:
            raise AssertionError("a second verifier makes no problems")

        def score(self, problem: Problem, answer: str) -> Verdict:
            verdict = found(problem, answer)
            return verdict if isinstance(verdict, Verdict) else Verdict(reward=float(verdict))

    return JudgedByFunction


def create_verifier(name: str, entry: str, options: Mapping[str, Any]) -> Task:
    """The verifier `name` of an entry. Raises ConfigError for an unknown one or wrong options."""
    cls = verifier_class(name, f"tasks.mixture.{entry}.name")
    return cls(entry, parse_options(cls.options_type, options, f"tasks.mixture.{entry}.options"))


def _second(entry: str, first: TaskConfig, name: str, given: Any) -> TaskConfig:
    where, of_options = (f"tasks.second_opinions.{part}.{entry}" for part in ("verifiers", "options"))
    name = first.name if name == OWN else _absolute(name)
    cls, own = verifier_class(name, where), task_class(first.name, f"tasks.mixture.{entry}.name")
    if not isinstance(given, Mapping):
        raise ConfigError(f"{of_options}: must be options with their values, not {given!r}")
    shares_options = issubclass(cls.options_type, own.options_type)
    options = dict(first.options if shares_options else {}) | dict(given)
    parse_options(cls.options_type, options, of_options)
    if cls is own and options == dict(first.options):
        raise ConfigError(
            f"{where}: is the verifier of the entry again; name another one, or give it other options in {of_options}"
        )
    return TaskConfig(name=name, options=options)


def _absolute(name: str) -> str:
    """An import path that holds in a process with another working directory."""
    source, colon, function = name.rpartition(":")
    return f"{os.path.abspath(source)}:{function}" if colon and source.endswith(".py") else name
