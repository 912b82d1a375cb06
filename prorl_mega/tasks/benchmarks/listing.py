"""The table of all benchmarks, for people."""

from __future__ import annotations

import sys
from pathlib import Path

from prorl_mega.config.schema import EvaluationConfig
from prorl_mega.errors import ConfigError, exit_status
from prorl_mega.tasks.benchmarks import ladder, places
from prorl_mega.tasks.benchmarks.benchmark import HEADLINES, Benchmark
from prorl_mega.tasks.benchmarks.expansion import GRAPH_COLOR_LADDER, LOGIC, PAPER, SETS
from prorl_mega.tasks.benchmarks.published import PUBLISHED

DEFAULT_DIRECTORY = Path(EvaluationConfig().benchmark_directory)


def describe(directory: Path = DEFAULT_DIRECTORY) -> str:
    """Names, domains, rows, metrics and sources of all benchmarks, and which of their files are below `directory`."""
    head = ("name", "domain", "rows", "metric", "found", "usually from")
    table = [head, *(_row(each, directory) for each in PUBLISHED.values())]
    widths = [max(len(row[column]) for row in table) for column in range(len(head) - 1)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in table]
    sets = [f"  {name:{20}} {', '.join(members)}" for name, members in SETS.items()]
    puzzles = HEADLINES[PUBLISHED["ifeval"].domain]
    return "\n".join(
        [
            *lines,
            "",
            f"Files are looked for in {directory} (evaluation.benchmark_directory); NAME=PATH names one elsewhere.",
            "",
            f"Puzzles of reasoning-gym need no files ({ladder.PROBLEMS} problems each, metric {puzzles}):",
            f"{ladder.PREFIX}NAME, or at several difficulties {GRAPH_COLOR_LADDER}, chain_sum:level=0-3;",
            "`python -m prorl_mega.tasks show reasoning_gym dataset=NAME` lists the settings of one.",
            "",
            "sets:",
            *sets,
            f"  {LOGIC:{20}} every puzzle but those of out_of_distribution and those that need PYTHONHASHSEED",
            f"  {PAPER:{20}} all of the above but math",
        ]
    )


def print_if_asked(arguments: list[str]) -> None:
    """Print the table and leave if `--benchmarks` is among the arguments."""
    if "--benchmarks" not in arguments:
        return
    key = "evaluation.benchmark_directory="
    given = [each.removeprefix(key) for each in arguments if each.startswith(key)]
    sys.exit(exit_status(lambda: print(describe(Path(given[-1]) if given else DEFAULT_DIRECTORY))))


def _row(benchmark: Benchmark, directory: Path) -> tuple[str, ...]:
    rows = " or ".join(map(str, benchmark.rows[:2])) + (" …" if len(benchmark.rows) > 2 else "")
    return (
        benchmark.name, benchmark.domain.value, rows or "?", benchmark.headline.value, _found(benchmark, directory),
        benchmark.source,
    )  # fmt: skip


def _found(benchmark: Benchmark, directory: Path) -> str:
    try:
        place = places.find(benchmark, directory)
    except ConfigError as error:
        return "no" if " no file. " in str(error) else "unclear"
    return Path(place.path).name if "*" not in place.path else "yes"
