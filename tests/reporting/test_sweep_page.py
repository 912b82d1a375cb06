"""The page of several runs in a browser: both themes, two widths, the numbers of the text, hostile names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest
from helpers.browser import browser, opened, overflow  # noqa: F401
from helpers.recorded_run import HOSTILE
from helpers.recorded_sweep import record_failed_run, record_swept_run

from prorl_mega.reporting.sweep import read_sweep
from prorl_mega.reporting.sweep_page import outcome_chart, sweep_page
from prorl_mega.reporting.sweep_text import run_table


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("sweep")
    found = [
        record_swept_run(
            root / f"run{place}",
            {"optimizer.learning_rate": 1e-6 * 3**place, "model.path": f"{HOSTILE}{place % 2}", "seed": place % 3},
            0.3 + 0.04 * place,
            dice=place,
        )
        for place in range(10)
    ]
    return [*found, record_failed_run(root / "broken", {"model.path": HOSTILE}, 24, HOSTILE)]


@pytest.mark.parametrize(("width", "theme"), [(400, "light"), (1400, "dark")])
def test_the_page(
    browser: Any,  # noqa: F811
    runs: list[Path],
    tmp_path: Path,
    width: int,
    theme: Literal["light", "dark"],
) -> None:
    sweep = read_sweep(runs)
    file = tmp_path / "page.html"
    file.write_text(sweep_page("Comparison x", sweep))
    with opened(browser, file, width=width, theme=theme) as page:
        assert overflow(page) <= 0
        assert page.locator("img").count() == 0
        assert page.locator("#runs tr").count() == 12
        table = page.inner_text("#runs table")
        _, rows = run_table(sweep)
        for row in rows:
            assert row[-7] in table, "the score"
        assert "rollout (24)" in table
        effects = page.inner_text("#settings table")
        assert re.search(r"optimizer\.learning_rate: goes with a difference", effects)
        assert "of the spread of the scores' ranks" in effects
        assert page.locator("#outcomes .chart canvas").count() == 2
        assert page.locator("#curves .chart canvas").count() == 4


def test_dots_of_numbers_stand_at_their_place_and_those_of_values_side_by_side(runs: list[Path]) -> None:
    sweep = read_sweep(runs)
    rate = outcome_chart(sweep, sweep.setting("optimizer.learning_rate"))
    dots = {dot.label: dot for of in rate.groups.values() for dot in of}
    assert dots["run0"].x == pytest.approx(-6)
    assert [name for _, name in rate.x_ticks] == ["1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "1e-1"]
    path = outcome_chart(sweep, sweep.setting("model.path"))
    xs = [dot.x for of in path.groups.values() for dot in of]
    assert len(set(xs)) == 10
    assert {round(x) for x in xs} == {0, 1}
    low, high = path.y_bounds
    assert low is not None
    assert high is not None
    assert all(low < (dot.low or 0) and (dot.high or 1) < high for of in path.groups.values() for dot in of)
