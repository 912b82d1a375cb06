"""reasoning-gym: every generator, right and wrong answers to each, the holes that were found, levels and credit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from prorl_mega.errors import ConfigError
from prorl_mega.tasks import create
from prorl_mega.tasks.held_out import HELD_OUT_SEED
from prorl_mega.tasks.logic import gym
from prorl_mega.tasks.logic.gym_rules import (
    ALPHABET,
    EXCLUDED,
    HASH_DEPENDENT,
    PROGRESS,
    Credit,
    acceptable,
    allowed,
    calculate,
    reference,
    reward,
)

TESTS = Path(__file__).parents[1]
TABLE: dict[str, Any] = yaml.safe_load((TESTS / "tasks" / "tables" / "logic.yaml").read_text())
GENERATORS = TABLE["generators"].split()


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What `helpers/gym_answers.py` prints: in a process of its own, because some generators need a hash seed."""
    result = subprocess.run(
        [sys.executable, str(TESTS / "helpers" / "gym_answers.py")],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        stdout=subprocess.PIPE,
        check=True,
        timeout=900,
    )
    return dict(json.loads(result.stdout.decode().strip().splitlines()[-1]))


def test_every_generator_is_used_or_excluded_with_a_reason() -> None:
    import reasoning_gym  # noqa: F401
    from reasoning_gym.factory import DATASETS

    assert set(gym.datasets()) == set(GENERATORS)
    assert set(DATASETS) == set(GENERATORS) | set(EXCLUDED)
    assert not set(GENERATORS) & set(EXCLUDED)
    assert EXCLUDED.keys() == {"composite", "codeio", "list_functions", "time_intervals"}
    assert len(GENERATORS) == 102
    for table in (ALPHABET, PROGRESS, HASH_DEPENDENT):
        assert set(table) <= set(GENERATORS)


@pytest.mark.parametrize("name", GENERATORS)
def test_promises_are_kept(report: dict[str, Any], name: str) -> None:
    """Gold scores 1, empty and wrong 0, the same seed makes the same problem, hostile texts end in time."""
    checks = {each["promise"]: each for each in report["checks"][name]}
    assert [reason for each in checks.values() for reason in each["broken"]] == []
    assert checks["its own solutions score 1"]["cases"] == (0 if name in TABLE["no_reference"] else 1)


@pytest.mark.parametrize("name", GENERATORS)
def test_answer_table(report: dict[str, Any], name: str) -> None:
    """Right and nearly right answers; what is expected when `logic.yaml` does not name the generator is 0."""
    rows = {form: (text, value, outcome) for of, form, text, value, outcome in report["rows"] if of == name}
    assert set(rows) == set(TABLE["forms"])
    gold = rows["gold"][0]
    for form, (text, value, outcome) in rows.items():
        assert outcome == "scored", form
        if form == "gold" or text == gold or name in TABLE["right"].get(form, {}):
            assert value == pytest.approx(1.0), (form, text)
        elif name in TABLE["partial"].get(form, []):
            assert name in PROGRESS
            assert 0 < value < 1, (form, text)
        else:
            assert value == 0, (form, text)


def test_the_answer_table_is_large_and_names_nothing_else(report: dict[str, Any]) -> None:
    assert len(report["rows"]) >= 400
    for group in ("right", "partial"):
        for form, of in TABLE[group].items():
            assert form in TABLE["forms"]
            assert set(of) <= set(GENERATORS)


def test_the_settings_of_all_generators_name_all_of_them() -> None:
    settings = yaml.safe_load((TESTS.parent / "configs" / "tasks" / "logic.yaml").read_text())
    named = [entry["options"]["dataset"] for entry in settings["mixture"].values()]
    assert sorted([*named, *HASH_DEPENDENT]) == GENERATORS


HOLES: list[tuple[str, str, dict[str, Any]]] = [
    ("coin_flip", "0", {}),
    ("game_of_life_halting", "Yes, certainly", {}),
    ("puzzle24", "6*4*1*1", {}),
    ("complex_arithmetic", "nan", {}),
    ("simple_integration", "Integral(x**2, x)", {}),
    ("countdown", "9**9**9**9", {}),
    ("quantum_lock", "I cannot say, but A is a button", {}),
    ("gsm_symbolic", "1 2 3 4 5 6 7 8 9", {}),
]


@pytest.mark.parametrize(("name", "text", "config"), HOLES)
def test_constant_answers_that_had_full_marks_score_nothing(name: str, text: str, config: dict[str, Any]) -> None:
    task = create("reasoning_gym", name, {"dataset": name, "config": config})
    for index in range(6):
        assert task.score(task.problem(index, seed=3), f"<answer>{text}</answer>").reward == 0.0


