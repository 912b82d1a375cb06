"""The live pages in a real browser: what a run adds appears, whatever it is called and whatever happens to it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import browser, opened, overflow  # noqa: F401 # a fixture
from helpers.live_view import NOBODY, cut, go_on, key_of, record_live_run, served
from helpers.recorded_run import HOSTILE, raise_alarm, record_run

from prorl_mega.viewing.server import ViewServer

LONGEST_MS = 30_000  # of patience with a machine under load; it takes a second


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    record_run(tmp_path / "demo", 60)
    record_live_run(tmp_path / "sweep" / "lr_1e-6", 30, of=60)
    record_live_run(tmp_path / "sweep" / "lr_2e-6", 45, of=60, pid=NOBODY)
    reset = {"step": 20, "trigger": "plateau", "action": "reset", "text": f"no gain {HOSTILE}"}
    (tmp_path / "sweep" / "lr_1e-6" / "decisions.jsonl").write_text(json.dumps(reset) + "\n")
    return tmp_path


@pytest.fixture
def server(runs: Path) -> Iterator[ViewServer]:
    with served(runs) as server:
        yield server


def address(server: ViewServer, path: str = "/") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def wait(page: Any, condition: str, argument: Any = None) -> None:
    """Until a condition of JavaScript, in which `argument` may occur, is true. The page's policy allows no `eval`."""
    page.wait_for_function(f"argument => {condition}", arg=argument, timeout=LONGEST_MS)


def names(page: Any) -> list[str]:
    return [each.inner_text() for each in page.locator("tbody tr .title").all()]


def test_the_list_follows(browser: Any, runs: Path, server: ViewServer) -> None:  # noqa: F811
    with opened(browser, address(server)) as page:
        wait(page, "document.querySelectorAll('tbody tr').length === 3")
        row = page.locator("tbody tr", has_text="lr_1e-6")
        assert row.locator(".state").inner_text() == "running"
        assert "30 of 60" in row.inner_text()
        assert "1 min 30 s left" in row.inner_text()
        go_on(runs / "sweep" / "lr_1e-6", 31, 0.123)
        row.get_by_text("31 of 60").wait_for(timeout=LONGEST_MS)
        assert "0.123" in row.inner_text()
        record_live_run(runs / "new", 3, of=60)
        page.locator("tbody tr", has_text="new").wait_for(timeout=LONGEST_MS)
        (runs / "new" / "LOCK").write_text("")
        page.locator("tbody tr", has_text="new").get_by_text("idle").wait_for(timeout=LONGEST_MS)
        shutil.rmtree(runs / "new")
        wait(page, "document.querySelectorAll('tbody tr').length === 3")


def test_sorting_filtering_and_choosing(browser: Any, server: ViewServer) -> None:  # noqa: F811
    with opened(browser, address(server)) as page:
        wait(page, "document.querySelectorAll('tbody tr').length === 3")
        page.get_by_role("button", name="run", exact=True).click()
        assert names(page) == ["demo", "sweep/lr_1e-6", "sweep/lr_2e-6"]
        page.get_by_role("button", name="step", exact=True).click()
        assert names(page) == ["demo", "sweep/lr_2e-6", "sweep/lr_1e-6"]
        page.get_by_role("button", name="step", exact=True).click()
        assert names(page) == ["sweep/lr_1e-6", "sweep/lr_2e-6", "demo"]
        page.get_by_role("searchbox").fill("lr_ seed")
        assert names(page) == ["sweep/lr_1e-6", "sweep/lr_2e-6"]
        page.get_by_role("button", name=re.compile("crashed")).click()
        assert names(page) == ["sweep/lr_1e-6"]
        page.reload()
        page.locator("tbody tr").wait_for(timeout=LONGEST_MS)
        assert names(page) == ["sweep/lr_1e-6"], "the address keeps sorting and filter"
        page.get_by_role("button", name=re.compile("crashed")).click()
        for box in page.get_by_role("checkbox").all():
            box.check()
        page.get_by_role("link", name="compare 2 runs").click()
        page.get_by_role("heading", name="Comparison").wait_for(timeout=LONGEST_MS)


