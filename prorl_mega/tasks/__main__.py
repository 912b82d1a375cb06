"""`python -m prorl_mega.tasks list | show NAME | try NAME --index I --answer TEXT`: look at tasks, score an answer."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any, get_type_hints

import yaml

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError, exit_status
from prorl_mega.tasks.registry import Task, create, names, task_class
from prorl_mega.tasks.verifier import VerifierPool

ENTRY = "try"  # name of the only entry of the mixture that is made here


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m prorl_mega.tasks", description="Verifiable tasks.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names of all tasks")
    show = commands.add_parser("show", help="options of a task and some of its problems")
    attempt = commands.add_parser("try", help="score an answer as training would, in a worker process")
    for each in (show, attempt):
        each.add_argument("name")
        each.add_argument("options", nargs="*", metavar="key=value", help="options of the task, values as YAML")
        each.add_argument("--seed", type=int, default=1)
    show.add_argument("--count", type=int, default=3, help="number of problems to show")
    attempt.add_argument("--index", type=int, default=0, help="number of the problem")
    attempt.add_argument("--answer", required=True, help="what the model wrote; - reads standard input")
    given = parser.parse_args(arguments)
    command = {"list": _list, "show": _show, "try": _try}[given.command]
    return exit_status(lambda: command(given))


def _list(given: argparse.Namespace) -> None:
    for name in names():
        print(f"{name:16} {_summary(task_class(name, 'name'))}")


def _show(given: argparse.Namespace) -> None:
    cls = task_class(given.name, "name")
    print(f"{given.name}: {_summary(cls)}\n\noptions:")
    hints = get_type_hints(cls.options_type)
    for field in dataclasses.fields(cls.options_type):
        print(f"  {field.name}: {getattr(hints[field.name], '__name__', hints[field.name])} = {_default(field)}")
    try:
        task = _create(given)
    except ConfigError as error:
        if given.options:
            raise
        print(f"\nno problems shown: {error}")
        return
    if notes := task.describe():
        print(f"\n{notes}")
    for index in range(given.count):
        problem = task.problem(index, given.seed)
        print(f"\n--- {problem.key}\n{problem.prompt}\n--- solution\n{problem.solution}")


def _try(given: argparse.Namespace) -> None:
    problem = _create(given).problem(given.index, given.seed)
    text = sys.stdin.read() if given.answer == "-" else given.answer
    mixture = {ENTRY: TaskConfig(name=given.name, options=_options(given))}
    with VerifierPool(TasksConfig(mixture=mixture, workers=1)) as pool:
        (verdict,) = pool.score([(problem, text)])
    print(
        f"{problem.prompt}\n--- answer\n{text}\n--- {verdict.outcome.value}, reward {verdict.reward:g} {verdict.detail}"
    )


def _create(given: argparse.Namespace) -> Task:
    task = create(given.name, ENTRY, _options(given))
    task.load()
    return task


def _options(given: argparse.Namespace) -> dict[str, Any]:
    options = {}
    for text in given.options:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r}: options are written key=value")
        options[key] = yaml.safe_load(value)
    return options


def _summary(cls: type[Task]) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return getattr(field.default, "value", field.default)
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        return [getattr(each, "value", each) for each in made] if isinstance(made, list) else made
    return "(must be set)"


if __name__ == "__main__":
    sys.exit(main())
