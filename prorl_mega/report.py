"""A run, or an evaluation, on one page that needs no other file and no network.

    python -m prorl_mega.report runs/demo                              curves, decisions, base against trained policy
    python -m prorl_mega.report runs/demo/evaluation/final             scores, curves over k, every problem's rate
    python -m prorl_mega.report runs/kl--* --output sweep.html         several runs: which setting mattered?
    python -m prorl_mega.report runs/studies/demo                      those of an Optuna study; or of a directory of
                                                                       runs, of multirun/train/<time>, of a submission

writes `report.html` and, of a run, `report.png` with the main curves into the run directory, or `<label>.html` beside
the evaluation. It can be called at any time, also while the run is going on. Several runs are compared by their final
evaluations, setting by setting; their seeds are the noise that a difference has to exceed. A name without a directory
is a run of `--root`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prorl_mega.errors import exit_status
from prorl_mega.evaluation.sources import read_evaluated
from prorl_mega.reporting.charts import all_charts
from prorl_mega.reporting.drawing import write_picture
from prorl_mega.reporting.evaluation_page import evaluation_page
from prorl_mega.reporting.history import read_history
from prorl_mega.reporting.run_page import run_page
from prorl_mega.reporting.run_sets import found_runs
from prorl_mega.reporting.sweep import read_sweep
from prorl_mega.reporting.sweep_page import sweep_page
from prorl_mega.reporting.sweep_text import sweep_lines
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


def write_comparison(directories: list[Path], target: Path) -> list[str]:
    """Write the page of several runs; returns the comparison for a terminal. Raises ConfigError, StorageError."""
    sweep = read_sweep(directories)
    with storage_errors(f"writing {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(target, sweep_page(f"{len(directories)} runs compared", sweep))
    return sweep_lines(sweep)


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
    parser.add_argument("--root", type=Path, default=Path("runs"), help="directory of named runs; default: %(default)s")
    options = parser.parse_args(arguments)
    first = options.paths[0]

    def write() -> None:
        if len(options.paths) == 1 and is_evaluation(first):
            print(f"wrote {write_evaluation_page(first)}")
            return
        runs = found_runs(options.paths, options.root)
        if len(options.paths) == 1 and runs[0].resolve() in (first.resolve(), (options.root / first).resolve()):
            print(f"wrote {write_report(runs[0])}")
            return
        target = options.output or runs[0].parent / "comparison.html"
        print("\n".join(write_comparison(runs, target)))
        print(f"wrote {target}")

    return exit_status(write)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