def altered(name: str, item: dict[str, Any], answer: str) -> list[str]:
    """Wrong answers that the published scorers take for right ones."""
    if name == "number_sorting":
        return [str([str(float(number) + 0.5) for number in json.loads(answer.replace("'", '"'))])]
    if name == "word_sorting":
        return [f"{answer}, zebra"]
    if name == "letter_jumble":
        return [f"{answer} {answer}"]
    if name == "game_of_life":
        return [f"{answer[:-1]},[0,1,0]]"]
    if name == "decimal_arithmetic":
        return [answer[:-1] + str((int(answer[-1]) + 1) % 10)]
    if name == "number_format":
        return [str(float(answer) + 0.004)]
    if name == "propositional_logic":
        premise = item["metadata"]["premises"][0]
        return [premise, f"({premise} \u2228 Q)", "(P \u2228 \u00acP)"]
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    [
        "number_sorting",
        "word_sorting",
        "letter_jumble",
        "game_of_life",
        "decimal_arithmetic",
        "number_format",
        "propositional_logic",
    ],
)
def test_altered_answers_that_had_full_marks_score_less(name: str) -> None:
    task = create("reasoning_gym", name, {"dataset": name})
    assert isinstance(task, gym.ReasoningGym)
    for index in range(4):
        problem, item = task.problem(index, seed=3), task._item(index, 3)
        right = reference(name, item)
        assert right is not None
        assert task.score(problem, f"<answer>{right}</answer>").reward == 1.0
        for wrong in altered(name, item, right):
            assert task.score(problem, f"<answer>{wrong}</answer>").reward == 0.0, wrong


def test_credit_decides_what_part_of_a_solution_is_worth() -> None:
    words = {"answer": "ant, bee, cat"}

    def worth(name: str, raw: float, answer: str) -> list[float]:
        return [reward(name, raw, answer, words, None, credit) for credit in (Credit.none, Credit.progress, Credit.all)]

    assert worth("word_sorting", 0.6, "ant, cat, bee") == [0.0, 0.6, 0.6]
    assert worth("word_sorting", 0.6, "ant, cat, bee, dog") == [0.0, 0.0, 0.6]
    assert worth("word_sorting", 0.05, "ant, cat, bee") == [0.0, 0.0, 0.05]
    assert worth("word_sorting", 1.0, "ant, bee, cat") == [1.0, 1.0, 1.0]
    assert worth("word_sorting", 1.0, "ant, bee, cat, cat") == [0.0, 0.0, 0.0]
    assert worth("chain_sum", 0.6, "ant, bee, cat") == [0.0, 0.0, 0.6]
    assert worth("chain_sum", 1.3, "ant, bee, cat") == [1.0, 1.0, 1.0]
    assert worth("chain_sum", float("nan"), "ant, bee, cat") == [0.0, 0.0, 0.0]
    assert worth("chain_sum", -2, "ant, bee, cat") == [0.0, 0.0, 0.0]


def test_an_answer_in_a_longer_text_is_paid_only_where_that_is_asked_for() -> None:
    rewards = {}
    for credit in ("none", "progress", "all"):
        task = create("reasoning_gym", "x", {"dataset": "gcd", "credit": credit})
        problem = task.problem(0, seed=1)
        right = (problem.solution or "").rpartition("<answer>")[2].removesuffix("</answer>")
        rewards[credit] = task.score(problem, f"<answer>{right} or so</answer>").reward
    assert rewards["none"] == rewards["progress"] == 0.0
    assert 0 < rewards["all"] < 1


def test_levels_are_those_of_the_curriculum_and_config_overrides_them() -> None:
    lengths = []
    for level in range(4):
        task = create("reasoning_gym", "x", {"dataset": "chain_sum", "level": level})
        lengths.append(sum(len(task.problem(index, seed=1).prompt) for index in range(30)))
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]
    task = create(
        "reasoning_gym", "x", {"dataset": "chain_sum", "level": 3, "config": {"min_terms": 2, "max_terms": 2}}
    )
    assert isinstance(task, gym.ReasoningGym)
    assert {task._item(index, 1)["metadata"]["num_terms"] for index in range(20)} == {2}


REFUSED_LEVELS = {
    "caesar_cipher": {2, 3},
    "jugs": {3},
    "knight_swap": {0, 1, 2, 3, 4},
    "modulo_grid": {1},
    "rubiks_cube": {4},
    "sokoban": {0},
    "survo": {2, 3},
}
"""Levels that the data sets themselves refuse, or at which a problem takes minutes."""


