"""Look at verifiable tasks, score an answer, check a task of your own.

    python -m prorl_mega.tasks list
    python -m prorl_mega.tasks show NAME [key=value ...]
    python -m prorl_mega.tasks try NAME [key=value ...] --index I --answer TEXT
    python -m prorl_mega.tasks check NAME [key=value ...]
    python -m prorl_mega.tasks agreement FILE [--data PATH]
    python -m prorl_mega.tasks benchmarks [--directory DIR]

NAME is the name of a task, or a Python file with one (examples/my_task.py). COMMAND --help says more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from prorl_mega.config.command_line import IntermixedParser
from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError, exit_status
from prorl_mega.tasks import extension
from prorl_mega.tasks.benchmarks import listing as benchmarks
from prorl_mega.tasks.math import agreement
from prorl_mega.tasks.registry import Task, create, names, option_fields, task_class, valid_values
from prorl_mega.verifiers import contract
from prorl_mega.verifiers.pool import VerifierPool

ENTRY = "try"  # name of the only entry of the mixture that is made here
SHOWN = 5  # broken promises of one kind
WIDTH = 16  # of the column of names


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    commands = {"list": _list, "show": _show, "try": _try, "check": _check, "agreement": agreement.report,
                "benchmarks": lambda given: print(benchmarks.describe(given.directory))}  # fmt: skip
    return exit_status(lambda: commands[given.command](given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.tasks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=IntermixedParser)
    listing = commands.add_parser("list", help="names of all tasks")
    show = commands.add_parser("show", help="options of a task and some of its problems")
    attempt = commands.add_parser("try", help="score an answer as training would, in a worker process")
    check = commands.add_parser("check", help="whether a task keeps what tasks promise")
    agreement.add_arguments(
        commands.add_parser(
            "agreement", help="where the verifiers of mathematics differ",
            description=agreement.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )  # fmt: skip
    named = commands.add_parser("benchmarks", help="published benchmarks by name, and which of their files are there")
    named.add_argument("--directory", type=Path, default=benchmarks.DEFAULT_DIRECTORY, help="where their files lie")
    for each in (listing, show, attempt, check):
        each.add_argument("--module", action="append", default=[], help="a file or module with tasks of your own")
    for each in (show, attempt, check):
        each.add_argument("name", help="name of a task, or a Python file with one")
        each.add_argument("options", nargs="*", metavar="key=value", help="options of the task, values as YAML")
    for each in (show, attempt):
        each.add_argument("--seed", type=int, default=1)
    show.add_argument("--count", type=int, default=3, help="number of problems to show")
    attempt.add_argument("--index", type=int, default=0, help="number of the problem")
    attempt.add_argument("--answer", required=True, help="what the model wrote; - reads standard input")
    check.add_argument("--count", type=int, default=8, help="number of problems to check")
    return parser


def _list(given: argparse.Namespace) -> None:
    extension.load(given.module, "--module")
    for name in names():
        print(f"{name:{WIDTH}} {_summary(task_class(name, 'name'))}")


def _show(given: argparse.Namespace) -> None:
    tasks = _tasks(given)
    cls = task_class(tasks.mixture[ENTRY].name, "name")
    print(f"{tasks.mixture[ENTRY].name}: {_summary(cls)}\n\noptions:")
    for name, field in option_fields(cls.options_type).items():
        print(f"  {name}: {valid_values(field.type).removeprefix('of type ')} = {_default(field)}")
    try:
        task = _create(tasks)
    except ConfigError as error:
        if given.options:
            raise
        print(f"\nno problems shown: {error}")
        return
    for notes in filter(None, (task.describe(), task.loaded())):
        print(f"\n{notes}")
    for index in range(given.count):
        problem = task.problem(index, given.seed)
        print(f"\n--- {problem.key}\n{problem.prompt}\n--- solution\n{problem.solution or '(none is known)'}")


def _try(given: argparse.Namespace) -> None:
    tasks = _tasks(given)
    problem = _create(tasks).problem(given.index, given.seed)
    text = sys.stdin.read() if given.answer == "-" else given.answer
    with VerifierPool(tasks) as pool:
        (verdict,) = pool.score([(problem, text)])
    print(
        f"{problem.prompt}\n--- answer\n{text}\n--- {verdict.outcome.value}, reward {verdict.reward:g} {verdict.detail}"
    )


def _check(given: argparse.Namespace) -> None:
    tasks = _tasks(given)
    with VerifierPool(tasks) as pool:
        checks = contract.check(tasks, pool, problems=given.count)[ENTRY]
    for each in checks:
        result = "BROKEN" if each.broken else "kept" if each.cases else "unknown"
        print(f"{result:8} {each.promise} ({each.cases} looked at)")
        for reason in each.broken[:SHOWN]:
            print(f"{'':8}   {reason}")
        if len(each.broken) > SHOWN:
            print(f"{'':8}   and {len(each.broken) - SHOWN} more")
    if broken := [each.promise for each in checks if each.broken]:
        raise ConfigError(f"{given.name}: {len(broken)} of {len(checks)} promises are broken: {'; '.join(broken)}")


def _tasks(given: argparse.Namespace) -> TasksConfig:
    """Settings with the task as the only entry, scored by one worker."""
    modules = list(given.module)
    name = given.name
    if name.endswith(".py"):
        modules.append(name)
    loaded = extension.load(modules, "--module")
    if name.endswith(".py"):
        inside = [each for each in names() if task_class(each, "name").__module__ == loaded[-1].__name__]
        if len(inside) != 1:
            has = f"the tasks {', '.join(inside)}" if inside else "no task (@register is missing)"
            raise ConfigError(f"{name}: has {has}; give --module {name} and the name of the one you mean")
        name = inside[0]
    return TasksConfig(mixture={ENTRY: TaskConfig(name=name, options=_options(given))}, modules=modules, workers=1)


def _create(tasks: TasksConfig) -> Task:
    task = create(tasks.mixture[ENTRY].name, ENTRY, tasks.mixture[ENTRY].options)
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


def _default(field: msgspec.inspect.Field) -> Any:
    if field.required:
        return "(must be set)"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "(empty)" if default == "" else msgspec.to_builtins(default)


if __name__ == "__main__":
    sys.exit(main())
