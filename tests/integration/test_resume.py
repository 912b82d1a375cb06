"""A run that is killed and stopped in between ends as the one that was not: bit for bit, on a CPU in fp32."""

from __future__ import annotations

import random
import signal
import statistics
import time
from pathlib import Path

from helpers.programs import Finished, Program, metrics, outcome, run_program

from prorl_mega.errors import ExitCode
from prorl_mega.run.parity import PARITY

NAME = "interrupted"
CONSEQUENTIAL = ("checkpoints/step_000010", "evaluation", "samples")


def kill_within_two_steps(run: Path, setup: Path, arguments: tuple[str, ...], delay_s: float) -> None:
    """Start, or go on, and kill `delay_s` after a step that was not there before, or two steps later."""
    done = len(metrics(run))
    with Program("prorl_mega.train", setup, *arguments) as program:
        program.wait_until(lambda: len(metrics(run)) > done)
        moment = time.monotonic() + delay_s
        program.wait_until(lambda: time.monotonic() > moment or len(metrics(run)) > done + 2)
        program.send(signal.SIGKILL)
        assert program.finish().code == -signal.SIGKILL


def test_killed_twice_and_stopped_once(
    setup: Path, run_arguments: tuple[str, ...], uninterrupted: tuple[Finished, Path]
) -> None:
    finished, whole = uninterrupted
    assert finished.code == 0, finished.output
    expected = metrics(whole, seconds=False)
    step_s = statistics.median(row["seconds/step"] + row.get("seconds/save", 0.0) for row in metrics(whole))
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the moments of the kills: {seed}")
    moments = random.Random(seed)
    run, arguments = setup / "runs" / NAME, (*run_arguments, f"name={NAME}")

    for _ in range(2):
        kill_within_two_steps(run, setup, arguments, delay_s=moments.uniform(0.0, 1.5 * step_s))
        left = sorted(path.name for path in (run / "checkpoints").iterdir())
        print(f"killed after {len(metrics(run))} rows with these checkpoints: {', '.join(left)}")

    done = len(metrics(run))
    with Program("prorl_mega.train", setup, *arguments) as program:
        program.wait_until(lambda: len(metrics(run)) > done)
        program.send(signal.SIGTERM)
        stopped = program.finish()
    assert stopped.code == ExitCode.SAVED_AFTER_SIGNAL, stopped.output
    assert "resuming after step" in stopped.output
    assert "SIGTERM: stopping; what is finished will be kept" in stopped.output
    assert not (run / "evaluation" / "final.json").exists()
    rows = metrics(run, seconds=False)
    assert rows == expected[: len(rows)]
    assert (run / "checkpoints" / "LATEST").read_text() == f"step_{len(rows):06d}\n"

    last = run_program("prorl_mega.train", setup, *arguments)
    assert last.code == ExitCode.FINISHED, last.output
    assert f"resuming after step {len(rows)}" in last.output
    assert metrics(run, seconds=False) == expected
    for part in CONSEQUENTIAL:
        assert outcome(run / part) == outcome(whole / part), part
    assert (run / PARITY).read_text() == (whole / PARITY).read_text()
    optimizer = whole / "checkpoints" / "step_000010" / "optimizer-tp00-pp00-dp00.safetensors"
    policy = whole / "checkpoints" / "step_000010" / "policy-tp00-pp00.safetensors"
    assert optimizer.stat().st_size > 2 * policy.stat().st_size - 10_000, "an empty optimizer proves nothing"
