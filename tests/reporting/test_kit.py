"""Pages of the kit in a real browser: they show the numbers they were given, and whatever a text says, run nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.browser import browser, hover, opened, overflow  # noqa: F401

from prorl_mega.reporting import kit
from prorl_mega.reporting.charts import moving_average
from prorl_mega.reporting.descriptions import MOST_POINTS, Dot, LineChart, Mark, ScatterChart, Series

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\u202egnp.exe",
    "\u2028\u2029\x00\x1b[31m",
    "\ud800",
    "x" * 100_000,
]
STEPS = np.arange(1, 61)
VALUES = np.sin(STEPS / 9) + np.where(STEPS == 30, np.nan, 0)


def charts(hostile: str = "") -> dict[str, Any]:
    marks = [Mark(x=20, text=f"reset: it had to be{hostile}"), Mark(x=41, text="less", kind="minor", opens="less")]
    return {
        "a": LineChart(
            title=f"Reward{hostile}", about=f"Mean{hostile}", unit="reward", x=STEPS, marks=marks, names_resets=True,
            series=[
                Series(label=f"mean{hostile}", values=VALUES),
                Series(label="few", values=np.where(STEPS % 10 == 0, STEPS / 60, np.nan), exact=True,
                       low=STEPS / 70, high=STEPS / 50),
            ],
        ).plain(),
        "b": LineChart(
            title="Time", about="Phases", unit="s", x=STEPS, stacked=True,
            series=[Series(label=name, values=STEPS * 0 + each) for name, each in (("roll", 3.0), ("update", 1.0))],
        ).plain(),
        "c": LineChart(
            title="Gap", about="Log", x=STEPS, logarithmic=True,
            series=[Series(label="gap", values=10.0 ** -(STEPS % 5), exact=True)],
        ).plain(),
        "d": ScatterChart(
            title="Gain", about="By task", x_label="base", y_label="gain",
            groups={f"math{hostile}": [Dot(x=i / 10, y=1 - i / 10, label=f"task {i}{hostile}", opens=f"t{i}",
                                           low=0.8 - i / 10, high=1.1 - i / 10) for i in range(8)]},
            lines={"fit": [(0, 1), (1, 0)]},
        ).plain(),
    }  # fmt: skip


TEMPLATE = """{% import "kit.html.jinja" as kit %}<main><h1>Page {{ hostile }}</h1>{{ kit.bar(sections) }}
<section id="charts"><h2>Charts</h2><div class="grid">{% for name in "abcd" %}{{ kit.chart(name) }}{% endfor %}</div>
</section><div class="list"><button data-jump="step:41">jump</button></div>{{ kit.opens("less", "o") }}</main>"""


def written(directory: Path, hostile: str = "") -> Path:
    body = kit.environment().from_string(TEMPLATE).render(hostile=hostile, sections={"charts": f"Charts{hostile}"})
    answer = kit.pre(f"{hostile} answer", "trained", "right", "good")
    coloured = kit.tokens(["ab", "c\u00e9", "\U0001f600!"], [-0.01, -2.0, -6.0])
    panels = {
        "less": kit.panel(f"Less{hostile}", [kit.text(f"why{hostile}"), answer]),
        "t3": kit.panel("Task 3", [coloured, kit.opens("less", "see")]),
    }
    path = directory / "page.html"
    path.write_text(kit.page("Kit", body, {"charts": charts(hostile), "panels": panels, "opens": {"step": "step-"}}))
    return path


def test_hover_shows_the_numbers_and_all_charts_follow(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    with opened(browser, written(tmp_path)) as page:
        tip = hover(page, "a", 17)
        assert tip[""] == "step 17"
        assert float(tip["mean"]) == pytest.approx(math.sin(17 / 9), rel=1e-3)
        assert float(tip["few"]) == pytest.approx(20 / 60, rel=1e-3)  # the nearest that was measured
        colours = "[...document.querySelectorAll('[data-chart=a] .u-cursor-pt')].map(each => each.style.background)"
        assert page.evaluate(colours)[3].startswith("rgb(37, 99, 235)"), "a point on the line under the pointer"
        assert "reset: it had to be" in (hover(page, "a", 20), page.inner_text('[data-chart="a"] .tip'))[1]
        assert page.inner_text('[data-chart="c"] .legend b') == "1"
        assert float(hover(page, "b", 9)["roll"]) == 3.0
        page.mouse.move(1, 1)


def test_drag_zooms_every_chart_and_a_double_click_takes_it_back(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    with opened(browser, written(tmp_path)) as page:
        box = page.locator('[data-chart="a"] .u-over').bounding_box()
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] * 0.25, y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, y, steps=4)
        page.mouse.up()
        scale = "name => { const {min, max} = prorl.charts.get(name).plot.scales.x; return [min, max] }"
        for name in "abc":
            assert page.evaluate(scale, name) == pytest.approx([1 + 59 / 4, 1 + 59 / 2], abs=0.5)
        assert not page.is_visible("dialog.panel[open]"), "a drag is no click"
        page.mouse.dblclick(box["x"] + box["width"] * 0.8, y)
        assert page.evaluate(scale, "c") == [1, 60]


def test_a_click_opens_and_the_keyboard_does_as_well(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    with opened(browser, written(tmp_path)) as page:
        dot = page.evaluate(
            "(() => { const u = prorl.charts.get('d').plot; return [u.valToPos(.3, 'x'), u.valToPos(.7, 'y')] })()"
        )
        page.locator('[data-chart="d"] .u-over').click(position={"x": dot[0], "y": dot[1]})
        assert page.inner_text(".panel h2") == "Task 3"
        assert page.inner_text(".panel pre") == "abc\u00e9\U0001f600!"
        assert [each.inner_text() for each in page.locator(".tokens span").all()] == ["c\u00e9", "\U0001f600!"]
        page.click(".panel .inside button")
        assert page.inner_text(".panel h2") == "Less"
        page.keyboard.press("Escape")
        assert not page.is_visible("dialog.panel")
        page.focus('[data-chart="a"] .plot')
        for key in ("Home", "ArrowRight", "ArrowRight", "Enter"):
            page.keyboard.press(key)
        assert page.inner_text(".panel h2") == "step 3"
        assert f"{math.sin(3 / 9):.4g}" in page.inner_text(".panel table")
        page.click("[data-jump]")
        assert page.inner_text('[data-chart="c"] .legend b') == "0.1"


def test_the_legend_hides_and_the_slider_smooths(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    with opened(browser, written(tmp_path)) as page:
        page.click('[data-chart="a"] .legend button >> nth=0')
        assert page.get_attribute('[data-chart="a"] .legend button >> nth=0', "aria-pressed") == "false"
        assert "mean" not in hover(page, "a", 10)
        assert page.evaluate("prorl.charts.get('a').plot.series[4].show") is False
        page.click('[data-chart="a"] .legend button >> nth=0')
        line = "prorl.charts.get('a').plot.data[4]"
        assert page.inner_text("[data-tools] output") == "5 points"
        assert page.evaluate(line) == pytest.approx(moving_average(VALUES, 5).tolist(), rel=1e-3, abs=1e-5)
        page.focus("[data-tools] input")
        page.keyboard.press("Home")
        assert page.evaluate(line)[:3] == pytest.approx(VALUES[:3].tolist(), rel=1e-4)
        assert page.inner_text("[data-tools] output") == "off"


def test_a_chart_that_gets_other_numbers_keeps_its_zoom_and_what_is_hidden(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    longer = LineChart(
        title="Reward", about="Mean", x=[*STEPS, 61, 62],
        series=[Series(label="mean", values=[*VALUES, 8.0, 9.0]), Series(label="few", values=[math.nan] * 61 + [7.0])],
    ).plain()  # fmt: skip
    with opened(browser, written(tmp_path)) as page:
        page.click('[data-chart="a"] .legend button >> nth=1')
        page.focus('[data-chart="a"] .plot')
        for key in ("Home", "+"):
            page.keyboard.press(key)
        before = page.evaluate("[...prorl.groups.get('step').zoomed]")
        page.evaluate("chart => prorl.update('a', chart)", longer)
        scale = page.evaluate("(() => { const {min, max} = prorl.charts.get('a').plot.scales.x; return [min, max] })()")
        assert scale == before
        page.keyboard.press("0")
        tip = hover(page, "a", 62)
        assert (tip[""], tip["mean"]) == ("step 62", "9")
        assert "few" not in tip


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_and_has_the_wanted_colours(browser: Any, tmp_path: Path, width: int, theme: Any) -> None:  # noqa: F811
    with opened(browser, written(tmp_path), width=width, theme=theme) as page:
        assert overflow(page) <= 0
        brightness = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)[0]"
        assert (page.evaluate(brightness) > 128) == (theme == "light")
        page.click("[data-tools] button:last-child")
        assert (page.evaluate(brightness) > 128) == (theme == "dark")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_texts(browser: Any, tmp_path: Path, text: str) -> None:  # noqa: F811
    path = written(tmp_path, text)
    assert "\u202e" not in path.read_text()
    with opened(browser, path, width=400) as page:
        assert overflow(page) <= 0
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 2
        page.click(".button[data-opens=less]")
        assert page.locator(".panel .inside > *").count() == 2
        assert overflow(page) <= 0
        page.keyboard.press("Escape")
        assert hover(page, "a", 20)[""] == "step 20"


@pytest.mark.parametrize("wanted", ["constructor", "__proto__", "%", "%3Cscript%3E", "step-", "step-99999", "nowhere"])
def test_an_address_that_leads_nowhere_opens_nothing(browser: Any, tmp_path: Path, wanted: str) -> None:  # noqa: F811
    with opened(browser, f"{written(tmp_path).as_uri()}#{wanted}") as page:
        assert not page.is_visible("dialog.panel")
        page.evaluate("location.hash = '#t3'")
        assert page.inner_text(".panel h2") == "Task 3"


def test_many_points_become_buckets_that_keep_spikes() -> None:
    count = 5 * MOST_POINTS
    values = np.zeros(count)
    values[777] = 5.0
    plain = LineChart(title="t", about="", x=np.arange(1, count + 1), series=[Series(label="a", values=values)]).plain()
    (series,) = plain["series"]
    assert len(series["values"]) == len(plain["x"]["values"]) == MOST_POINTS
    assert (plain["x"]["first"][155], plain["x"]["values"][155]) == (776, 780)
    assert (series["least"][155], series["values"][155], series["most"][155]) == (0, 1, 5)


def test_what_is_embedded_is_the_same_json() -> None:
    value = {"<b>": ["</script>", "a\u2028b&", 1.5, None, True], "é": {"x": "\U0001f600"}}
    text = kit.embedded(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_a_tap_shows_and_a_second_one_opens(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    with opened(browser, written(tmp_path), width=400, touch=True) as page:
        place = page.locator('[data-chart="a"] .u-over')
        place.scroll_into_view_if_needed()
        box = place.bounding_box()
        where = (box["x"] + box["width"] / 2, box["y"] + 40)
        page.touchscreen.tap(*where)
        assert "tap again to open" in page.inner_text('[data-chart="a"] .tip')
        assert not page.is_visible("dialog.panel")
        page.wait_for_timeout(500)  # two taps, not a double tap
        page.touchscreen.tap(*where)
        assert page.inner_text(".panel h2").startswith("step 3")