def last_step(page: Any, step: int) -> None:
    wait(page, "prorl.charts.get('Reward')?.x.at(-1) === argument", step)


def test_a_run_is_followed_through_a_restart(browser: Any, runs: Path, server: ViewServer) -> None:  # noqa: F811
    run = runs / "sweep" / "lr_1e-6"
    with opened(browser, address(server, f"/run/{key_of(run)}")) as page:
        last_step(page, 30)
        page.get_by_text("30 of 60").wait_for(timeout=LONGEST_MS)
        plots = page.locator(".u-over").element_handles()
        for step in (31, 32, 33):
            go_on(run, step, 0.25)
            last_step(page, step)
        assert plots[0].is_visible(), "the chart was not made anew"
        values = page.evaluate("prorl.charts.get('Reward').chart.series[0].values")
        assert (len(values), values[-3:]) == (33, [0.25] * 3)
        legend = page.locator('[data-chart="Reward"] .legend b')
        wait(page, "document.querySelector('[data-chart=\"Reward\"] .legend b').textContent === '0.25'")
        cut(run, 10)
        go_on(run, 11, 0.75)
        last_step(page, 11)
        wait(page, "document.querySelector('[data-chart=\"Reward\"] .legend b').textContent === '0.75'")
        assert legend.inner_text() == "0.75"
        page.get_by_text("11 of 60").wait_for(timeout=LONGEST_MS)


def test_decisions_evaluations_and_answers_appear(browser: Any, runs: Path, server: ViewServer) -> None:  # noqa: F811
    run = runs / "sweep" / "lr_1e-6"
    with opened(browser, address(server, f"/run/{key_of(run)}")) as page:
        page.locator("#decisions").get_by_text("no gain").wait_for(timeout=LONGEST_MS)
        assert page.evaluate("prorl.charts.get('Entropy').marks.map(mark => mark.x)") == [20]
        with (run / "decisions.jsonl").open("a") as file:
            file.write('{"step": 30, "trigger": "entropy_low", "action": "warn", "text": "entropy is low"}\n')
        page.locator("#decisions").get_by_text("entropy is low").wait_for(timeout=LONGEST_MS)
        assert "final" not in page.locator("#evaluations").inner_text()
        shutil.copy(runs / "demo" / "evaluation" / "final.json", run / "evaluation" / "step_30.json")
        page.locator("#evaluations").get_by_text("final, step 60").wait_for(timeout=LONGEST_MS)
        row = {"key": "new/1", "task": "gcd", "prompt": "How many?", "completion": HOSTILE, "reward": 0.0}
        (run / "samples" / "step_000061.jsonl").write_text(json.dumps(row))
        page.locator("#answers").get_by_text("new/1").wait_for(timeout=LONGEST_MS)
        page.locator("#answers").get_by_role("button", name="all of step 61").click()
        panel = page.locator("dialog.panel")
        panel.get_by_text("How many?").wait_for(timeout=LONGEST_MS)
        assert "<script>alert('x')</script>" in panel.inner_text()
        panel.get_by_role("button", name="before").click()
        panel.get_by_text("step 60").wait_for(timeout=LONGEST_MS)


def test_the_answers_behind_an_alarm_are_one_click_away(browser: Any, runs: Path, server: ViewServer) -> None:  # noqa: F811
    run = runs / "sweep" / "lr_1e-6"
    with opened(browser, address(server, f"/run/{key_of(run)}")) as page:
        page.locator("#decisions").get_by_text("no gain").wait_for(timeout=LONGEST_MS)
        raise_alarm(run, 30, "identical", f"the way around {HOSTILE}")
        page.locator("#decisions").get_by_text("the alarm identical begins").click(timeout=LONGEST_MS)
        panel = page.locator("dialog.panel")
        panel.get_by_text("the way around").first.wait_for(timeout=LONGEST_MS)
        text = panel.inner_text()
        assert text.startswith("alarm identical, step 30")
        assert (text.count("the way around"), "honest work" in text) == (2, False)
        assert "answer, behind the alarm identical" in text
        panel.get_by_role("button", name="step 30").click()
        panel.get_by_text("honest work").wait_for(timeout=LONGEST_MS)


