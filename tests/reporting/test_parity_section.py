"""The page of a run on sampler and learner, and the same in words for the console."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.parity_reports import differing, report_on
from helpers.recorded_run import HOSTILE, record_run

from prorl_mega.recipe.parity import parity_metrics, parity_report
from prorl_mega.reporting.charts import all_charts
from prorl_mega.reporting.history import read_history
from prorl_mega.reporting.parity_section import parity_section
from prorl_mega.reporting.parity_text import parity_lines
from prorl_mega.reporting.run_page import run_page
from prorl_mega.run.parity import PARITY, append_parity
from prorl_mega.types import ParityReport

ANSWERS = (differing(f"gcd/{HOSTILE}", [0.0, 0.002, -0.5, 0.25, 0.25]), differing("old", [0.125] * 4, version=2))


def report() -> ParityReport:
    return parity_report(ANSWERS, 3, lambda ids: HOSTILE * len(ids))


def section_of(page: str) -> str:
    return page[page.index('<section id="parity">') : page.index('<section id="settings">')]


def cells(text: str) -> list[str]:
    return re.findall(r"<td[^>]*>(.*?)</td>", text, re.DOTALL)


def page_of(run: Path) -> str:
    """The page alone: the picture beside it takes seconds."""
    history = read_history(run)
    return run_page(history, all_charts(history))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a run with numbers at every tenth step, and a report whose texts are an attack."""
    run = tmp_path_factory.mktemp("runs") / "run"
    record_run(run, 40)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row |= parity_metrics(report()) if row["step"] % 10 == 0 and row["step"] else {}
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in (30, 40):
        append_parity(run / PARITY, step, report())
    return page_of(run)


def test_the_newest_report_is_on_the_page(page: str) -> None:
    section = section_of(page)
    assert "<h3>Step 40</h3>" in section
    assert "9 tokens of 2 answers, learner&#39;s weights of version 3." in section
    found = cells(section)
    assert found[:6] == ["all tokens", "9", "0.167", "0.125", "0.5", "0.5"]
    assert found[6:18:6] == ["version 3", "version 2, 1 behind"]
    assert "positions 2 to 3" in found
    bins = found.index("below 1e-07")
    assert found[bins : bins + 5] == ["below 1e-07", "1", "11.11%", "20.00%", "0.00%"]
    assert "0.316 to 1" in found


def test_charts_over_steps_and_over_positions(page: str) -> None:
    section = section_of(page)
    drawn = re.findall(r'data-chart="([^"]+)"', section)
    assert drawn == ["sampler-and-learner-token-by-token", "parity-by-position"]
    data = json.loads(page[page.index('id="data">') + 10 : page.index("</script>", page.index('id="data">'))])
    over_steps, by_position = (data["charts"][name] for name in drawn)
    assert over_steps["x"]["values"] == [10, 20, 30, 40], "steps without a report are left out"
    largest = next(each for each in over_steps["series"] if each["label"] == "largest")
    assert largest["values"] == [0.5] * 4
    assert (by_position["x"]["values"], by_position["log_y"]) == ([1, 2, 3, 5], True)
    assert page.count('data-chart="sampler-and-learner-token-by-token"') == 1, "not among the charts of training too"


def test_tokens_and_problems_are_shown_as_text(page: str) -> None:
    section = section_of(page)
    assert "<script" not in section
    assert "<img" not in section
    assert "\x1b" not in section
    last = cells(section)[-8 * 9 : -8 * 8]  # the worst of nine tokens
    assert last[0].startswith("gcd/&lt;/pre&gt;&lt;script&gt;")
    assert last[1:6] == ["2", "3", "-2", "-2.5", "0.5"]
    assert last[6].startswith("<code>&#34;&lt;/pre&gt;&lt;script&gt;alert")


def test_a_run_without_reports_has_no_section(tmp_path: Path) -> None:
    record_run(tmp_path / "run", 5)
    (tmp_path / "run" / PARITY).write_text('{"step": 4}\nbroken\n')
    assert parity_section(tmp_path / "run") is None
    page = page_of(tmp_path / "run")
    assert 'href="#parity"' not in page
    assert '<section id="parity">' not in page


def test_a_report_of_one_token_or_of_none(tmp_path: Path) -> None:
    run = tmp_path / "run"
    record_run(run, 5)
    for step, each in ((1, report_on()), (2, report_on(differing("a", [0.5])))):
        append_parity(run / PARITY, step, each)
        assert 'data-chart="parity-by-position"' not in page_of(run)
        assert parity_lines(each)[1].split()[:3] == ["all", "tokens", str(each.whole.tokens)]


def test_the_console_has_the_same_in_columns() -> None:
    lines = parity_lines(report())
    assert lines[1].split() == ["all", "tokens", "9", "0.17", "0.12", "0.5", "0.5"]
    assert any(line.split()[:4] == ["version", "2,", "1", "behind"] for line in lines)
    assert any(line.split()[:5] == ["0.316", "to", "1", "1", "███████"] for line in lines)
    worst = next(line for line in lines if line.split()[:4] == ["0.5", "-2", "-2.5", "2"])
    assert "\x1b" not in worst
    assert "\n" not in "".join(lines)


def test_what_is_not_finite_is_said() -> None:
    broken = report_on(differing("a", [float("nan"), 0.5]))
    assert "  not finite                       1" in parity_lines(broken)
    assert any(line.split()[:3] == ["not", "finite", "-2"] for line in parity_lines(broken))
