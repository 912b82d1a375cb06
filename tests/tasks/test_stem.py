"""The task that reads science from files: rows, options in an order of their own, units, and answers that are made."""

import json
import math
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest

from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import Task, create
from prorl_mega.tasks.answers.phrases import formula, phrase
from prorl_mega.tasks.answers.quantities import matches, quantity
from prorl_mega.tasks.answers.units import rate, unit
from prorl_mega.tasks.stem import correct
from prorl_mega.types import Problem

COLOURS = ["red", "green", "blue", "black"]


def task(path: Path, *rows: dict, **options: object) -> Task:
    path.write_text("\n".join(map(json.dumps, rows)))
    made = create("stem", "file", {"path": str(path), **options})
    made.load()
    return made


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "x", "answer": "$ $"}, "must say something"),
        ({"prompt": "x", "answer": "..."}, "must say something"),
        ({"prompt": "x", "answer": "x" * 500}, "at most 400 characters"),
        ({"prompt": "x", "answer": "5", "unit": "bananas"}, "unit 'bananas' is not known"),
        ({"prompt": "x", "answer": "five", "unit": "m"}, "or the answer is no number"),
        ({"prompt": "x", "answer": "5", "tolerance": -1}, "'tolerance' must be a number >= 0"),
        ({"prompt": "x", "answer": "grey", "choices": COLOURS}, "must be one of the choices"),
        ({"prompt": "x", "answer": "red", "choices": ["red", "red"]}, "two different texts"),
        ({"prompt": "x", "answer": "red", "choices": ["red", " "]}, "must not have a blank text"),
        ({"prompt": "x", "answer": "0", "choices": [str(i) for i in range(27)]}, "at most 26 texts"),
        ({"prompt": "x"}, "'answer' is missing"),
    ],
)
def test_a_row_that_nobody_could_solve_is_named(tmp_path: Path, row: dict, message: str) -> None:
    path = tmp_path / "data.jsonl"
    good = {"prompt": "1+1?", "answer": "2"}
    with pytest.raises(DataError, match=message) as caught:
        task(path, good, row, good)
    assert f"{path}:2: " in str(caught.value)


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"options\.tolerance: must be .* at least 0 and below 1, not 1\.0"):
        create("stem", "file", {"path": str(tmp_path), "tolerance": 1.0})
    with pytest.raises(ConfigError, match=r"options\.path: must be a file, a pattern, a directory or hf:"):
        create("stem", "file", {"path": ""})


def test_choices_are_shuffled_and_the_letter_follows(tmp_path: Path) -> None:
    rows: list[dict] = [
        {"prompt": f"Colour {i}?", "answer": "green", "choices": COLOURS, "solution": r"\boxed{B}"} for i in range(60)
    ]
    made = task(tmp_path / "data.jsonl", *rows)
    problems = [made.problem(index, seed=1) for index in range(60)]
    assert {problem.entry["answer"] for problem in problems} == set("ABCD")
    for problem in problems:
        letter = problem.entry["answer"]
        assert f"\n{letter}. green" in problem.prompt
        assert sorted(problem.entry["options"]) == sorted(COLOURS)
        for answer in (letter, "green", f"({letter})", f"{letter}. green"):
            assert made.score(problem, rf"\boxed{{{answer}}}").reward == 1
        for answer in ("A, B, C, D", "A B C D", "A or B", "red", "none", *(set("ABCD") - {letter})):
            assert made.score(problem, rf"\boxed{{{answer}}}").reward == 0
        assert problem.solution is not None
        assert made.score(problem, problem.solution).reward == 1


def test_the_order_of_the_options_is_the_row_s_own(tmp_path: Path) -> None:
    """In every pass and with every seed: the text of a prompt decides whether the problem is held out."""
    rows: list[dict] = [{"prompt": f"Colour {i}?", "answer": "green", "choices": COLOURS} for i in range(20)]
    made = task(tmp_path / "data.jsonl", *rows)
    again = create("stem", "file", {"path": str(tmp_path / "data.jsonl")})
    first = {problem.key: problem for problem in (made.problem(index, seed=1) for index in range(20))}
    for index in range(40):
        problem = again.problem(index, seed=2)
        assert problem == first[problem.key]


