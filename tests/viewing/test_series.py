"""Columns of numbers in bounded memory, through restarts and through rows that nobody has asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.live_view import cut, record_live_run

from prorl_mega.reporting.history import read_history
from prorl_mega.viewing.followed_numbers import FollowedNumbers
from prorl_mega.viewing.places import Place
from prorl_mega.viewing.series import MOST_NAMES, GrowingSeries


def rows(first: int, last: int) -> list[tuple[int, dict[str, float | None]]]:
    return [(step, {"a": float(step), "b": None if step % 3 else 1.0}) for step in range(first, last + 1)]


def test_rows_become_columns() -> None:
    series = GrowingSeries(64)
    series.extend([(0, {"a": 0.5, "c": None}), *rows(1, 4)])
    series.extend([(5, {"d": 2.0})])
    assert series.start == {"a": 0.5}
    assert series.steps().tolist() == [1, 2, 3, 4, 5]
    columns = series.columns()
    np.testing.assert_array_equal(columns["a"], [1, 2, 3, 4, np.nan])
    np.testing.assert_array_equal(columns["b"], [np.nan, np.nan, 1, np.nan, np.nan])
    np.testing.assert_array_equal(columns["d"], [np.nan] * 4 + [2])


def test_an_earlier_step_takes_back_what_was_there() -> None:
    series = GrowingSeries(64)
    series.extend(rows(1, 9))
    series.extend([(5, {"a": -5.0}), (6, {"a": -6.0})])
    assert series.steps().tolist() == [1, 2, 3, 4, 5, 6]
    assert series.columns()["a"].tolist() == [1, 2, 3, 4, -5, -6]
    assert series.cuts == 1


@pytest.mark.parametrize("part", [1, 7, 1000])
def test_a_long_run_is_averaged_whatever_comes_at_once(part: int) -> None:
    series, every = GrowingSeries(16), rows(1, 1000)
    for start in range(0, 1000, part):
        series.extend(every[start : start + part])
    assert series.stride == 64
    whole = 1000 // 64 * 64
    assert series.steps().tolist() == [*range(64, whole + 1, 64), 1000]
    means = [np.mean(np.arange(end - 63, end + 1)) for end in range(64, whole + 1, 64)]
    np.testing.assert_allclose(series.columns()["a"], [*means, np.mean(np.arange(whole + 1, 1001))])
    np.testing.assert_array_equal(series.columns()["b"], 1.0)  # of the numbers there are


def test_memory_is_bounded_in_both_directions() -> None:
    series = GrowingSeries(128)
    for step in range(1, 600):
        series.extend([(step, {f"{step}/{index}": 1.0 for index in range(20)} | {"x" * 10_000: 1.0})])
    assert len(series.names) == MOST_NAMES
    assert series.bytes <= 129 * (MOST_NAMES + 1) * 8


def followed(directory: Path, names: tuple[str, ...] | None = None) -> FollowedNumbers:
    return FollowedNumbers(Place(directory.resolve()), most_rows=1024, names=names)


def test_it_is_the_history_that_a_report_has(tmp_path: Path) -> None:
    record_live_run(tmp_path / "run", 50, of=60)
    numbers, history = followed(tmp_path / "run"), read_history(tmp_path / "run")
    numbers.advance()
    assert numbers.series.start == history.start
    np.testing.assert_array_equal(numbers.series.steps(), history.steps)
    columns = numbers.series.columns()
    assert columns.keys() == {name for name in history.columns if history.has(name)}
    for name, values in columns.items():
        np.testing.assert_array_equal(values, history.columns[name])


def test_few_names_are_those_of_all(tmp_path: Path) -> None:
    record_live_run(tmp_path / "run", 50, of=60)
    few, every = followed(tmp_path / "run", ("policy/kl", "evaluation/pass@1")), followed(tmp_path / "run")
    for numbers in (few, every):
        numbers.advance()
    assert few.series.columns().keys() == {"policy/kl", "evaluation/pass@1"}
    for name, values in few.series.columns().items():
        np.testing.assert_array_equal(values, every.series.columns()[name])


def test_a_restart_is_followed(tmp_path: Path) -> None:
    record_live_run(tmp_path / "run", 50, of=60)
    numbers = followed(tmp_path / "run")
    numbers.advance()
    before = numbers.epoch
    cut(tmp_path / "run", 30)
    numbers.advance()
    assert numbers.series.last_step == 30
    assert numbers.epoch != before


HOSTILE = [
    "not json",
    '{"step": 2, "a": 1',
    '{"step": true, "a": 1}',
    '{"step": 2.5, "a": 1}',
    '{"step": -1, "a": 1}',
    '{"step": 99999999999999999999, "a": 1}',
    '{"a": 1}',
    "[1, 2]",
    "[" * 100_000,
    '{"step": 2, "a": NaN}',
    "\ud800",
]


@pytest.mark.parametrize("names", [None, ("a",)], ids=["all", "few"])
def test_lines_that_are_no_rows_are_left_out(tmp_path: Path, names: tuple[str, ...] | None) -> None:
    lines = [*HOSTILE, '{"step": 1, "a": 1}', *HOSTILE, '{"step": 3, "a": 3, "b": {"c": []}}']
    lines.append(json.dumps({"step": 4, "a": 10**400, "b": "text", "c": True}))
    (tmp_path / "metrics.jsonl").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + b"\n")
    numbers = followed(tmp_path, names)
    numbers.advance()
    assert numbers.series.steps().tolist() == [1, 3, 4]
    np.testing.assert_array_equal(numbers.series.columns()["a"], [1, 3, np.nan])
