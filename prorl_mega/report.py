"""A run, or an evaluation, on one page that needs no other file and no network.

    python -m prorl_mega.report runs/demo                              curves, decisions, base against trained policy
    python -m prorl_mega.report runs/demo/evaluation/final             scores, curves over k, every problem's rate

writes `report.html` and, of a run, `report.png` with the main curves into the run directory, or `<label>.html` beside
the evaluation. It can be called at any time, also while the run is going on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prorl_mega.errors import DataError, exit_status
from prorl_mega.reporting.charts import all_charts
from prorl_mega.reporting.drawing import write_picture
from prorl_mega.reporting.evaluation_page import evaluation_page
from prorl_mega.reporting.history import read_history
from prorl_mega.reporting.run_page import run_page
from prorl_mega.run.evaluations import load_evaluation
from prorl_mega.run.sample_store import HEADER
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


def write_evaluation_page(evaluation: Path) -> Path:
    """Write the page of an evaluation, given by its folder or its JSON file, beside it; returns the page's path."""
    file = evaluation if evaluation.suffix == ".json" else evaluation.with_name(f"{evaluation.name}.json")
    try:
        content = load_evaluation(file)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: is no evaluation ({error}); `python -m prorl_mega.evaluate` and training write them"
        ) from None
    store = file.with_suffix("")
    run = file.resolve().parent.parent.name
    target = file.with_suffix(".html")
    has_answers = (store / HEADER).is_file()
    write_durably(target, evaluation_page(f"{run} · {file.stem}", content, store if has_answers else None))
    return target


def is_evaluation(path: Path) -> bool:
    """Whether a path names an evaluation and not a run."""
    return path.suffix == ".json" or (path / HEADER).is_file() or path.with_name(f"{path.name}.json").is_file()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.report", description="Write the page of a run or an evaluation."
    )
    parser.add_argument("directory", type=Path, help="runs/demo, or runs/demo/evaluation/final")
    directory = parser.parse_args(arguments).directory
    write = write_evaluation_page if is_evaluation(directory) else write_report
    return exit_status(lambda: print(f"wrote {write(directory)}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
