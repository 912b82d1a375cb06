"""From never to reliably: counts and bounds by hand."""

from __future__ import annotations

from typing import Any

import pytest

from prorl_mega.evaluation.comparison import ALL_TASKS
from prorl_mega.evaluation.mastery import mastered
from prorl_mega.evaluation.pass_curves import PassCurves, from_evaluations
from prorl_mega.reporting.boundary_text import mastery_text, with_any_to_master


def records(task: str, *solved: int, samples: int = 1000, **more: Any) -> list[dict[str, Any]]:
    return [
        {"key": f"{task}/{index}", "task": task, "samples": samples, "solved": each} | more
        for index, each in enumerate(solved)
    ]


BASE = [*records("two", 0, 0, 3, 0), *records("three", 0, 0)]
LATER = [*records("two", 990, 900, 1000, 899), *records("three", 950, 0)]


def test_a_problem_counts_if_the_base_never_and_the_model_nearly_always_solves_it() -> None:
    found = mastered(from_evaluations({"base": BASE, "rl": LATER}))
    assert [(each.task, each.model, each.problems, each.never, each.mastered) for each in found] == [
        ("two", "rl", 4, 3, 2),  # 900 of 1,000 is the share itself, 899 is not
        ("three", "rl", 2, 2, 1),
        (ALL_TASKS, "rl", 6, 5, 3),
    ]
    assert mastered(from_evaluations({"base": BASE, "rl": LATER}), reliably=0.95)[0].mastered == 1


def test_bounds_are_exact_and_hold_together() -> None:
    two = mastered(from_evaluations({"base": BASE, "rl": LATER}))[0]
    error = 0.05 / (2 * 6)  # six problems, one model, two sides
    assert two.upper == pytest.approx(1 - error ** (1 / 1000))  # (1 - p)^1000 = error
    assert 0.86 < two.lower < 0.9  # of 900 of 1,000
    three = mastered(from_evaluations({"base": BASE, "rl": LATER, "last": LATER}))[0]
    assert three.upper == pytest.approx(1 - (error / 2) ** (1 / 1000))


def test_every_later_model_has_rows_of_its_own() -> None:
    control = [*records("two", 0, 0, 0, 0), *records("three", 0, 0)]
    found = mastered(from_evaluations({"base": BASE, "control": control, "rl": LATER}))
    assert [(each.task, each.model, each.mastered) for each in found if each.task == "two"] == [
        ("two", "control", 0), ("two", "rl", 2)
    ]  # fmt: skip
    assert (found[0].upper, found[0].lower) == (1.0, 0.0)


def test_further_samples_of_the_base_are_added() -> None:
    further = records("two", 0, 5, 0, samples=10_000)
    two = mastered(from_evaluations({"base": BASE, "rl": LATER}), BASE, further)[0]
    assert (two.further_problems, two.further_samples, two.further_never) == (2, 10_000, 1)
    assert two.further_upper == pytest.approx(1 - (0.05 / 12) ** (1 / 11_000))


def test_another_form_is_looked_for_among_the_mastered() -> None:
    curves = from_evaluations({"base": BASE, "rl": LATER})
    assert mastered(curves, BASE)[0].in_any_form is None
    looked = [*records("two", 0, 0, 3, 0, relaxed=0), *records("three", 0, 0, relaxed=0)]
    assert mastered(curves, looked)[0].in_any_form == 0
    looked[1]["relaxed"] = 4
    assert [each.in_any_form for each in mastered(curves, looked)] == [1, 0, 1]
    looked[3]["relaxed"] = 9  # of a problem that is not mastered
    assert mastered(curves, looked)[0].in_any_form == 1


def test_a_table_of_means_has_none() -> None:
    assert mastered(PassCurves(models=["base", "rl"], means={"two": {"base": {1: 0.0}, "rl": {1: 0.9}}})) == []


def test_tasks_without_a_problem_to_master_are_named_and_have_no_row() -> None:
    easy = records("one", 1000, 999)
    found = mastered(from_evaluations({"base": [*BASE, *easy], "rl": [*LATER, *easy]}))
    assert [each.task for each in with_any_to_master(found)] == ["two", "three", ALL_TASKS]
    assert "all of their problems: one." in mastery_text("base", found, 0.9, 0.95)
    assert "all of their problems" not in mastery_text("base", with_any_to_master(found), 0.9, 0.95)
