"""A run on one page: curves, decisions, base against trained policy, answers, settings.

    python -m prorl_mega.report runs/demo

writes `report.html`, which needs no other file and no network, and `report.png` with the main curves, into the run
directory. It can be called at any time, also while the run is going on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prorl_mega.errors import exit_status
from prorl_mega.reporting.charts import all_charts
from prorl_mega.reporting.drawing import write_picture
from prorl_mega.reporting.history import read_history
from prorl_mega.reporting.run_page import run_page
from prorl_mega.run.storage import write_durably


def write_report(directory: Path) -> Path:
    """Write the page and the picture of a run directory; returns the page's path.

    Raises ConfigError when the directory is not a run, StorageError when it cannot be written.
    """
    history = read_history(directory)
    charts = all_charts(history)
    target = directory / "report.html"
    write_durably(target, run_page(history, charts))
    write_picture(charts, directory / "report.png")
    return target


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m prorl_mega.report", description="Write report.html of a run.")
    parser.add_argument("directory", type=Path, help="run directory, for example runs/demo")
    directory = parser.parse_args(arguments).directory
    return exit_status(lambda: print(f"wrote {write_report(directory)}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
