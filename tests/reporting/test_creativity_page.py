"""The page on the Creativity Index in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from helpers import corpora
from helpers.browser import browser, opened, overflow  # noqa: F401
from helpers.stores import sample, write_store

from prorl_mega.evaluation.creativity.comparison import ScoredEvaluation, compare_creativity
from prorl_mega.evaluation.creativity.excerpt import excerpts
from prorl_mega.evaluation.creativity.score import score_store
from prorl_mega.reporting.creativity_page import creativity_page
from prorl_mega.run.sample_store import SampleStore, StoredProblem, StoredVerdict

COPIED = "a b c <b>d</b> e f"


@pytest.fixture
def page_path(tmp_path: Path) -> Path:
    index = corpora.build(tmp_path / "index", [["first line", f"before {COPIED} after"]])
    folder = write_store(
        tmp_path / "x",
        [StoredProblem(key="p", task="<task>", prompt="q1 q2 q3 q4 q5")],
        [sample(0, 0, f"q1 q2 q3 q4 q5 n1 n2 {COPIED} <script>document.title = 1</script> n3 n4")],
        [StoredVerdict(problem=0, sample=0, reward=1.0)],
    )
    store = SampleStore(folder)
    scored = ScoredEvaluation("x", store, [each for part in score_store(store, index, label="x") for each in part])
    shown = excerpts(scored, store, index, keep_prompt=False)
    html = creativity_page(compare_creativity([scored]), [scored], shown, index.manifest, ["A <i>remark</i>"])
    (tmp_path / "creativity.html").write_text(html, encoding="utf-8")
    return tmp_path / "creativity.html"


@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 400)])
def test_a_run_opens_the_places_where_the_corpus_has_it(
    browser: Any,  # noqa: F811
    page_path: Path,
    theme: Literal["light", "dark"],
    width: int,
) -> None:
    with opened(browser, page_path, theme=theme, width=width) as page:
        assert page.title() == "Creativity Index"
        assert overflow(page) == 0
        assert page.locator("article mark").all_inner_texts() == [COPIED]
        assert page.locator("article q").all_inner_texts() == ["q1 q2 q3 q4 q5"]
        assert page.locator("h1 i, section i, article b, article script").count() == 0
        page.locator("article mark").focus()
        page.keyboard.press("Enter")
        panel = page.locator("dialog.panel").inner_text()
        assert "13 words, 1 time in the corpus" in panel
        assert "0.txt, line 2" in panel
        assert "… first line before" in panel
        assert page.evaluate("prorl.charts.size") == 2
