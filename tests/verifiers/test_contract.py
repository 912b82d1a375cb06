"""What every task promises, whatever it is about. Scored by the real pool, as in training."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.tasks import Mixture, create, register
from prorl_mega.tasks.registry import Task
from prorl_mega.types import Problem, Verdict
from prorl_mega.verifiers import contract
from prorl_mega.verifiers.pool import VerifierPool

EXAMPLES = [
    str(Path(__file__).parents[2] / "examples" / name) for name in ("my_task.py", "short_answers.py", "compositions.py")
]
SMALL: dict[str, dict[str, Any]] = {
    "base_conversion": {"max_base": 10, "max_value": 100},
    "chain_sum": {"min_terms": 2, "max_terms": 3, "max_digits": 2},
    "count_bits": {"max_n": 1000},
    "gcd": {"max_numbers": 3, "max_value": 100},
    "letter_counting": {"min_words": 2, "max_words": 4},
    "spell_backward": {"max_word_len": 5},
    "word_sorting": {"max_words": 4, "transformation": "lowercase"},
}
ENTRIES: dict[str, tuple[str, dict[str, Any]]] = {
    "compositions": ("composition", {"depth": 3}),
    "beginnings": ("beginning", {}),
    "following": ("next", {}),
    "steps": ("step", {}),
    "sums": ("arithmetic", {"max_digits": 4}),
    "products": ("arithmetic", {"operations": ["*"], "max_digits": 3, "answer": "tags"}),
    "mixed": ("arithmetic", {"operations": ["+", "-", "*"], "max_terms": 5, "style": "short", "answer": "line"}),
    "positive": ("arithmetic", {"operations": ["-"], "negative": False, "max_digits": 18}),
    "clock": ("clock", {"days": True}),
    "small_sums": ("short_answer", {"largest": 20}),
    "small_letters": ("short_answer", {"kind": "letter"}),
    "forms": ("instruction", {}),
    "many_forms": ("instruction", {"min_constraints": 4, "max_constraints": 6}),
    "short_forms": ("instruction", {"style": "short"}),
    "file": ("math", {"path": "math"}),
    "file_twice": ("math", {"path": "math", "second": "plain", "answer": "stated"}),
    "science": ("stem", {"path": "stem"}),
    "choices": ("stem", {"path": "choices"}),
    "prompts": ("ifeval", {"path": "ifeval"}),
    "entries": ("logic", {"path": "logic"}),
    **{
        f"short_{name}": ("reasoning_gym", {"dataset": name, "config": config, "style": "short", "answer": "line"})
        for name, config in SMALL.items()
    },
}
ROWS: dict[str, list[dict[str, Any]]] = {
    "math": [{"prompt": f"{i}+1?", "answer": str(i + 1), "solution": rf"\boxed{{{i + 1}}}"} for i in range(100, 130)],
    "stem": [{"prompt": f"{i} m?", "answer": f"{100 * i} cm", "solution": rf"\boxed{{{i} m}}"} for i in range(20)],
    "choices": [
        {"prompt": f"Half of {2 * i}?", "answer": str(i), "choices": [str(i + k) for k in range(4)]} for i in range(20)
    ],
    "ifeval": [
        {
            "prompt": f"Write {i} words, none with a comma.",
            "constraints": [
                {"kind": "length_constraints:number_words", "num_words": i, "relation": "at least"},
                {"kind": "punctuation:no_comma"},
            ],
            "solution": "word " * i,
        }
        for i in range(5, 25)
    ],
    "logic": [
        {
            "prompt": f"{i} + {i} =",
            "entry": {"question": f"{i} + {i} =", "answer": str(2 * i), "metadata": {"source_dataset": "chain_sum"}},
        }
        for i in range(10, 30)
    ],
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TasksConfig:
    folder = tmp_path_factory.mktemp("contract")
    for name, rows in ROWS.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    entries = {
        entry: TaskConfig(
            name=name, options={k: str(folder / f"{v}.jsonl") if k == "path" else v for k, v in options.items()}
        )
        for entry, (name, options) in ENTRIES.items()
    }
    return TasksConfig(mixture=entries, modules=EXAMPLES, workers=1, timeout_s=5.0, retries=0)


@pytest.fixture(scope="module")
def pool(config: TasksConfig) -> Iterator[VerifierPool]:
    with VerifierPool(config) as pool:
        yield pool


@pytest.fixture(scope="module")
def checks(config: TasksConfig, pool: VerifierPool) -> dict[str, list[contract.ContractCheck]]:
    return contract.check(config, pool, problems=12)


@pytest.fixture(scope="module")
def problems(config: TasksConfig, pool: VerifierPool) -> dict[str, list[Problem]]:
    tasks = {entry: create(each.name, entry, each.options) for entry, each in config.mixture.items()}
    return {entry: [task.problem(index, seed=7) for index in range(12)] for entry, task in tasks.items()}


@pytest.mark.parametrize("entry", ENTRIES)
def test_promises_are_kept(checks: dict[str, list[contract.ContractCheck]], entry: str) -> None:
    assert [reason for each in checks[entry] for reason in each.broken] == []
    assert all(each.cases for each in checks[entry]), "every one of these entries knows solutions"


def test_answers_of_another_problem_do_not_score_one(problems: dict[str, list[Problem]], pool: VerifierPool) -> None:
    pairs = []
    for entry, group in problems.items():
        if "forms" not in entry and entry != "prompts":
            pairs += [(a, b.solution) for a, b in pairwise(group) if b.solution and b.solution != a.solution]
    verdicts = pool.score(pairs)
    wrong = [(p.key, p.prompt, s) for (p, s), v in zip(pairs, verdicts, strict=True) if v.reward >= 1 - 1e-6]
    # Different working, same result ("7+5=12" and "8+4=12"), is right.
    assert len(wrong) <= 0.2 * len(pairs)
    assert all(_last(solution) == _last(_solution(problems, key)) for key, _, solution in wrong)


def test_short_problems_are_short() -> None:
    entries = {
        entry: TaskConfig(name=name, options=options)
        for entry, (name, options) in ENTRIES.items()
        if options.get("style") == "short" and entry != "mixed"
    }
    for problem in Mixture(TasksConfig(mixture=entries), seed=1).draw(200):
        assert len(problem.prompt) <= 100
        assert len(problem.solution or "") <= 160


def test_instruction_rewards_are_fractions(problems: dict[str, list[Problem]], pool: VerifierPool) -> None:
    for problem in problems["many_forms"]:
        count = len(problem.entry["constraints"])
        (verdict,) = pool.score([(problem, "Zebra, zebra")])
        assert verdict.reward * count == pytest.approx(round(verdict.reward * count))
        thinking = f"<think>some, THING else</think>{problem.solution}"
        assert pool.score([(problem, thinking)])[0].reward == 1.0


class Scores:
    """Stands in for the pool and scores here: broken tasks are classes of this file, which no worker can import."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def score(self, pairs: list[tuple[Problem, str]]) -> list[Verdict]:
        return [self._task.score(problem, text) for problem, text in pairs]


