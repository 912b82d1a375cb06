"""torchrun is killed, which cannot end its ranks any more: they end by themselves, and the run goes on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest
from helpers.programs import Program, metrics, run_program

pytestmark = pytest.mark.faults
RUN = ("experiment=small", "schedule.steps=5", "schedule.save_every=1", "schedule.evaluate_every=0")
WITHIN_S = 5.0


@pytest.mark.parametrize("placement", ["colocated", "disaggregated"])
def test_a_launcher_that_is_killed_leaves_nothing_behind(setup: Path, placement: str) -> None:
    run = setup / "runs" / placement
    arguments = (*RUN, f"placement={placement}", "servers.probe_deadline_s=60", f"name={placement}")
    with Program("prorl_mega.train", setup, *arguments, ranks=2) as program:
        program.wait_until(lambda: len(metrics(run)) >= 2)
        started = program.processes()[1:]
        kinds = {word for process in started for word in process.cmdline() if word.startswith("prorl_mega.")}
        assert len(started) >= 3, "two ranks, and verifiers or servers"
        program.send(signal.SIGKILL)
        began = time.monotonic()
        _, alive = psutil.wait_procs(started, timeout=WITHIN_S)
        seconds = time.monotonic() - began
        for process in alive:
            process.kill()
        assert [process.cmdline() for process in alive] == []
    print(f"seen: {len(started)} processes ({', '.join(sorted(kinds))}) ended in {seconds:.1f} s")
    finished = run_program("prorl_mega.train", setup, *arguments, ranks=2)
    assert finished.code == 0, finished.output
    assert [row["step"] for row in metrics(run)] == list(range(1, 6))
