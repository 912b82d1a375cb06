"""Hostile answers to mathematics and science, judged by the real pool: each ends in time, none is right, none acts."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from helpers.hostile_answers import CANARY, CODE, HOSTILE, LOOKALIKES, PIECES

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.tasks import create, extract
from prorl_mega.tasks.answers import equivalence, plain, symbolic
from prorl_mega.tasks.answers.choices import chosen
from prorl_mega.tasks.stem import correct
from prorl_mega.types import Outcome, Problem
from prorl_mega.verifiers.pool import VerifierPool

TIMEOUT = 5.0
MATH = ["1234567", r"\frac{\pi}{7}", "x^2+7x+1", r"\{3,8,11\}", "(2,17)", "y=3x+19", r"\text{Evelyn}",
        r"\sum_{k=1}^{n} k^7", r"\int_0^x t^7\,dt", r"\{x : x > 19\}"]  # fmt: skip
SCIENCE = ["9.81 m/s^2", "mitochondria", "Fe2(SO4)3", r"\frac{1}{2}mv^2", "-285.8 kJ/mol"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TasksConfig:
    folder = tmp_path_factory.mktemp("hostile")
    files = {"math": [{"prompt": "?", "answer": answer} for answer in MATH]}
    files["stem"] = [{"prompt": "?", "answer": answer} for answer in SCIENCE]
    files["stem"].append({"prompt": "?", "answer": "green", "choices": ["red", "green", "blue"]})  # type: ignore[dict-item]
    entries = {}
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        for form in ("boxed", "stated"):
            options = {"path": str(folder / f"{name}.jsonl"), "answer": form}
            if name == "math":
                options["second"] = "plain"
            entries[f"{name}_{form}"] = TaskConfig(name=name, options=options)
    return TasksConfig(mixture=entries, workers=2, timeout_s=TIMEOUT, retries=0)


@pytest.fixture(scope="module")
def problems(config: TasksConfig) -> list[Problem]:
    found = []
    for entry, each in config.mixture.items():
        task = create(each.name, entry, each.options)
        task.load()
        found += [task.problem(index, seed=1) for index in range(task.size() or 0)]
    return found


@pytest.fixture(scope="module")
def pool(config: TasksConfig) -> Iterator[VerifierPool]:
    with VerifierPool(config) as pool:
        yield pool


def posed(problems: list[Problem], answers: list[str]) -> list[tuple[Problem, str]]:
    """Every answer to every problem, in the form in which the task looks for it."""
    return [
        (problem, rf"\boxed{{{text}}}" if problem.task.endswith("boxed") else f"The answer is {text}")
        for problem in problems
        for text in answers
    ]


def test_there_are_many() -> None:
    assert len(HOSTILE) >= 60
    assert len(set(HOSTILE)) == len(HOSTILE)


def test_each_ends_in_time_and_none_is_right(problems: list[Problem], pool: VerifierPool) -> None:
    pairs = posed(problems, HOSTILE)
    before = pool.counters.timeouts, pool.counters.crashes
    verdicts = pool.score(pairs)
    right = [(p.key, text[:80]) for (p, text), verdict in zip(pairs, verdicts, strict=True) if verdict.reward > 0]
    unscored = [
        (p.entry["answer"], text[:80], verdict.detail)
        for (p, text), verdict in zip(pairs, verdicts, strict=True)
        if verdict.outcome is not Outcome.SCORED
    ]
    assert right == []
    assert unscored == []
    assert (pool.counters.timeouts, pool.counters.crashes) == before


def test_numbers_that_look_like_others_are_not_them(problems: list[Problem], pool: VerifierPool) -> None:
    verdicts = pool.score(posed(problems, LOOKALIKES))
    assert {(verdict.reward, verdict.outcome) for verdict in verdicts} == {(0.0, Outcome.SCORED)}


def test_code_is_not_run(problems: list[Problem], pool: VerifierPool, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    answers = [text.replace(CANARY, str(canary)) for text in CODE]
    verdicts = pool.score(posed(problems, answers))
    assert {(verdict.reward, verdict.outcome) for verdict in verdicts} == {(0.0, Outcome.SCORED)}
    assert not canary.exists()
    assert not (Path("/") / CANARY).exists()


def test_honest_answers_are_still_judged_afterwards(problems: list[Problem], pool: VerifierPool) -> None:
    answers = [problem.entry["answer"] for problem in problems]
    pairs = [pair for problem, answer in zip(problems, answers, strict=True) for pair in posed([problem], [answer])]
    assert [(p.entry["answer"], v) for (p, _), v in zip(pairs, pool.score(pairs), strict=True) if v.reward < 1] == []


RARE = [
    chr(code) for code in (*range(0x80, 0x250), *range(0x370, 0x400), *range(0x2000, 0x2200), *range(0xD800, 0xD810))
]


def test_no_text_raises() -> None:
    """Texts thrown together from what formulas, units and words are made of."""
    random = Random(1)
    for number in range(1500):
        pieces = random.choices(PIECES, k=random.randint(1, 60 if number % 3 else 12))
        pieces += random.choices(RARE, k=random.randint(0, 2))
        text = "".join(random.sample(pieces, len(pieces)))
        mathematics, science = random.choice(MATH), random.choice(SCIENCE)
        verdicts = (equivalence.equivalent(mathematics, text), plain.agrees(mathematics, text))
        assert (*verdicts, correct(science, text, 0.0, False)) == (False, False, False), text
        equivalence.equivalent(text, mathematics)
        equivalence.complaint(text)
        chosen(text, ["red", "5 m", "H2O"])
        extract.statement(text, random.choice(list(extract.Form)))


def test_what_math_verify_does_not_finish_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def spin(*arguments: object, **settings: object) -> bool:
        began = time.process_time()
        while time.process_time() < began + 20:
            try:
                sum(range(1000))
            except Exception:  # as sympy does
                return True
        return True

    monkeypatch.setattr("math_verify.verify", spin)
    monkeypatch.setattr(symbolic, "MATH_VERIFY_S", 0.2)
    began = time.process_time()
    assert not equivalence.equivalent(r"\sum_{k=1}^{n} k", r"\sum_{j=1}^{n} j")
    assert time.process_time() < began + 15


def test_mathematics_can_be_judged_in_a_thread() -> None:
    found: list[bool] = []
    pair = (r"\sum_{k=1}^{n} k", r"\sum_{j=1}^{n} j")
    thread = threading.Thread(target=lambda: found.append(equivalence.equivalent(*pair)))
    thread.start()
    thread.join()
    assert found == [equivalence.equivalent(*pair)]
