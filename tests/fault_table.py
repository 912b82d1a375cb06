"""The table of faults, docs/faults.md: what is caused, what was seen, and in how many seconds.

make faults-table        or        python tests/fault_table.py [--cases CASES.yaml] [--output TABLE.md]

The cases are those of fault_cases.yaml, each with the tests that show it. They are run here and now, in one call of
pytest, and what failed or was not run stands in the table as well. A line `seen: …` that a test prints goes along.
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import os
import platform
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import yaml
from helpers.slurm_cluster import missing

ROOT = Path(__file__).resolve().parents[1]
CASES, TABLE = ROOT / "tests" / "fault_cases.yaml", ROOT / "docs" / "faults.md"
SLURM = "tests/slurm/"
_LONGEST = 300  # characters of what a test says
_HEAD = """# Faults that are caused on purpose

Written by `make faults-table` on {date}, at commit {commit}, on a machine with {machine}.
The tests of each case are named in `tests/fault_cases.yaml`; "seconds" is the time that they took.

{counts}
"""


@dataclass(kw_only=True, slots=True, frozen=True)
class FaultCase:
    """A row. `tests` are node ids of pytest: files, functions, or `function[pattern]` for some of its parameters."""

    name: str
    injected: str
    expected: str
    tests: list[str]


@dataclass(kw_only=True, slots=True, frozen=True)
class Outcome:
    """One test that was run or skipped."""

    node: str  # its id
    seconds: float = 0.0
    failure: str = ""  # its first line
    skipped: str = ""  # why
    seen: list[str] = field(default_factory=list)  # what it printed behind `seen: `


class Verdict(StrEnum):
    as_expected = "as expected"
    failed = "failed"
    not_run = "not run"


def read_cases(path: Path = CASES) -> dict[str, list[FaultCase]]:
    """The cases by group, in the order of the file."""
    return {group: [FaultCase(**case) for case in cases] for group, cases in yaml.safe_load(path.read_text()).items()}


def node_ids(cases: Iterable[FaultCase]) -> list[str]:
    """The ids for pytest, each once: whole files, or functions with all of their parameters."""
    return list(dict.fromkeys(node.partition("[")[0] for case in cases for node in case.tests))


def run_tests(nodes: list[str], marks: str, root: Path = ROOT) -> list[Outcome]:
    """Run tests in one call of pytest. Raises RuntimeError when pytest itself could not work."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "-m", marks, f"--junitxml={report}", "--continue-on-collection-errors"]
        options += ["-o", "junit_family=xunit1", "-o", "junit_logging=system-out"]
        done = subprocess.run([sys.executable, "-m", "pytest", *options, *nodes], cwd=root, check=False)
        if done.returncode not in (0, 1) or not report.exists():
            raise RuntimeError(f"pytest ended with {done.returncode}; no table was written")
        return read_report(report)


def read_report(report: Path) -> list[Outcome]:
    """The outcomes in a JUnit file that pytest wrote, in the order in which the tests were run."""
    outcomes = []
    for case in ET.parse(report).getroot().iter("testcase"):
        failed, skipped = [*case.findall("failure"), *case.findall("error")], case.find("skipped")
        printed = "".join(each.text or "" for each in case.findall("system-out"))
        outcomes.append(
            Outcome(
                node=f"{case.get('file')}::{case.get('name')}",
                seconds=float(case.get("time", "0")),
                failure=_first_line(failed[0]) if failed else "",
                skipped=_first_line(skipped) if skipped is not None else "",
                seen=[line[6:].strip() for line in printed.splitlines() if line.startswith("seen: ")],
            )
        )
    return outcomes


def _first_line(element: ET.Element) -> str:
    lines = (line.strip() for line in element.get("message", "").splitlines())
    return next(filter(None, lines), "without a message")[:_LONGEST]


def outcomes_of(wanted: str, outcomes: list[Outcome]) -> list[Outcome]:
    """The outcomes that an entry of a case's `tests` means."""
    wanted, _, pattern = wanted.partition("[")
    found = []
    for each in outcomes:
        function, _, parameters = each.node.partition("[")
        name = function if "::" in wanted else function.partition("::")[0]
        if name == wanted and (not pattern or fnmatch.fnmatchcase(parameters, pattern)):
            found.append(each)
    return found