class Good(Task):
    """Keeps every promise; the classes below break one each."""

    options_type = contract.ContractCheck  # any dataclass will do: nobody looks at it

    def problem(self, index: int, seed: int) -> Problem:
        return Problem(key=self.key(index, seed), task=self.entry, prompt="7?", entry={"n": [7]}, solution="7")

    def score(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(reward=float(answer.strip() == "7"))


class Forgetful(Good):
    """Another problem at every call."""

    calls = 0

    def problem(self, index: int, seed: int) -> Problem:
        Forgetful.calls += 1
        made = super().problem(index, seed)
        return Problem(key=made.key, task=made.task, prompt=f"{self.calls}?", entry=made.entry, solution="7")


class Tuples(Good):
    """What it gives to the scorer does not survive the way there."""

    def problem(self, index: int, seed: int) -> Problem:
        made = super().problem(index, seed)
        return Problem(key=made.key, task=made.task, prompt="7?", entry={"n": (7,)}, solution="7")


class Harsh(Good):
    """Its own solutions do not satisfy it."""

    def score(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(reward=0.0)


class Consoling(Good):
    """Pays for nothing."""

    def score(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(reward=1.0 if answer.strip() == "7" else 0.01)


class Gullible(Good):
    """Takes whatever is no number for a solution."""

    def score(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(reward=float(answer in ("7", "NaN")))


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (Good, None),
        (Forgetful, "same seed, same problems, in any order"),
        (Tuples, "plain data with keys of its own"),
        (Harsh, "its own solutions score 1"),
        (Consoling, "empty and wrong answers score 0"),
        (Gullible, "hostile answers end in time"),
    ],
)
def test_a_task_that_breaks_a_promise_is_found_out(
    broken: type[Task], promise: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prorl_mega.tasks.registry._TASKS", {})
    monkeypatch.setattr("prorl_mega.verifiers.contract.create", lambda name, entry, options: broken(entry, None))
    register("broken")(broken)
    config = TasksConfig(mixture={"x": TaskConfig(name="broken")})
    checks = contract.check(config, Scores(broken("x", None)), problems=2)["x"]  # type: ignore[arg-type]
    assert [each.promise for each in checks if each.broken] == ([promise] if promise else [])


def _solution(problems: dict[str, list[Problem]], key: str) -> str:
    return next(p.solution for group in problems.values() for p in group if p.key == key and p.solution)


def _last(solution: str) -> str:
    return re.sub(r"\s", "", solution.rpartition("\n")[2])