def test_units_and_tolerances_of_rows(tmp_path: Path) -> None:
    rows: list[dict] = [
        {"prompt": "g", "answer": "9.81", "unit": "m/s^2", "tolerance": 0.02, "id": "g"},
        {"prompt": "c", "answer": "3.0e8 m/s", "unit": "m/s", "id": "c"},
        {"prompt": "n", "answer": 42, "id": "n"},
    ]
    made = task(tmp_path / "data.jsonl", *rows)
    problems = {problem.prompt: problem for problem in (made.problem(index, 0) for index in range(3))}
    for name, answer, reward in [
        ("g", "10 m/s^2", 1), ("g", "9.7", 1), ("g", "9.5", 0), ("g", "981 cm/s^2", 1), ("g", "9.81 kg", 0),
        ("c", "3.0e5 km/s", 1), ("c", "299792458 m/s", 1), ("c", "3.1e8 m/s", 0), ("n", "42", 1), ("n", "42.1", 0),
    ]:  # fmt: skip
        assert made.score(problems[name], rf"\boxed{{{answer}}}").reward == reward, (name, answer)


def test_wavering_is_wrong(tmp_path: Path) -> None:
    made = task(tmp_path / "data.jsonl", {"prompt": "n", "answer": "water"})
    problem = made.problem(0, 0)
    for text, reward in [
        (r"\boxed{water}", 1),
        (r"\boxed{water} or \boxed{ice}", 0),
        (r"\boxed{water}. No wait, ice.", 0),
        (r"<think>\boxed{water}</think> \boxed{ice}", 0),
        (r"\boxed{water", 0),
        (r"\boxed{water}, the answer is ice.", 0),
        ("water", 0),
    ]:
        assert made.score(problem, text).reward == reward, text


def test_levels_are_a_filter(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "answer": i, "level": i % 2} for i in range(6)]
    assert task(tmp_path / "data.jsonl", *rows, levels=["1"]).size() == 3


@pytest.mark.parametrize(
    ("name", "factor"),
    [("km", 1000), ("mm^2", Fraction(1, 10**6)), ("kJ/mol", 1000), ("μs", Fraction(1, 10**6)), ("min", 60),
     ("mL", Fraction(1, 10**6)), ("atm", 101325), ("GHz", 10**9), ("dm^3", Fraction(1, 1000)), ("day", 86400),
     ("cal", Fraction("4.184")), ("g/cm^3", 1000),
     ("mph", Fraction("0.44704")), ("in", Fraction("0.0254")), ("MeV", Fraction("1.602176634e-13"))],
)  # fmt: skip
def test_units_have_their_exact_factors(name: str, factor: Fraction) -> None:
    found = unit(name)
    assert found is not None
    assert found.factor == factor


@pytest.mark.parametrize("name", ["bananas", "xyz", "m/", "/", "m//s", "m^99", "(m", "m)", "m^", "^2", "dmin", "kkm",
                                  "m s s/", "", "m" * 100, "min^-", "da"])  # fmt: skip
def test_what_is_no_unit(name: str) -> None:
    found = unit(name)
    assert found is None or (not name and found.factor == 1)


KINDS = ["rad/s", "Hz", "Bq", "bps", "s^-1"]


@pytest.mark.parametrize("here", KINDS)
def test_units_of_equal_dimensions_and_another_kind_are_not_converted(here: str) -> None:
    source = unit(here)
    assert source is not None
    for there in KINDS:
        target = unit(there)
        assert target is not None
        bare = "s^-1" in (here, there) and "bps" not in (here, there)
        assert rate(source, target) == (1 if bare or here == there else None), there
        squared = rate(source.times(source, 1), target.times(target, 1))
        assert squared == rate(source, target), there


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [("rpm", "rad/s", 2 * math.pi / 60), ("rad/s", "rpm", 60 / (2 * math.pi)), ("rev^2", "rad^2", 4 * math.pi**2),
     ("s/rev", "s/rad", 1 / (2 * math.pi)), ("rpm", "Hz", 1 / 60), ("rev", "°", 360), ("cent", "dollar", 0.01),
     ("MB", "bit", 8e6), ("rev/rad", "rad/rev", 4 * math.pi**2), ("rev", "rad^2", None), ("dollar", "euro", None),
     ("lm", "cd", None), ("lm", "cd sr", 1), ("W", "VA", None), ("W", "V A", 1), ("N m", "J", 1)],
)  # fmt: skip
def test_kinds_are_converted_where_a_number_is_known(here: str, there: str, expected: float | None) -> None:
    source, target = unit(here), unit(there)
    assert source is not None
    assert target is not None
    found = rate(source, target)
    assert found is None if expected is None else float(found or 0) == pytest.approx(expected, rel=1e-12)


