"""The page of a run in a real browser: it shows the numbers of the files, and every point opens what it stands for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import browser, hover, opened, overflow  # noqa: F401
from helpers.recorded_run import HOSTILE, raise_alarm, record_run
from helpers.rich_run import record_rich_run, resets

from prorl_mega.report import write_report

STEPS = 300


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "rich"
    record_rich_run(directory, STEPS)
    return write_report(directory)


def rows(report: Path) -> dict[int, dict[str, float]]:
    lines = (report.parent / "metrics.jsonl").read_text().splitlines()
    return {row["step"]: row for row in map(json.loads, lines)}


def test_hover_shows_what_metrics_jsonl_has(browser: Any, rich: Path) -> None:  # noqa: F811
    file = rows(rich)
    with opened(browser, rich) as page:
        for chart, names in (
            ("reward", {"mean": "reward/mean"}),
            ("kl-to-the-reference-policy", {"KL": "policy/kl"}),
            ("time-per-step", {"rollout": "seconds/rollout", "sync": "seconds/sync"}),
            ("reward-by-task", {"gcd": "reward/gcd", "math": "reward/math"}),
            ("engine-against-learner", {"largest": "sampler/logprob_gap_max"}),
        ):
            for step in (7, 151, STEPS):
                tip = hover(page, chart, step)
                assert tip[""] == f"step {step}"
                for label, name in names.items():
                    assert float(tip[label]) == pytest.approx(file[step][name], rel=1e-3), (chart, step)
        evaluated = 6 * (150 // 6)
        tip = hover(page, "pass-rates", evaluated)
        assert float(tip["held-out pass@16"]) == pytest.approx(file[evaluated]["evaluation/pass@16"], rel=1e-3)
        assert float(tip["training"]) == pytest.approx(file[evaluated]["pass/train"], rel=1e-3)
        low, high = (file[evaluated][f"evaluation/pass@16_{end}"] for end in ("low", "high"))
        assert f"{low:.4g} … {high:.4g}" in page.inner_text('[data-chart="pass-rates"] .tip')


def test_a_reset_says_why_on_every_chart_and_in_the_list(browser: Any, rich: Path) -> None:  # noqa: F811
    step = resets(STEPS)[1]
    with opened(browser, rich) as page:
        for chart in ("entropy", "completion-length"):
            hover(page, chart, step)
            assert "after 8 validations no better than" in page.inner_text(f'[data-chart="{chart}"] .tip')
        page.click(f'[data-jump="step:{step}"] >> nth=0')
        assert page.evaluate("prorl.charts.get('entropy').plot.cursor.idx") == step - 1


def test_a_click_on_a_chart_opens_the_answers_and_numbers_of_the_step(browser: Any, rich: Path) -> None:  # noqa: F811
    step = resets(STEPS)[0]
    with opened(browser, rich) as page:
        hover(page, "reward", step)
        page.mouse.down()
        page.mouse.up()
        text = page.inner_text("dialog.panel")
        assert text.startswith(f"step {step}")
        assert "reset: reference reset: evaluation/pass@1" in text
        assert f"{rows(rich)[step]['reward/mean']:.4g}" in text
        page.click("dialog.panel button[aria-label=after]")
        assert page.inner_text(".panel h2") == f"step {step + 1}"
        assert "no answers of this step" in page.inner_text("dialog.panel")
        page.keyboard.press("ArrowLeft")
        assert page.inner_text(".panel h2") == f"step {step}"
        assert "no answers of this step" not in page.inner_text("dialog.panel")
    kept = sorted(int(path.stem[5:]) for path in (rich.parent / "samples").glob("*.jsonl"))
    address = f"{rich.as_uri()}#step-{kept[-1]}"
    with opened(browser, address) as page:
        assert "Let me add the numbers" in page.inner_text("dialog.panel")


def test_a_gained_problem_opens_to_coloured_answers_and_verdicts(browser: Any, rich: Path) -> None:  # noqa: F811
    with opened(browser, rich) as page:
        page.click("[data-opens=gained-0]")
        panel = page.locator("dialog.panel")
        assert panel.locator(".badge.good").first.inner_text().startswith("right, reward 1")
        assert panel.locator(".badge.bad").count() == 4  # one of the trained policy, three of the base
        answer = panel.locator("pre.tokens").first
        assert "that is 3 ·" in answer.inner_text()
        assert answer.locator("span").count() > 3
        assert answer.locator("span").first.get_attribute("title").startswith("log-prob -")
        page.keyboard.press("Escape")
        page.click("[data-opens=lost-0]")
        assert "base 2 of 16, trained 0 of 16" in panel.inner_text()
        page.keyboard.press("Escape")
        page.click("[data-opens=compared-1]")
        assert panel.locator("pre.tokens").count() == 6


def test_without_its_tokenizer_answers_have_no_colours_and_the_page_says_so(tmp_path: Path) -> None:
    record_rich_run(tmp_path / "run", 20, answers=2)
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    text = write_report(tmp_path / "run").read_text()
    assert '"kind":"tokens"' not in text
    assert "Tokens have no colours: the tokenizer of model.path cannot be read from here." in text
    assert "right, reward 1" in text


@pytest.mark.parametrize(("width", "theme"), [(400, "dark"), (1400, "light")])
def test_it_fits(browser: Any, rich: Path, width: int, theme: Any) -> None:  # noqa: F811
    with opened(browser, rich, width=width, theme=theme) as page:
        assert overflow(page) <= 0
        page.evaluate("prorl.open('gained-0')")
        assert overflow(page) <= 0


def test_hostile_answers_stay_texts_wherever_they_are(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    record_run(tmp_path / "run", 40)
    row = {"key": HOSTILE, "task": HOSTILE, "prompt": "\u202e" + HOSTILE, "completion": "x" * 100_000, "reward": 0.0}
    (tmp_path / "run" / "samples" / "step_000040.jsonl").write_text(json.dumps(row) + "\n")
    with opened(browser, write_report(tmp_path / "run"), width=400) as page:
        assert overflow(page) <= 0
        page.click("[data-opens=worst-0]")
        assert "<script>alert('x')</script>" in page.inner_text("dialog.panel")
        assert overflow(page) <= 0
        assert (page.locator("img").count(), page.locator("script").count()) == (0, 2)


def test_strange_numbers_draw_without_a_fault(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    lines = [
        '{"step": 1, "reward/mean": 1e300, "sampler/logprob_gap": 0.0, "seconds/rollout": -1.0, "policy/kl": 0.0}',
        '{"step": 2, "reward/mean": -1e300, "sampler/logprob_gap": 1e-300, "policy/entropy": 1e-300, "policy/kl": 0.0}',
        '{"step": 2000000000, "reward/<b>": 1.0, "reward/constructor": 0.5, "seconds/__proto__": 1.0}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with opened(browser, write_report(tmp_path)) as page:
        assert page.locator(".uplot").count() >= 5
        for key in ("Home", "ArrowRight", "+", "-", "0", "Enter"):
            page.locator(".plot").first.press(key)
        assert page.inner_text(".panel h2").startswith("step ")


@pytest.mark.parametrize("width", [400, 1400])
def test_the_answers_behind_an_alarm_are_one_click_away(browser: Any, tmp_path: Path, width: int) -> None:  # noqa: F811
    record_run(tmp_path / "run", 40)
    raise_alarm(tmp_path / "run", 30, "identical", f"the way around {HOSTILE}")
    (tmp_path / "run" / "decisions.jsonl").open("a").write(
        '{"step": 33, "trigger": "disputed", "action": "stop", "text": "no answers of this one"}\n'
        '{"step": 35, "trigger": "identical", "action": "over", "text": "the alarm identical is over"}\n'
    )
    report = write_report(tmp_path / "run")
    with opened(browser, report, width=width) as page:
        assert page.locator(".facts").get_by_text("alarms").count() == 1
        alarm = page.locator("#decisions button", has_text="the alarm identical begins")
        alarm.click()
        panel = page.locator("dialog.panel")
        assert page.inner_text(".panel h2") == "alarm identical, step 30"
        assert panel.get_by_text("the way around").count() == 2
        assert "behind the alarm identical" in panel.inner_text()
        assert "<script>alert('x')</script>" in panel.inner_text()
        assert "honest work" not in panel.inner_text()
        assert overflow(page) <= 0
        panel.get_by_role("button", name="step 30").click()
        assert page.inner_text(".panel h2") == "step 30"
        assert "honest work" in panel.inner_text()
        page.keyboard.press("Escape")
        assert page.locator("#decisions button", has_text="is over").get_attribute("data-opens") is None
        page.locator("#decisions button", has_text="no answers of this one").click()
        assert "no answers behind it" in panel.inner_text()
    with opened(browser, f"{report.as_uri()}#alarm-30-identical", width=width) as page:
        assert "the way around" in page.inner_text("dialog.panel")


def test_a_mark_of_an_alarm_opens_its_answers(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    record_run(tmp_path / "run", 40)
    raise_alarm(tmp_path / "run", 30, "reward_jump", "the way around")
    with opened(browser, write_report(tmp_path / "run")) as page:
        marks = page.evaluate("prorl.charts.get('reward').marks.filter(mark => mark.x === 30).map(mark => mark.opens)")
        assert marks == ["alarm-30-reward_jump"]
