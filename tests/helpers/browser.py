"""A real browser for pages: headless Chromium of the system, driven by Playwright.

    def test_it(browser):
        with opened(browser, path, width=400, theme="dark") as page:
            page.hover(...)

Put `from helpers.browser import browser` into the test file, with `# noqa: F401`. Without a Chromium the tests are
skipped, with a line that says what to install.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser that is closed after the file's tests."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium: `apt-get install chromium` (or a chrome in PATH) runs the tests of the pages")
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: `pip install playwright`")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@contextmanager
def opened(
    browser: Any,
    address: Path | str,
    *,
    width: int = 1400,
    height: int = 900,
    theme: Literal["light", "dark"] = "light",
    touch: bool = False,
) -> Iterator[Any]:
    """A page of Playwright when its charts are drawn. At the end: nothing on the console, no request to elsewhere."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, has_touch=touch, reduced_motion="reduce"
    )
    context.set_default_timeout(10_000)
    page = context.new_page()
    problems: list[str] = []

    def asked_a_person(dialog: Any) -> None:
        problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", asked_a_person)
    url = address.resolve().as_uri() if isinstance(address, Path) else address
    origin = url if isinstance(address, Path) else "/".join(url.split("/")[:3])

    def asked(request: Any) -> None:
        if not request.url.startswith((origin, "data:", "blob:")):
            problems.append(f"asks for {request.url}")

    page.on("request", asked)
    try:
        page.goto(url)
        page.wait_for_selector("html[data-ready]", state="attached", timeout=20_000)
        yield page
        assert not problems, problems
    finally:
        context.close()


def overflow(page: Any) -> int:
    """Pixels that the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def hover(page: Any, chart: str, x: float) -> dict[str, str]:
    """Move the pointer to an x of a chart; the values in its tip by label, and its first line as ""."""
    place = page.locator(f'[data-chart="{chart}"] .u-over')
    place.scroll_into_view_if_needed()
    left = page.evaluate("([name, x]) => prorl.charts.get(name).plot.valToPos(x, 'x')", [chart, x])
    box = place.bounding_box()
    page.mouse.move(
        min(round(box["x"] + left), math.ceil(box["x"] + box["width"]) - 1), box["y"] + box["height"] / 2
    )  # the browser rounds down
    page.wait_for_timeout(60)
    tip = page.locator(f'[data-chart="{chart}"] .tip')
    rows = tip.locator(".row")
    found = {"": tip.locator("> b").first.inner_text()}
    for row in rows.all():
        label, value = row.locator("span:not(.swatch)").first, row.locator("b")
        name = label.evaluate("each => each.firstChild.textContent")
        found[name] = value.inner_text()
    return found
