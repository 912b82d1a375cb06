"""Pictures of a page for documents: a desk in light, a phone in dark. `python benchmarks/page_pictures.py PAGE FOLDER`.

Without PAGE it is that of a made-up run. The pointer stands at a reset, if the run has one.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the made-up run is one of the tests'

from helpers.rich_run import record_rich_run

from prorl_mega.report import write_report

VIEWS = (("report-light", 1400, 1060, "light"), ("report-dark", 400, 860, "dark"))
POINT = """chart => {
  const mark = prorl.data.marks.step.filter(each => each.kind === 'reset')[1] ?? { x: 1 };
  for (const each of prorl.groups.get('step').charts) {
    each.isHovered = each === prorl.charts.get(chart);
    each.point(mark.x);
  }
}"""


def main(arguments: list[str]) -> None:
    folder = Path(arguments[-1])
    with tempfile.TemporaryDirectory() as directory:
        if len(arguments) == 1:
            record_rich_run(Path(directory) / "example", 600)
        page = Path(arguments[0]) if len(arguments) > 1 else write_report(Path(directory) / "example")
        from playwright.sync_api import sync_playwright

        with sync_playwright() as driver:
            program = shutil.which("chromium") or shutil.which("google-chrome")
            browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            for name, width, height, theme in VIEWS:
                take(browser, page, folder / f"{name}.png", width, height, theme)
            browser.close()


def take(browser: Any, page: Path, target: Path, width: int, height: int, theme: str) -> None:
    opened = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    opened.goto(page.resolve().as_uri())
    opened.wait_for_selector("html[data-ready]", state="attached")
    opened.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    opened.evaluate("document.querySelector('#training h2').scrollIntoView()")
    opened.evaluate(POINT, "pass-rates")
    opened.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    opened.screenshot(path=str(target))
    opened.close()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1:])
