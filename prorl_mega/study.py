"""Several runs that differ in one thing each, over seeds, and the effects of the differences.

    python -m prorl_mega.study examples/ablation.yaml --output runs/study --jobs 2

Every arm of the study is a training run per seed, started as a program of its own with one thread. A finished run is
not repeated and an interrupted one is resumed, so the same command continues a study. At the end (and with --report at
any time) it writes `study.html`, a page to open, `study.md`, its table with confidence intervals, and `study.png`, its
curves.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prorl_mega.documents import read_yaml
from prorl_mega.errors import ConfigError, ExitCode, ProRLError, exit_status
from prorl_mega.reporting.arms import Arm, FinishedRun, compare_arms, read_finished_run, table
from prorl_mega.reporting.curves import read_curves, write_curves
from prorl_mega.reporting.study_page import study_page
from prorl_mega.run.console import duration
from prorl_mega.run.programs import Programs
from prorl_mega.run.storage import write_durably

_KEYS = {"common", "seeds", "reference", "arms"}


@dataclass(kw_only=True, slots=True, frozen=True)
class Study:
    """The content of a study file. `arms` by name; every override is one of `prorl_mega.train`."""

    common: list[str]
    seeds: list[int]
    reference: str
    arms: dict[str, Arm] = field(default_factory=dict)

    def runs(self) -> list[tuple[str, int]]:
        """(arm, seed), seed by seed, so that an unfinished study has whole rows first."""
        return [(arm, seed) for seed in self.seeds for arm in self.arms]


def read_study(path: Path) -> Study:
    """The study in a file. Raises ConfigError that names the file and the key."""
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict) or set(content) != _KEYS:
        raise ConfigError(f"{path}: must have the keys {', '.join(sorted(_KEYS))}")
    arms = content["arms"]
    if not isinstance(arms, dict) or content["reference"] not in arms:
        raise ConfigError(f"{path}: reference={content['reference']!r} is not one of the arms")
    seeds = content["seeds"]
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise ConfigError(f"{path}: seeds must be a list of whole numbers")
    return Study(
        common=_strings(path, "common", content["common"]),
        seeds=seeds,
        reference=content["reference"],
        arms={name: _read_arm(path, name, arm) for name, arm in arms.items()},
    )


def _read_arm(path: Path, name: str, arm: Any) -> Arm:
    if not isinstance(arm, dict) or not {"title"} <= set(arm) <= {"title", "overrides"}:
        raise ConfigError(f"{path}: arms.{name} must have a title and may have overrides, nothing else")
    overrides = _strings(path, f"arms.{name}.overrides", arm.get("overrides", []))
    return Arm(title=str(arm["title"]), overrides=overrides)


def _strings(path: Path, key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigError(f"{path}: {key} must be a list of overrides such as recipe.kl.coef=0")
    return value


def run_name(arm: str, seed: int) -> str:
    return f"{arm}_seed{seed}"


def run_study(study: Study, output: Path, jobs: int) -> None:
    """Train everything that has not finished, `jobs` runs at a time.

    Raises ProRLError when runs have failed, and StoppedError after a signal.
    """
    waiting = [each for each in study.runs() if read_finished_run(output / run_name(*each)) is None]
    total, started = len(study.runs()), time.monotonic()
    print(f"{total} runs, {total - len(waiting)} finished before", flush=True)
    failed: list[str] = []

    def train(each: tuple[str, int]) -> int:
        arm, seed = each
        name = run_name(arm, seed)
        overrides = [*study.common, *study.arms[arm].overrides, f"seed={seed}", f"name={name}", f"root={output}"]
        return programs.run("train", overrides, output / f"{name}.log")

    output.mkdir(parents=True, exist_ok=True)
    with Programs() as programs, ThreadPoolExecutor(jobs) as pool:
        runs = {pool.submit(train, each): run_name(*each) for each in waiting}
        for done, run in enumerate(as_completed(runs), 1):
            name, count = runs[run], f"[{total - len(waiting) + done}/{total}]"
            left = duration((time.monotonic() - started) / done * (len(waiting) - done))
            outcome = read_finished_run(output / name)
            if run.result() != ExitCode.FINISHED or outcome is None:
                failed.append(name)
                print(f"{count} {name}: failed, see {output / name}.log", flush=True)
            else:
                print(f"{count} {name}: {outcome.summary()}  left {left}", flush=True)
    if failed:
        raise ProRLError(f"{len(failed)} of {total} runs failed: {', '.join(failed)}. The others are kept; run again")


def write_study(study: Study, output: Path) -> Path:
    """Write table, picture and page of the finished runs; returns the table's path."""
    outcomes: dict[str, list[FinishedRun]] = {}
    for arm, seed in study.runs():
        outcome = read_finished_run(output / run_name(arm, seed))
        if outcome is not None:
            outcomes.setdefault(arm, []).append(outcome)
    if not outcomes:
        raise ConfigError(f"{output}: no run of this study has finished yet")
    target = output / "study.md"
    results = compare_arms(study.arms, outcomes, study.reference)
    write_durably(target, table(results, study.reference))
    runs = {study.arms[arm].title: [output / run_name(arm, each) for each in study.seeds] for arm in outcomes}
    curves = read_curves(runs)
    write_curves(curves, output / "study.png")
    write_durably(output / "study.html", study_page(output.name, results, study.arms[study.reference].title, curves))
    return target


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.study",
        description="Run the arms of a study over seeds, and write a table and curves.",
        epilog="The same command continues a study that was interrupted.",
    )
    parser.add_argument("study", type=Path, help="for example examples/ablation.yaml")
    parser.add_argument("--output", type=Path, default=Path("runs/study"), help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time; default: %(default)s")
    parser.add_argument("--report", action="store_true", help="only write table and curves of what has finished")
    options = parser.parse_args(arguments)

    def work() -> None:
        study = read_study(options.study)
        if not options.report:
            run_study(study, options.output, max(1, options.jobs))
        target = write_study(study, options.output)
        print(target.read_text("utf-8"), end="")
        print(f"wrote {target}, {target.with_suffix('.png')} and {target.with_suffix('.html')}")

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