def judge(case: FaultCase, outcomes: list[Outcome], no_slurm: str) -> tuple[Verdict, str, float]:
    """Whether a case went as expected, what was seen, and the seconds that it took.

    `no_slurm`: why no test of `tests/slurm` was started; empty if they were.
    """
    by_node = {node: outcomes_of(node, outcomes) for node in case.tests}
    unseen = [node for node, found in by_node.items() if not found and not (no_slurm and node.startswith(SLURM))]
    found = list({each.node: each for part in by_node.values() for each in part}.values())
    seconds = sum(each.seconds for each in found)
    passed = [each for each in found if not each.failure and not each.skipped]
    skipped = [each.skipped for each in found if each.skipped] + [no_slurm for part in by_node.values() if not part]
    if failed := [f"{each.node.rpartition('::')[2]}: {each.failure}" for each in found if each.failure]:
        return Verdict.failed, f"**FAILED** ({len(failed)} of {_counted(len(found), 'test')}) {failed[0]}", seconds
    if unseen:
        return Verdict.failed, f"**FAILED** {unseen[0]} was not started", seconds
    left_out = "; ".join(dict.fromkeys(skipped))
    if not passed:
        return Verdict.not_run, f"not run: {left_out}", seconds
    words = [f"{case.expected} ({_counted(len(passed), 'test')})"]
    words += dict.fromkeys(line for each in passed for line in each.seen)
    words += [f"{len(skipped)} more not run: {left_out}"] if skipped else []
    return Verdict.as_expected, "; ".join(words), seconds


def table(
    groups: dict[str, list[FaultCase]], outcomes: list[Outcome], no_slurm: str = ""
) -> tuple[str, Counter[Verdict]]:
    """The whole document, and how many cases went how."""
    counts: Counter[Verdict] = Counter()
    parts = []
    for group, cases in groups.items():
        parts.append(f"\n## {group}\n\n| Case | Injected | Seen | Seconds |\n|---|---|---|---:|\n")
        for case in cases:
            verdict, seen, seconds = judge(case, outcomes, no_slurm)
            counts[verdict] += 1
            parts.append(f"| {' | '.join(map(_cell, (case.name, case.injected, seen, f'{seconds:.1f}')))} |\n")
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    total = f"{_counted(counts.total(), 'case')}: {told}."
    head = _HEAD.format(date=date, commit=_commit(), machine=_machine(), counts=total)
    return head + "".join(parts), counts


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _cell(text: str) -> str:
    """A text that stays in its cell, without markup of its own, and without the names and places of this machine."""
    for local in (str(ROOT), tempfile.gettempdir(), platform.node()):
        text = text.replace(local, "…") if local else text
    text = "".join(character if character.isprintable() else " " for character in text)
    return re.sub(r"([|<>])", r"\\\1", text)[: 3 * _LONGEST]


def _commit() -> str:
    head = _git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{head} with changes" if _git("status", "--porcelain", "--", ".", f":!{TABLE.relative_to(ROOT)}") else head


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False).stdout.strip()


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{_counted(len(os.sched_getaffinity(0)), 'core')}, {memory:.0f} GiB of memory and {platform.system()}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, default=CASES, help="the cases (default: tests/fault_cases.yaml)")
    parser.add_argument("--output", type=Path, default=TABLE, help="the table (default: docs/faults.md)")
    options = parser.parse_args(arguments)
    groups, no_slurm = read_cases(options.cases), missing()
    nodes = node_ids(case for cases in groups.values() for case in cases)
    nodes = [node for node in nodes if (ROOT / node.partition("::")[0]).exists()]  # pytest would start none
    outcomes = run_tests(nodes, "not gpu and not slurm" if no_slurm else "not gpu")
    text, counts = table(groups, outcomes, no_slurm)
    options.output.write_text(text, encoding="utf-8")
    print(f"{options.output}: {', '.join(f'{counts[verdict]} {verdict}' for verdict in Verdict)}")
    return 1 if counts[Verdict.failed] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
