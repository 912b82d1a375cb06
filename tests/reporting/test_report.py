"""The report shows what is there, says nothing false about what is not, and cannot be attacked by an answer."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.recorded_run import record_run

from prorl_mega.evaluation.comparison import ALL_TASKS, compare
from prorl_mega.report import main, write_report
from prorl_mega.reporting.charts import (
    DRAWN_POINTS,
    Chart,
    all_charts,
    described,
    in_buckets,
    moving_average,
    tidied,
)
from prorl_mega.reporting.descriptions import MOST_POINTS
from prorl_mega.reporting.history import read_history
from prorl_mega.run.metrics import append_metrics

VOID = {"meta", "line", "path", "circle", "br"}


class Outline(HTMLParser):
    """Checks that tags are balanced and collects what a browser would load, run and show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.data: dict[str, Any] = {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.open[-1:] == ["script"]:
            self.data |= json.loads(text) if text.startswith("{") else {}
        elif self.open[-1:] != ["style"]:
            self.texts.append(text)

    def shown(self) -> str:
        """Texts of the page, and those of its charts, which are drawn when it is opened."""
        charts = self.data["charts"].values()
        return "\n".join([*self.texts, *(each["title"] for each in charts), *map(json.dumps, charts)])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "demo"
    record_run(directory, 60)
    assert main([str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def outline(recorded: Path) -> Outline:
    return Outline((recorded / "report.html").read_text())


def test_every_chart_is_there(outline: Outline) -> None:
    text = outline.shown()
    for heading in (
        "Reward",
        "Pass rates",
        "Reward by task",
        "Entropy",
        "KL to the reference policy",
        "Completion length",
        "Time per step",
        "Idle",
        "Engine against learner",
        "Groups left out",
        "reference reset",
        "held-out pass@16",
        "all solved",
        "Held-out problems: base and trained policy",
        "Answers before and after",
    ):
        assert heading in text, heading
    assert "held-out pass@4" not in text
    assert "none solved" not in text  # never happened
    drawn = [value for _, name, value in outline.attributes if name == "data-chart"]
    assert sorted(drawn) == sorted(outline.data["charts"])
    assert len(drawn) >= 12


def test_it_needs_nothing_from_outside(recorded: Path, outline: Outline) -> None:
    loading = {"src", "href", "xlink:href", "srcset", "data", "poster", "action"}
    found = [value for _, name, value in outline.attributes if name in loading]
    assert [value for value in found if not re.fullmatch(r"#[\w-]+", value)] == [], "more than parts of this page"
    page = (recorded / "report.html").read_text()
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_answers_cannot_run_anything(outline: Outline) -> None:
    assert outline.tags.count("script") == 2  # data and the program
    assert "img" not in outline.tags
    assert not [name for _, name, _ in outline.attributes if name.startswith("on")]
    assert any("<script>alert('x')</script>" in text for text in outline.texts)  # shown as text
    assert not any("\x1b" in text for text in outline.texts)


def test_answers_of_steps_are_shown_where_none_were_evaluated(tmp_path: Path) -> None:
    record_run(tmp_path / "run", 3)
    (tmp_path / "run" / "evaluation" / "base.json").unlink()
    outline = Outline(write_report(tmp_path / "run").read_text())
    assert "step 3, reward 1.00" in outline.texts
    assert any("<script>alert('x')</script>" in text for text in outline.texts)
    assert not any("\x1b" in text for text in outline.texts), "a terminal escape in a file that is not ours"
    assert outline.tags.count("script") == 2  # data and the program


def test_the_comparison_is_stated_with_intervals(outline: Outline) -> None:
    text = " ".join(outline.texts)
    base, trained = 0.2 * 0.5, 0.7 * 0.5  # before rounding to whole answers
    found = re.search(r"all tasks pass@1 40 (\d\.\d+) \[(\d\.\d+), (\d\.\d+)\] (\d\.\d+)", text)
    assert found is not None
    assert float(found[1]) == pytest.approx(base, abs=0.02)
    assert float(found[2]) < float(found[1]) < float(found[3])
    assert float(found[4]) == pytest.approx(trained, abs=0.02)


def rerecorded(directory: Path, label: str, settings: dict[str, object]) -> list[str]:
    """The texts of a page where one of the two evaluations was made under these settings."""
    record_run(directory, 20)
    path = directory / "evaluation" / f"{label}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"settings": content["settings"] | settings if settings else {}}))
    return Outline(write_report(directory).read_text()).texts


def test_results_under_different_settings_are_not_compared(tmp_path: Path) -> None:
    text = " ".join(rerecorded(tmp_path / "run", "final", {"evaluation.temperature": 1.0}))
    assert not re.search(r"[+-][\d.]+ points", text)
    assert "all tasks" not in text
    assert re.search(r"held-out problems\s+not compared\s+evaluation\.temperature: 0\.6 and 1\.0", text)
    said = r"Not compared\..* \(base and trained\): evaluation\.temperature: 0\.6 and 1\.0\. Set them back"
    assert re.search(said, text, re.DOTALL)
    assert "trained (under other settings), " in text


def test_the_page_says_what_was_measured(tmp_path: Path, outline: Outline) -> None:
    said = " ".join(outline.texts)
    assert "Both with temperature 0.6, top-p 0.95, 16 samples per problem, at most 64 tokens." in said
    other = " ".join(rerecorded(tmp_path / "run", "base", {"evaluation.samples": 8}))
    assert "Compared on what both have: evaluation.samples: 8 and 16." in other
    unknown = " ".join(rerecorded(tmp_path / "old", "base", {}))
    assert "were not recorded" in unknown


def test_step_0_is_a_point_of_the_pass_rates_and_of_nothing_else(recorded: Path) -> None:
    history = read_history(recorded)
    assert (history.steps[0], history.start) == (1, {"evaluation/pass@1": 0.15, "evaluation/pass@16": 0.3})
    by_title = {chart.title: chart for chart in all_charts(history)}
    assert [title for title, chart in by_title.items() if chart.steps[0] == 0] == ["Pass rates"]
    assert by_title["Pass rates"].lines["held-out pass@1"][0] == 0.15
    assert "60 of 60 steps" in (recorded / "report.html").read_text()
    plain = described(by_title["Pass rates"]).plain()
    assert (plain["x"]["values"][0], plain["series"][1]["values"][0]) == (0, 0.15)
    assert sum(value is not None for value in plain["series"][1]["values"]) == 7


def test_the_page_has_the_numbers_of_the_file(recorded: Path, outline: Outline) -> None:
    rows = [json.loads(line) for line in (recorded / "metrics.jsonl").read_text().splitlines()]
    chart = outline.data["charts"]["reward-by-task"]
    for series, name in zip(chart["series"], ("reward/chain_sum", "reward/gcd"), strict=True):
        assert chart["x"]["values"] == [row["step"] for row in rows[1:]]
        assert series["values"] == pytest.approx([row[name] for row in rows[1:]], rel=1e-4)


def test_the_same_numbers_give_the_same_page(recorded: Path) -> None:
    page = (recorded / "report.html").read_bytes()
    assert write_report(recorded).read_bytes() == page


def test_the_picture_is_there(recorded: Path) -> None:
    content = (recorded / "report.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(content[at : at + 4], "big") for at in (16, 20)] == [1950, 1080]


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    record_run(tmp_path / "run", 0)
    text = " ".join(Outline(write_report(tmp_path / "run").read_text()).texts)
    assert "No step has been finished yet." in text
    assert not (tmp_path / "run" / "report.png").exists()


@pytest.mark.parametrize(
    "rows",
    [
        [{}],
        [{"reward/mean": 0.5}],
        [{"reward/mean": float("nan")}] * 3,
        [{"reward/mean": 0.0, "policy/kl": 0.0, "seconds/rollout": 0.0}] * 3,
        [{"reward/mean": 1e300}, {"reward/mean": -1e300}],
        [{"reward/mean": 1e-300}, {"reward/mean": 2e-300}],
        [{"sampler/logprob_gap": value} for value in (0.0, 1e-9, 1e9, -1.0)],
        [{"sampler/logprob_gap": 0.0}] * 2,
        [{"seconds/rollout": -1.0, "seconds/step": -1.0}] * 2,
        [{"reward/<b>": 1.0, "reward/&amp;": 0.5, 'groups/dropped/"><i>': 1.0}] * 2,
        [{"reward/$": 1.0, r"reward/$\\frac{": 0.5, "seconds/$x": 1.0, r"seconds/$\\{": 2.0}] * 2,
        [{"reward/\ud800": 1.0, "reward/\x1b[31m": 0.5, "groups/dropped/\ud801": 1.0}] * 2,
        [{"reward/mean": 1.0, "evaluation/pass@x": 1.0, "evaluation/pass@2_low": 1.0}] * 2,
        [{"evaluation/pass@1": 0.5, "reference/reset": 1.0}, {}],
    ],
)
def test_strange_numbers_do_not_break_it(tmp_path: Path, rows: list[dict[str, float]]) -> None:
    for step, row in enumerate(rows, 1):
        append_metrics(tmp_path / "metrics.jsonl", step, row)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "base.json").write_text('{"label": "base"')
    outline = Outline(write_report(tmp_path).read_text())
    assert not {"b", "i"} & set(outline.tags)


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text("".join(f'{{"step": {step}, "reward/mean": {step % 7 / 7}}}\n' for step in range(1, 20_001)))
    assert write_report(tmp_path).stat().st_size < 200_000


def test_what_is_not_a_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 20
    assert f"{tmp_path}: neither a run nor a directory of runs: it has no config.yaml" in capsys.readouterr().err


def test_missing_values_are_gaps(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "a": 1}\n{"step": 2, "a": null, "b": true}\nbroken\n{"step": 4, "c": "x"}\n'
    )
    history = read_history(tmp_path)
    np.testing.assert_array_equal(history.steps, [1, 2, 4])
    assert set(history.columns) == {"a"}
    np.testing.assert_array_equal(history.column("a"), [1.0, np.nan, np.nan])
    assert not history.has("missing")


def test_moving_average_leaves_gaps_out() -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(moving_average(values, 3), [1.0, 2.0, 4.0, 4.0, 5.0, np.nan, np.nan])


def test_long_lines_are_averaged_not_sampled() -> None:
    steps = np.arange(1, 4 * MOST_POINTS + 1)
    values = np.tile([0.0, 0.0, 0.0, 8.0], MOST_POINTS)
    chart = tidied(Chart("t", "a", "u", {"x": values}, steps))
    assert set(described(chart).plain()["series"][0]["values"]) == {2}
    short = tidied(Chart("t", "a", "u", {"x": values[: 4 * DRAWN_POINTS]}, steps[: 4 * DRAWN_POINTS]))
    np.testing.assert_array_equal(in_buckets(short).lines["x"], [2.0] * DRAWN_POINTS)


def test_empty_charts_are_empty() -> None:
    nothing = np.full(3, np.nan)
    for stacked in (False, True):
        assert tidied(Chart("t", "a", "u", {"x": nothing}, np.arange(3), stacked=stacked)).is_empty


def records(solved: list[int], samples: int = 4, task: str = "a") -> list[dict[str, object]]:
    return [{"key": f"{task}/{i}", "task": task, "samples": samples, "solved": n} for i, n in enumerate(solved)]


def test_comparison_in_pairs() -> None:
    base = [*records([0, 2, 4]), *records([1], task="b")]
    trained = [*records([4, 4, 4]), *records([1], task="b"), *records([4], task="only here")]
    rows = {(row.task, row.k): row for row in compare(base, trained)}
    assert set(rows) == {(task, k) for task in (ALL_TASKS, "a", "b") for k in (1, 4)}
    assert rows["a", 1].base.mean == pytest.approx(0.5)
    assert rows["a", 4].base.mean == pytest.approx(2 / 3)
    assert rows["a", 1].gain.mean == pytest.approx(0.5)
    assert rows["b", 1].gain == (0.0, 0.0, 0.0)
    assert rows[ALL_TASKS, 1].problems == 4


def test_comparison_leaves_out_problems_with_too_few_verdicts() -> None:
    base = records([1, 1, 0])
    base[2]["samples"] = 0
    (first, largest) = compare(base, records([4, 4, 4]))
    assert (first.k, first.problems) == (1, 2)
    assert (largest.k, largest.problems) == (4, 2)
    assert compare([], []) == []
    assert compare(records([0], samples=0), records([0], samples=0)) == []


def test_what_the_controller_makes_of_entropy_is_shown_where_it_differs(tmp_path: Path) -> None:
    record_run(tmp_path / "x", 20)
    file = tmp_path / "x" / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for offset, labels in ((0.0, ["entropy"]), (0.1, ["entropy", "as the controller sees it"])):
        for row in rows:
            row["controller/entropy_filtered"] = row.get("policy/entropy", 0.0) + offset
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (entropy,) = [chart for chart in all_charts(read_history(tmp_path / "x")) if chart.title == "Entropy"]
        assert list(entropy.lines) == labels
