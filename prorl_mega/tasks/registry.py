"""The interface of tasks, and the table of all tasks.

A task is one file: a Struct or dataclass of options, and a class with `problem` and `score` under `@register("name")`.
Problems are pure functions of (options, index, seed), so that a run can be resumed and repeated. `score`
runs in worker processes only (`prorl_mega/verifiers/`): it may be slow, crash or hang.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec import inspect

from prorl_mega.data.canonical import Domain
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.types import Problem, Verdict


class Style(Enum):
    """The wording of a problem."""

    full = "full"  # sentences, for models that read English
    short = "short"  # a few characters, for tiny models trained from nothing


@dataclass(kw_only=True, slots=True, frozen=True)
class Contents:
    """The identity of data files, so that a resumed run can tell whether they have changed."""

    path: str
    digest: str  # hash of their bytes
    rows: int  # problems that were made of them


class Task(ABC):
    """One entry of a mixture: a registered kind of problem with its options.

    `entry` is the entry's name in `tasks.mixture`; it prefixes the keys of the problems. Construction must be cheap;
    files and heavy libraries wait for `load` and `warm_up`.
    """

    options_type: ClassVar[type]
    domain: ClassVar[Domain | None] = None
    """The domain that reports count the task's problems to; None: one of its own."""

    judges_form: ClassVar[bool] = False
    """Whether only the form of a text is judged, so that any text may be partly right; empty ones must score 0."""

    rewards: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """The range of the rewards; another one must contain 0 and 1. From 1 on is solved, outside is no verdict."""

    def __init__(self, entry: str, options: Any) -> None:
        self.entry = entry
        self.options = options
        self.progress: Callable[[], None] = lambda: None
        """`score` calls it when part of a long answer is done, which restarts the time limit of the answer."""

    def load(self) -> None:  # noqa: B027 (most tasks have nothing to load)
        """Prepare for `problem`: read data files, import generators. Raises ConfigError or DataError."""

    def source(self) -> str:
        """The source from which `load` reads the problems, in words; empty if they are generated.

        Looks at the first rows only. Raises DataError where `load` could not read any like them.
        """
        return ""

    def check_machine(self) -> None:  # noqa: B027
        """Raise ConfigError if this machine lacks the needs of `score`. Ranks that do not `load` call it, too."""

    def start(self) -> None:  # noqa: B027
        """Start the processes that `score` needs; a worker calls it before it drops the right to start any."""

    def warm_up(self) -> None:  # noqa: B027
        """Prepare for `score` in a worker: do slow imports."""

    def size(self) -> int | None:
        """Number of different problems, None if unlimited: indexes n · size() to (n + 1) · size() - 1 have each."""
        return None

    def contents(self) -> Contents | None:
        """The identity of the files that `load` has read; None if it reads none."""
        return None

    def leave_out(self, reason: str, details: Mapping[str, str]) -> None:
        """Drop these problems (key: what is wrong with it). Raises DataError for one that cannot be dropped."""
        for key, detail in details.items():
            raise DataError(f"tasks.mixture.{self.entry}: {key}: {detail}")

    def describe(self) -> str:
        """Notes on these options for people; may be empty."""
        return ""

    def loaded(self) -> str:
        """Notes on the data that `load` has read, for people; may be empty."""
        return ""

    @abstractmethod
    def problem(self, index: int, seed: int) -> Problem:
        """Problem number `index` >= 0 of the stream `seed`; always the same one."""

    @abstractmethod
    def score(self, problem: Problem, answer: str) -> Verdict:
        """Judge a completion's text. Must not raise for what `answer` contains."""

    def canonical(self, problem: Problem, answer: str) -> str:
        """The answer that `score` finds in a text, in a form that equal answers share, for majority votes.

        "" if there is none, or if the task has no such form. Called in workers only, and must end as soon as `score`.
        """
        return ""

    def readings(self, problem: Problem, answer: str) -> list[str]:
        """The text in other readings, for one in which `score` found nothing (`Verdict.found` is false).

        Each has the form that `score` wants, and `score` judges it; the best one is the format-relaxed reward of an
        evaluation (`tasks/relaxed.py`). Called in workers only.
        """
        return []

    def key(self, index: int, seed: int) -> str:
        return f"{self.entry}/{seed}-{index}"

    def generator(self, index: int, seed: int) -> Random:
        """Random numbers of one problem, independent of all other problems, entries and seeds."""
        return Random(digest(f"{self.entry}\n{seed}\n{index}"))


