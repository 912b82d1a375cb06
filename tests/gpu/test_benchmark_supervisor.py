"""A provider that kills the measuring process costs its own numbers only."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from prorl_kernels.benchmarks.registry import PROVIDERS
from prorl_kernels.benchmarks.supervisor import supervise, without

DIES_TWICE = """
import json, os, sys
from pathlib import Path
turn, rest = Path(sys.argv[sys.argv.index("--turn") + 1]), sys.argv[sys.argv.index("--left-out") + 1:]
calls = turn.with_name("calls")
with calls.open("a") as file:
    print(sys.argv[sys.argv.index("--first") + 1], *rest, file=file)
if len(rest) < 2:
    turn.write_text(json.dumps({"case": len(rest) + 4, "provider": f"peer{len(rest)}"}))
    os.abort()
sys.exit(3)
"""


def test_the_run_goes_on_without_what_killed_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status = supervise([sys.executable, "-c", DIES_TWICE], tmp_path, seconds=60)
    assert status == 3  # of the run that came to its end
    assert (tmp_path / "calls").read_text().splitlines() == ["0", "4 peer0", "5 peer0 peer1"]
    assert "peer1 ended the process" in capfd.readouterr().out
    assert not (tmp_path / "turn.json").exists()


def test_a_run_that_fails_by_itself_is_not_repeated(tmp_path: Path) -> None:
    assert supervise([sys.executable, "-c", "raise SystemExit(7)"], tmp_path, seconds=60) == 7


def test_what_killed_it_has_rows_that_say_so() -> None:
    left = without(PROVIDERS, ["QuACK"])
    assert [each.name for each in left] == [each.name for each in PROVIDERS]
    assert [each.name for each in left if "ended the measuring process" in each.refused] == ["QuACK"]
