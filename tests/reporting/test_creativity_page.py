"""The page on the Creativity Index in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import corpora
from helpers.stores import sample, write_store

from prorl_mega.evaluation.creativity.comparison import ScoredEvaluation, compare_creativity
from prorl_mega.evaluation.creativity.excerpt import excerpts
from prorl_mega.evaluation.creativity.score import score_store
from prorl_mega.reporting.creativity_page import creativity_page
from prorl_mega.run.sample_store import SampleStore, StoredProblem, StoredVerdict

COPIED = "a b c <b>d</b> e f"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium: `apt-get install chromium` runs this test")
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: `pip install playwright`")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


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
    groups = compare_creativity([scored])
    html = creativity_page(
        groups, excerpts(scored, store, index, keep_prompt=False), index.manifest, ["A <i>remark</i>"]
    )
    (tmp_path / "creativity.html").write_text(html, encoding="utf-8")
    return tmp_path / "creativity.html"


@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 400)])
def test_a_click_on_a_run_shows_where_the_corpus_has_it(browser: Any, page_path: Path, theme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(page_path.as_uri())
    assert page.title() == "Creativity Index"
    assert page.locator("article pre mark").all_inner_texts() == [COPIED]
    assert page.locator("article pre q").all_inner_texts() == ["q1 q2 q3 q4 q5"]
    assert not page.locator(".source").first.is_visible()
    page.locator("article pre mark").click()
    assert page.locator(".source").inner_text().split("\n")[:2] == ["13 words, 1 time in the corpus", "0.txt, line 2"]
    assert page.locator("article pre mark.on").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(246, 247, 249)" if theme == "light" else "rgb(16, 19, 23)"
    )
    assert not said
    context.close()