TaskClass = TypeVar("TaskClass", bound=type[Task])
_TASKS: dict[str, type[Task]] = {}


def register(name: str) -> Callable[[TaskClass], TaskClass]:
    """Class decorator: make a task available as `tasks.mixture.<entry>.name: <name>`."""

    def add(cls: TaskClass) -> TaskClass:
        assert name not in _TASKS, f"two tasks are called {name!r}"
        _TASKS[name] = cls
        return cls

    return add


def names() -> tuple[str, ...]:
    return tuple(sorted(_TASKS))


def task_class(name: str, where: str) -> type[Task]:
    """The class registered as `name`; `where` is the key that an error message names."""
    if name not in _TASKS:
        raise ConfigError(f"{where}: no task is called {name!r}{nearest(name, names())}. Known: {', '.join(names())}")
    return _TASKS[name]


def create(name: str, entry: str, options: Mapping[str, Any]) -> Task:
    """The task `name` for the mixture entry `entry`. Raises ConfigError for an unknown task or wrong options."""
    where = f"tasks.mixture.{entry}"
    cls = task_class(name, f"{where}.name")
    return cls(entry, parse_options(cls.options_type, options, f"{where}.options"))


def digest(text: str) -> int:
    """64 bits that depend on every character, the same in every process (unlike `hash`)."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def parse_options(options_type: type, given: Mapping[str, Any], where: str) -> Any:
    """An `options_type` from plain data. Raises ConfigError naming `<where>.<key>` and what would work.

    `options_type` is a msgspec.Struct or a dataclass. Its annotations say what is valid, with bounds as in
    `Annotated[int, msgspec.Meta(ge=1)]`; what they cannot say is checked by its `__post_init__`, which raises
    ValueError("key: what is wrong").
    """
    known = option_fields(options_type)
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}.{key}: no such option{nearest(key, [*known])}. Valid: {', '.join(known)}")
    for key, field in known.items():
        if field.required and key not in given:
            raise ConfigError(f"{where}.{key}: must be set")
    try:
        return msgspec.convert(dict(given), options_type)
    except msgspec.ValidationError as error:
        place = re.search(r"\$\.((\w+)(\S*))`$", str(error))
        if place is None:  # raised by `__post_init__`
            cause = error.__cause__
            raise cause if isinstance(cause, ConfigError) else ConfigError(f"{where}.{error}") from None
        kind = known[place[2]].type
        if isinstance(kind, inspect.ListType) and place[3]:
            kind = kind.item_type
        raise ConfigError(f"{where}.{place[1]}: must be {valid_values(kind)}, not {given[place[2]]!r}") from None


def option_fields(options_type: type) -> dict[str, inspect.Field]:
    """The options by name: type with bounds, default, and whether it must be given."""
    info = inspect.type_info(options_type)
    assert isinstance(info, inspect.StructType | inspect.DataclassType)
    return {field.name: field for field in info.fields}


def valid_values(kind: inspect.Type) -> str:
    """The valid values of an option of this type, in words."""
    if isinstance(kind, inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", valid_values(kind.type)))
    if isinstance(kind, inspect.EnumType):
        return f"one of {', '.join(str(member.value) for member in kind.cls)}"
    words = {"gt": "above", "ge": "at least", "min_length": "of length at least", "lt": "below", "le": "at most"}
    bounds = [f"{word} {getattr(kind, key)}" for key, word in words.items() if getattr(kind, key, None) is not None]
    name = type(kind).__name__.removesuffix("Type").lower()
    return f"of type {name}" + (f", {' and '.join(bounds)}" if bounds else "")


def nearest(word: str, known: tuple[str, ...] | list[str]) -> str:
    """The end of an error message that suggests the known word most like `word`; may be empty."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
