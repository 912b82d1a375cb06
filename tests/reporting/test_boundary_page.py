"""The page of a boundary in a real browser: its numbers, what opens from where, and texts that want to be more."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import browser, hover, opened, overflow  # noqa: F401
from helpers.planted import OTHER_FORM, RIGHT, WRONG, Answer, many, plant
from tokenizers import Tokenizer

from prorl_mega.boundary import main
from prorl_mega.evaluation.pass_at_k import pass_at_k

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny_qwen2"
HOSTILE = "</script><img src=x onerror=alert(1)> \u202e {{ 7 * 7 }} <b>bold</b>"


def spelt(answer: Answer) -> Answer:
    """The answer with the tokens of its text, as far as the vocabulary goes; the third one was unlikely."""
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    known = "".join(each for each in answer.text if tokenizer.token_to_id(each) is not None)
    ids = tokenizer.encode(known, add_special_tokens=False).ids
    logprobs = [-6.0 if place == 2 else -0.01 for place in range(len(ids))]
    return replace(answer, tokens=tuple(ids), logprobs=tuple(logprobs), length=len(ids))


def tasks(*solved: tuple[str, list[int]], right: Answer = RIGHT) -> dict[str, list[list[Answer]]]:
    return {task: [many(each, spelt(right), spelt(WRONG)) for each in of_task] for task, of_task in solved}


def written(directory: Path, hostile: str = "", *, tokenizer: bool = True, **config: Any) -> Path:
    """base → final on six tasks; the base answers the first one in another form."""
    before = tasks(
        ("chess" + hostile, [0, 0, 0]), ("sums", [0, 4, 32]), ("maze", [8, 0, 1]), ("easy", [32, 32, 32]),
        ("hard", [0, 0, 0]), ("words", [2, 3, 4]),
    )  # fmt: skip
    before["chess" + hostile][1] = [spelt(OTHER_FORM)] * 32
    after = tasks(
        ("chess" + hostile, [30, 20, 0]), ("sums", [16, 20, 32]), ("maze", [32, 2, 0]), ("easy", [32, 32, 32]),
        ("hard", [0, 0, 0]), ("words", [8, 3, 6]),
        right=replace(RIGHT, text=RIGHT.text + hostile, answer="42" + hostile),
    )  # fmt: skip
    base, final = plant(directory, "base", before), plant(directory, "final", after)
    said = ["--tokenizer", str(TINY)] if tokenizer else []
    assert main([str(base), str(final), "--k", "16", "--output", str(directory / "out"), *said]) == 0
    return directory / "out" / "boundary.html"


def test_curves_and_dots_have_their_numbers(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    path = written(tmp_path)
    tasks_ = json.loads((path.parent / "boundary.json").read_text())["tasks"]
    with opened(browser, path) as page:
        names = [each["task"] for each in tasks_]
        tip = hover(page, f"curve-{names.index('sums')}", 16)
        assert tip[""] == "k = 16"
        expected = sum(pass_at_k(32, c, 16) for c in (0, 4, 32)) / 3
        assert float(tip["base"]) == pytest.approx(expected, rel=1e-3)
        cover = hover(page, "cover-0", 0.5)
        assert float(cover["base"]) == pytest.approx(4 / 18, rel=1e-3)  # the 8 of 32 are not half
        words = page.inner_text("#tasks")
        assert "at the ceiling" in words
        assert "at the floor" in words
        gain = tasks_[names.index("words")]["gain"]["mean"]
        assert f"{gain:+.3f}" in page.inner_text("#tasks tr:has-text('words')")


def test_a_dot_opens_its_task_and_a_problem_its_answers(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    with opened(browser, written(tmp_path)) as page:
        base = sum(pass_at_k(32, c, 16) for c in (2, 3, 4)) / 3
        gain = sum(pass_at_k(32, c, 16) for c in (8, 3, 6)) / 3 - base
        page.locator('[data-chart="gain"]').scroll_into_view_if_needed()
        x, y = page.evaluate(
            "([x, y]) => { const u = prorl.charts.get('gain').plot; return [u.valToPos(x, 'x'), u.valToPos(y, 'y')] }",
            [base, gain],
        )
        page.locator('[data-chart="gain"] .u-over').click(position={"x": x, "y": y})
        assert page.inner_text(".panel h2") == "words"
        assert f"gain {gain:+.3f}" in page.inner_text(".panel .inside")
        page.keyboard.press("Escape")
        page.click("#gained button:has-text('chess/1')")
        panel = page.locator(".panel .inside")
        assert "base never solved it in 32 samples" in panel.inner_text()
        verdicts = [each.inner_text() for each in panel.locator(".badge").all()]
        assert verdicts == [
            f"{model}, sample {sample}: {length} tokens" if is_label else verdict
            for model, sample, answer, verdict in (
                ("final", 0, RIGHT, "right"), ("final", 1, RIGHT, "right"), ("final", 20, WRONG, "wrong"),
                ("final", 21, WRONG, "wrong"), ("base", 0, OTHER_FORM, "right in another form"),
                ("base", 1, OTHER_FORM, "right in another form"),
            )
            for length in [spelt(answer).length]
            for is_label in (True, False)
        ]  # fmt: skip
        assert panel.locator("pre.tokens").first.inner_text() == RIGHT.text
        coloured = panel.locator("pre.tokens").first.locator("span").all()
        assert [each.get_attribute("title") for each in coloured] == ["log-prob -6.00, p 0.002"]
        before = "each => { let n = 0; while ((each = each.previousSibling)) n += each.textContent.length; return n }"
        assert coloured[0].evaluate(before) == 2
        page.click('.panel [aria-label="after"]')
        assert page.inner_text(".panel h2") != "chess/1"


def test_explanations_and_lists(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    with opened(browser, written(tmp_path)) as page:
        named = [
            each.locator("h3").inner_text()
            for each in page.locator("#rivals .rival").all()
            if each.locator(".badge").inner_text() == "named"
        ]
        assert named == ["format"]
        assert "chess: gain of pass@16 +0.667 as scored, +0.333 in any form" in page.inner_text("#rivals")
        assert page.locator("#gained tr").count() == 1 + 4
        assert page.locator("#lost tr").count() == 1 + 1
        assert page.inner_text("#lost td button") == "maze/2"
        page.click("#lost td button")
        assert "final never solved it" in page.inner_text(".panel .inside")


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stay_texts_and_fit(browser: Any, tmp_path: Path, width: int, theme: Any) -> None:  # noqa: F811
    """`opened` fails on any script, dialog, request and error of the page."""
    with opened(browser, written(tmp_path, HOSTILE), width=width, theme=theme) as page:
        assert overflow(page) <= 0
        assert page.locator("img").count() == 0
        page.click("#gained td button >> nth=0")
        shown = page.inner_text(".panel .inside")
        assert "<img src=x onerror=alert(1)>" in shown
        assert "{{ 7 * 7 }}" in shown
        assert page.locator(".panel img, .panel b").count() == 0
        assert overflow(page) <= 0


def test_without_a_tokenizer_or_answers_there_is_less(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    path = written(tmp_path, tokenizer=False)
    with opened(browser, path) as page:
        page.click("#gained button >> nth=0")
        assert page.locator(".panel pre.tokens").count() == 0
        assert RIGHT.text in page.inner_text(".panel .inside")
    for label in ("base", "final"):
        shutil.rmtree(tmp_path / "evaluation" / label)
    assert main([*(str(tmp_path / "evaluation" / f"{label}.json") for label in ("base", "final")),
                 "--output", str(path.parent)]) == 0  # fmt: skip
    with opened(browser, path) as page:
        page.click("#gained button >> nth=0")
        assert "No answers are kept here" in page.inner_text(".panel .inside")
        assert "Answers were not kept of base, final" in page.inner_text("main")


def test_a_table_has_curves_and_no_problems(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    rows = [
        f"{task},{model},{k},{value}"
        for task, base in (("a", 0.2), ("b", 0.5))
        for model, more in (("base", 0.0), ("rl", 0.2))
        for k, value in ((1, base / 2), (16, base + more))
    ]
    (tmp_path / "table.csv").write_text("\n".join(["task,model,k,pass", *rows]) + "\n")
    assert main([str(tmp_path / "table.csv"), "--k", "16", "--output", str(tmp_path)]) == 0
    with opened(browser, tmp_path / "boundary.html") as page:
        assert float(hover(page, "curve-1", 15)["rl"]) == pytest.approx(0.7)
        assert page.locator("#gained").count() == 0
        assert "Nothing can be fitted" in page.inner_text("#gain")