def test_all_levels_but_these_can_be_chosen() -> None:
    refused: dict[str, set[int]] = {}
    for name in GENERATORS:
        for level in range(gym.levels(name)):
            task = create("reasoning_gym", "x", {"dataset": name, "level": level})
            assert isinstance(task, gym.ReasoningGym)
            try:
                task.check_settings()
            except ConfigError:
                refused.setdefault(name, set()).add(level)
    assert refused == REFUSED_LEVELS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "chain_sum", "level": 99}, "must be below"),
        ({"dataset": "chain_sum", "level": -2}, "level"),
        ({"dataset": "acre", "level": 0}, "must be below 0"),
        ({"dataset": "knight_swap", "level": 0}, "refuses|min_nodes"),
        ({}, "dataset: must name one of ab, acre"),
        ({"dataset": "time_intervals"}, "other problems every day"),
        ({"dataset": "codeio"}, "executing programs"),
        ({"dataset": "chain_summ"}, "did you mean 'chain_sum'"),
        ({"dataset": "chain_sum", "credit": "some"}, "must be one of"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    with pytest.raises(ConfigError, match=message):
        create("reasoning_gym", "x", options).load()


def test_generators_that_depend_on_the_hash_seed_need_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    for name in HASH_DEPENDENT:
        with pytest.raises(ConfigError, match="PYTHONHASHSEED=0"):
            create("reasoning_gym", "x", {"dataset": name}).load()


def test_only_the_alphabet_of_answers_reaches_a_scorer_that_evaluates() -> None:
    assert allowed("countdown", "(1 + 2)*3/4 - 5")
    assert allowed("simple_integration", "x**10 - 7*x**5/6 + sin(x)*exp(x) + C")
    assert allowed("string_insertion", "['A', 'B']")
    for name, text in [
        ("countdown", "sqrt(4)"),
        ("countdown", "x"),
        ("puzzle24", "int('24')"),
        ("simple_integration", "Integral(x)"),
        ("simple_integration", "x.diff"[:1] + "_y"),
        ("intermediate_integration", "sympify('1')"),
        ("polynomial_multiplication", "expand(x)"),
        ("string_insertion", "exit()"),
        ("string_insertion", "open('x')"),
        ("binary_matrix", "[a for a in b]"),
        ("spiral_matrix", "print(1)"),
        ("n_queens", "Q.append"),
        ("rubiks_cube", "R99999999"),
        ("rush_hour", "A+99999999"),
    ]:
        assert not allowed(name, text), (name, text)


def test_calculations_are_exact_and_bounded() -> None:
    assert calculate("(8/3 - 2)*9") == (6, [8, 3, 2, 9])
    assert calculate("-2 + 3")[0] == 1
    for text in ("2**3", "2//3", "abs(2)", "a", "1.5", "1_000 if 1 else 2", "(" * 90, "1+" * 300 + "1", "", "True"):
        with pytest.raises((ValueError, SyntaxError, RecursionError, MemoryError)):
            calculate(text)
    with pytest.raises(ZeroDivisionError):
        calculate("1/0")


def test_a_score_above_one_is_no_proof() -> None:
    """The closeness of a count is measured by dividing by the right one, which may be negative."""
    item = {"answer": "-3", "metadata": {"task": "count_days"}}
    assert reward("calendar_arithmetic", 20.1, "0", item, None, Credit.all) == 0.0
    assert reward("calendar_arithmetic", 1.0, "-3", item, None, Credit.progress) == 1.0


def test_problems_that_cannot_be_judged_are_passed_over() -> None:
    assert not acceptable({"answer": ""}, "polynomial_equations", None)
    assert not acceptable({"answer": "-Integral(x**2, x) + C"}, "intermediate_integration", None)
    assert acceptable({"answer": "x**2 + C"}, "intermediate_integration", None)


@pytest.mark.parametrize(("name", "index"), [("basic_arithmetic", 440), ("propositional_logic", 422)])
def test_a_generator_that_fails_on_a_seed_gets_another(name: str, index: int) -> None:
    """Held-out problems: the first divides by zero, of the second 68 in a row are not fit to be posed."""
    task = create("reasoning_gym", name, {"dataset": name})
    assert task.problem(index, HELD_OUT_SEED) == task.problem(index, HELD_OUT_SEED)


def test_generators_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    task = create("reasoning_gym", "bf", {"dataset": "bf"})
    for index in range(4):
        task.problem(index, 1)
    assert capsys.readouterr().out == ""
