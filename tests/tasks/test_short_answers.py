"""`examples/short_answers.py`: what is asked, and which part of a text is the answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.tasks import Mixture, create, extension, registry
from prorl_mega.tasks.registry import Task
from prorl_mega.types import Problem

EXAMPLE = Path(__file__).parents[2] / "examples" / "short_answers.py"


@pytest.fixture(autouse=True)
def _loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))
    known = set(sys.modules)
    extension.load([str(EXAMPLE)], "tasks.modules")
    yield
    for name in set(sys.modules) - known:
        if not name.startswith("prorl_mega"):
            del sys.modules[name]


def posed(kind: str, answer: str) -> tuple[Task, Problem]:
    task = create("short_answer", "x", {"kind": kind})
    return task, Problem(key="x/0", task="x", prompt="?", entry={"kind": kind, "answer": answer}, solution=answer)


@pytest.mark.parametrize(
    ("kind", "answer", "text", "right"),
    [
        ("sum", "17", "8 + 9 = 17", True),
        ("sum", "17", "The answer is 17.", True),
        ("sum", "17", "17 is what 8 and 9 make", False),  # the last number counts
        ("sum", "17", "8 + 9 = 17.5", False),
        ("sum", "17", "8 + 9 = 1,017", False),
        ("sum", "17", "117", False),
        ("sum", "17", "seventeen", False),
        ("larger", "9", "-9", False),
        ("larger", "9", "09", True),
        ("sum", "17", "9" * 10_000, False),
        ("letter", "n", 'The first letter of the word "night" is "N".', True),
        ("letter", "n", "night", False),
        ("choice", "bell", "The answer is **bell**.", True),
        ("choice", "bell", "bell, not table", False),
        ("choice", "bell", "...", False),
        ("choice", "bell", "\ud800\x00", False),
    ],
)
def test_the_last_number_or_word_is_the_answer(kind: str, answer: str, text: str, right: bool) -> None:
    task, problem = posed(kind, answer)
    assert task.score(problem, text).reward == float(right)
    assert (task.canonical(problem, text) == answer) == right


@pytest.mark.parametrize("kind", ["sum", "larger", "letter", "choice"])
def test_questions_have_one_answer(kind: str) -> None:
    task = create("short_answer", "x", {"kind": kind, "largest": 20})
    for index in range(300):
        problem = task.problem(index, 1)
        words = problem.prompt.rstrip("?").replace('"', " ").replace(":", " ").split()
        numbers = [int(word.strip(",")) for word in words if word.strip(",").isdigit()]
        answer = problem.entry["answer"]
        if kind == "sum":
            assert int(answer) == sum(numbers)
        elif kind == "larger":
            assert numbers[0] != numbers[1]
            assert int(answer) == max(numbers)
        elif kind == "letter":
            assert answer == words[-1][0]
        else:
            assert [word for word in (words[-3], words[-1]) if word[0] == words[-4]] == [answer]


def test_options_that_cannot_be_are_named() -> None:
    with pytest.raises(ConfigError, match=r"tasks\.mixture\.x\.options\.largest: must be from 2 to 1000000000, not 1"):
        create("short_answer", "x", {"largest": 1})


def test_held_out_questions_are_others() -> None:
    mixture = {"sum": TaskConfig(name="short_answer", options={"largest": 20})}
    problems = Mixture(TasksConfig(mixture=mixture, modules=[str(EXAMPLE)], workers=1), seed=1)
    drawn = {problem.prompt for problem in problems.draw(600)}
    held = {problem.prompt for problem in problems.held_out(8)}
    assert drawn
    assert not drawn & held
