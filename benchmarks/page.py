"""The page of a run of 5,000 steps: its size, the time to write it and, in a browser, the time until it can be used.

    python benchmarks/page.py [steps]

Needs Chromium and Playwright. "Usable" is when all charts are drawn and the page answers, counted from the start of
the navigation; "hover" is from a move of the pointer to the values in the tip, "click" from a click on a point to its
panel.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the made-up run is one of the tests'

from helpers.rich_run import record_rich_run

from prorl_mega.report import write_report

STEPS, STEPS_WITH_ANSWERS, ROUNDS = 5000, 50, 5  # four answers each


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        record_rich_run(run, steps, answers=STEPS_WITH_ANSWERS)
        write_report(run)  # imports and fonts
        started = time.monotonic()
        page = write_report(run)
        print(f"{steps} steps, {4 * STEPS_WITH_ANSWERS} answers: {page.stat().st_size / 1e6:.2f} MB", end=", ")
        print(f"written with its picture in {time.monotonic() - started:.1f} s")
        measure(page)


def measure(page: Path) -> None:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        rounds = [_open(browser, page) for _ in range(ROUNDS)]
        browser.close()
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        print(
            f"{name:8} {statistics.median(values):6.0f} ms (median of {ROUNDS}; {min(values):.0f} … {max(values):.0f})"
        )


def _open(browser: Any, path: Path) -> dict[str, float]:
    """Milliseconds by name."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    usable = page.evaluate("performance.now()")
    program = page.evaluate("Number(document.documentElement.dataset.ready)")
    box = page.locator("[data-chart=reward] .u-over")
    box.scroll_into_view_if_needed()
    place = box.bounding_box()
    started = time.monotonic()
    page.mouse.move(place["x"] + 100, place["y"] + 50)
    page.wait_for_selector("[data-chart=reward] .tip", state="visible")
    hovered = time.monotonic()
    page.mouse.click(place["x"] + 100, place["y"] + 50)
    page.wait_for_selector("dialog.panel[open]")
    clicked = time.monotonic()
    page.close()
    return {
        "program": program,
        "usable": usable,
        "hover": 1e3 * (hovered - started),
        "click": 1e3 * (clicked - hovered),
    }


if __name__ == "__main__":
    main()
