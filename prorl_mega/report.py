"""A run, or an evaluation, on one page that needs no other file and no network.

    python -m prorl_mega.report runs/demo                              curves, decisions, base against trained policy
    python -m prorl_mega.report runs/demo/evaluation/final             scores, curves over k, every problem's rate
    python -m prorl_mega.report runs/kl--* --output sweep.html         several runs, the first one as the reference

writes `report.html` and, of a run, `report.png` with the main curves into the run directory, or `<label>.html` beside
the evaluation. It can be called at any time, also while the run is going on. Of several runs, those that differ in
their seeds alone (`x--seed_1`, `x--seed_2`) are one line with the range of its seeds.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from prorl_mega.errors import exit_status
from prorl_mega.evaluation.sources import read_evaluated
from prorl_mega.reporting.arms import Arm, compare_arms, read_finished_run
from prorl_mega.reporting.charts import all_charts
from prorl_mega.reporting.curves import read_curves
from prorl_mega.reporting.drawing import write_picture
from prorl_mega.reporting.evaluation_page import evaluation_page
from prorl_mega.reporting.history import read_history
from prorl_mega.reporting.run_page import run_page
from prorl_mega.reporting.study_page import study_page
from prorl_mega.run.sample_store import HEADER
from prorl_mega.run.storage import storage_errors, write_durably


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
    target = file.with_suffix(".html")
    run = file.resolve().parent.parent.name
    write_durably(target, evaluation_page(f"{run} · {file.stem}", read_evaluated(file)))
    return target


def write_comparison(directories: list[Path], target: Path) -> Path:
    """Write the page of several runs, of which those of one name but for the seed are an arm; returns its path."""
    runs: dict[str, list[Path]] = {}
    for directory in directories:
        read_history(directory)  # raises ConfigError for what is no run
        runs.setdefault(re.sub(r"--seed_\d+|_seed\d+", "", directory.resolve().name), []).append(directory)
    arms = {title: Arm(title=title) for title in runs}
    outcomes = {
        title: [found for each in paths if (found := read_finished_run(each)) is not None]
        for title, paths in runs.items()
    }
    reference = next(iter(runs))
    finished = {title: found for title, found in outcomes.items() if found}
    results = compare_arms(arms, finished, reference)
    with storage_errors(f"writing {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(target, study_page(target.stem, results, reference, read_curves(runs), "Comparison"))
    return target


def is_evaluation(path: Path) -> bool:
    """Whether a path names an evaluation and not a run."""
    return path.suffix == ".json" or (path / HEADER).is_file() or path.with_name(f"{path.name}.json").is_file()


def main(arguments: list[str]) -> int:
    about, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.report",
        description=about,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="run, several runs, or an evaluation")
    parser.add_argument("--output", type=Path, help="page of several runs (default: comparison.html beside the first)")
    options = parser.parse_args(arguments)
    first = options.paths[0]

    def write() -> None:
        if len(options.paths) > 1:
            page = write_comparison(options.paths, options.output or first.parent / "comparison.html")
        else:
            page = write_evaluation_page(first) if is_evaluation(first) else write_report(first)
        print(f"wrote {page}")

    return exit_status(write)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
