"""The page of a study shows the table's numbers and a line per arm."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import browser, hover, opened, overflow  # noqa: F401
from helpers.recorded_run import HOSTILE, record_run

from prorl_mega.reporting.arms import Arm
from prorl_mega.study import Study, run_name, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("study")
    arms = {"all": Arm(title="everything"), "less": Arm(title=f"without KL {HOSTILE}")}
    for arm in arms:
        for seed in (1, 2):
            directory = output / run_name(arm, seed)
            record_run(directory, 30)
            settings = directory / "config.yaml"
            settings.write_text(re.sub(r"(?m)^seed: \d+$", f"seed: {seed}", settings.read_text()))
    metrics = output / run_name("all", 2) / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    metrics.write_text("".join(json.dumps(row | {"policy/entropy": 0.5}) + "\n" for row in rows))
    write_study(Study(common=[], seeds=[1, 2], reference="all", arms=arms), output)
    return output


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_of_a_study(browser: Any, study: Path, width: int) -> None:  # noqa: F811
    rows = (study / run_name("all", 1) / "metrics.jsonl").read_text().splitlines()
    table = (study / "study.md").read_text()
    with opened(browser, study / "study.html", width=width) as page:
        assert overflow(page) <= 0
        for number in re.findall(r"\d\.\d{3}", table.splitlines()[2]):
            assert number in page.inner_text("#arms table")
        assert page.locator("#arms tr").count() == 5  # two arms, pass@1 and pass@16
        tip = hover(page, "policy/entropy", 12)
        first = json.loads(rows[12])
        assert first["step"] == 12
        assert float(tip["everything"]) == pytest.approx((first["policy/entropy"] + 0.5) / 2, rel=1e-3)
        assert len(tip) == 3
        assert page.locator("img").count() == 0