def test_any_metric_is_drawn_when_asked_for(browser: Any, runs: Path, server: ViewServer) -> None:  # noqa: F811
    path = f"/run/{key_of(runs / 'demo')}"
    with opened(browser, address(server, path)) as page:
        page.get_by_text("Charts of other metrics").click()
        page.get_by_role("searchbox", name="filter metrics").fill("pass@4")
        page.get_by_role("button", name="evaluation/pass@4").click()
        wait(page, "prorl.charts.get('evaluation/pass@4')?.plot")
        page.reload()
        wait(page, "prorl.charts.get('evaluation/pass@4')?.plot")
        page.get_by_role("button", name="evaluation/pass@4").click()
        wait(page, "!prorl.charts.has('evaluation/pass@4') && prorl.charts.has('Reward')")


def test_a_run_that_vanishes_and_comes_back(browser: Any, runs: Path, server: ViewServer) -> None:  # noqa: F811
    context = browser.new_context()
    page = context.new_page()
    page.goto(address(server, f"/run/{key_of(runs / 'demo')}"))
    last_step(page, 60)
    (runs / "demo").rename(runs.parent / "aside")
    page.get_by_text("This run is not there any more").wait_for(timeout=LONGEST_MS)
    (runs.parent / "aside").rename(runs / "demo")
    page.get_by_text("This run is not there any more").wait_for(state="hidden", timeout=LONGEST_MS)
    last_step(page, 60)
    context.close()


def test_runs_are_compared(browser: Any, runs: Path, server: ViewServer) -> None:  # noqa: F811
    keys = f"{key_of(runs / 'demo')},{key_of(runs / 'sweep' / 'lr_1e-6')}"
    config = runs / "demo" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 1\n", "seed: 77\n", 1))
    with opened(browser, address(server, f"/compare?runs={keys}")) as page:
        wait(page, "prorl.charts.get('Reward')?.chart.series.length === 2")
        counts = "series.map(each => [each.label, each.values.filter(v => v !== null).length])"
        series = page.evaluate(f"prorl.charts.get('Reward').chart.{counts}")
        assert series == [["demo", 60], ["lr_1e-6", 30]]
        assert "seed" in page.locator("#settings table").inner_text()
        assert "77" in page.locator("#settings table").inner_text()
        go_on(runs / "sweep" / "lr_1e-6", 31, 0.5)
        wait(page, "prorl.charts.get('Reward').chart.series[1].values.filter(v => v !== null).length === 31")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_it_fits_and_harms_nobody(browser: Any, tmp_path: Path, width: int, theme: Any) -> None:  # noqa: F811
    name = "<img src=x onerror=alert(1)>" + "long" * 40
    record_live_run(tmp_path / "<b>folder" / name, 20, of=60)
    run = tmp_path / "<b>folder" / name
    hostile = {"step": 21, "reward/mean": 0.5, "reward/<script>alert(1)</script>": 0.1, "reward/" + "y" * 150: 0.2}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(hostile) + "\n")
    (run / "console.log").write_text(HOSTILE)
    record_run(tmp_path / "other", 20)
    keys = [key_of(run), key_of(tmp_path / "other")]
    with served(tmp_path) as server:
        for path in ("/", f"/run/{keys[0]}", f"/compare?runs={','.join(keys)}"):
            with opened(browser, address(server, path), width=width, theme=theme) as page:
                page.wait_for_selector("html[data-first]", state="attached", timeout=LONGEST_MS)
                page.get_by_text("<img src=x").first.wait_for(timeout=LONGEST_MS)
                assert overflow(page) == 0, path
                assert page.locator("img, main script").count() == 0
                assert page.evaluate("document.documentElement.dataset.theme") == theme