def test_conversions_go_both_ways() -> None:
    """A quantity in another unit is the same, and a neighbour is not, from either side."""
    random = Random(3)
    groups = [["m", "km", "cm", "ft"], ["J", "kJ", "cal", "eV"], ["Pa", "kPa", "bar"], ["s", "min", "h"],
              ["K", "°C", "°F"], ["kg", "g", "lb"], ["m/s", "km/h", "mph"], ["rad/s", "deg/s"], ["T", "gauss"],
              ["dollars", "cents"], ["rpm", "Hz"], ["Gy", "J/kg"]]  # fmt: skip
    for _ in range(200):
        here, there = random.sample(random.choice(groups), 2)
        value = Fraction(random.randint(1000, 9999), 10)
        source, target = unit(here), unit(there)
        assert source is not None
        assert target is not None
        converted = (value * source.factor + source.offset - target.offset) / target.factor
        answer = f"{float(converted):.11e} {there}"
        gold, given = quantity(f"{float(value)} {here}"), quantity(answer)
        assert gold is not None
        assert given is not None
        assert matches(gold, given, 1e-6), (gold, answer)
        assert correct(f"{float(value)} {here}", answer, 0.0, False)
        wrong = quantity(f"{float(converted) * 1.05:.11e} {there}")
        assert wrong is not None
        assert not matches(gold, wrong, 1e-6)


def test_rewritten_numbers_are_accepted_and_changed_ones_refused() -> None:
    random = Random(4)
    for _ in range(200):
        number, power = random.randint(100, 999), random.randint(-9, 9)
        m = f"{number / 100:.2f}"
        gold = rf"{m} \times 10^{{{power}}} J"
        same = [f"{m}e{power} J", f"{m}×10^{power} J", f"{number / 10:.1f}e{power - 1} J",
                rf"${m} \cdot 10^{{{power}}}\,\mathrm{{J}}$", f"{m}e{power - 3} kJ"]  # fmt: skip
        other = [f"{(number + 1) / 100:.2f}e{power} J", f"{m}e{power + 1} J", f"-{m}e{power} J", f"{m}e{power} W",
                 f"{m}e{power} kJ"]  # fmt: skip
        assert [each for each in same if not correct(gold, each, 0.0, False)] == [], gold
        assert [each for each in other if correct(gold, each, 0.0, False)] == [], gold


def test_spellings_of_formulas_and_words() -> None:
    assert formula(r"\mathrm{SO_4^{2-}}") == formula("SO₄²⁻") == formula("SO42-") == "SO4^2-"
    assert formula("Fe3+") == formula("Fe^{3+}") == "Fe^3+"
    assert formula("No") is None
    assert formula("I") is None
    assert phrase(r"The \alpha-Helix.") == phrase("α helix") == "alpha helix"
    assert phrase("Δ") != phrase("δ")
    assert phrase("Co-60 in the DNA of AaBb") == "Co 60 in dna of AaBb"
    assert phrase("5′→3′, 1, 2-ene; 1,000.5 and .5") == "5 prime to 3 prime 1,2 ene 1000.5 and 0.5"


def test_a_unit_can_be_asked_for(tmp_path: Path) -> None:
    made = task(tmp_path / "data.jsonl", {"prompt": "m", "answer": "5 kg"}, units=True)
    problem = made.problem(0, 0)
    assert isinstance(problem, Problem)
    assert made.score(problem, r"\boxed{5}").reward == 0
    assert made.score(problem, r"\boxed{5000 g}").reward == 1
