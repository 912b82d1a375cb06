"""Runs whose processes are killed at random moments, again and again, until they are done.

PRORL_KILLS=60 kills each of them so often.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.programs import Program, metrics, outcome, run_program

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("PRORL_KILLS", "15"))
STEPS, LONGER = 4 * KILLS, 11 * KILLS
RUN = ("experiment=small", f"schedule.steps={STEPS}", "schedule.save_every=1", "schedule.evaluate_every=20")
SERVERS = ("placement=disaggregated", "servers.probe_deadline_s=60", "servers.start_deadline_s=300")
OWN = ("servers/", "staleness/", "groups/in_work", "groups/ready")
LONGEST_S = 40.0  # of a kill after the start of the program, which takes about half of it
COLOCATED_LONGEST_S = 25.0
LAUNCHER, LEARNER, SERVER = "torch.distributed.run", "prorl_mega.train", "prorl_mega.rollout.server"


def processes_of(setup: Path, module: str) -> list[psutil.Process]:
    """The processes of the run that were started as `python -m module`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if process.cwd() == str(setup) and module in command and (module == LAUNCHER or LAUNCHER not in command):
                found.append(process)
    return found


def killed_again_and_again(
    setup: Path, *arguments: str, ranks: int, seed: int, longest_s: float = LONGEST_S
) -> dict[str, int]:
    """The run to its end, in spite of KILLS kills; how many of each kind hit something."""
    rng = random.Random(seed)
    kinds = [LEARNER, *([SERVER] if SERVERS[0] in arguments else []), *([LAUNCHER] if ranks > 1 else [])]
    hit = dict.fromkeys(kinds, 0)
    while sum(hit.values()) < KILLS:
        with Program("prorl_mega.train", setup, *arguments, ranks=ranks) as program:
            while program.is_running and sum(hit.values()) < KILLS:
                kind, moment = rng.choice(kinds), time.monotonic() + rng.uniform(0.0, longest_s)
                while program.is_running and time.monotonic() < moment:
                    time.sleep(0.01)
                if victims := processes_of(setup, kind):
                    rng.choice(victims).kill()
                    hit[kind] += 1
                    if kind != SERVER:
                        break
            if not program.is_running:
                finished = program.finish()
                if finished.code == 0:  # all is done, and kills are left
                    return hit
        for process in processes_of(setup, SERVER):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.wait(30)  # servers end with their parent
    finished = run_program("prorl_mega.train", setup, *arguments, ranks=ranks)
    assert finished.code == 0, finished.output
    return hit


def state_of(run: Path, steps: int = STEPS) -> dict[str, Any]:
    """What the last checkpoint says about the problems."""
    state: dict[str, Any] = json.loads((run / "checkpoints" / f"step_{steps:06d}" / "state.json").read_text())
    return dict(state["problems"])


@pytest.mark.parametrize("background", [False, True])
def test_colocated_kills_change_nothing(setup: Path, background: bool) -> None:
    """The same files at the end, whichever rank or launcher died when; checkpoints in the background or not."""
    name = f"killed_colocated_{background}"
    expected, run = setup / "runs" / f"undisturbed_colocated_{background}", setup / "runs" / name
    settings = (*RUN, f"schedule.save_in_background={str(background).lower()}")
    assert run_program("prorl_mega.train", setup, *settings, f"name={expected.name}", ranks=2).code == 0
    hit = killed_again_and_again(setup, *settings, f"name={name}", ranks=2, seed=3, longest_s=COLOCATED_LONGEST_S)
    print("seen: kills", hit)
    assert metrics(run, seconds=False) == metrics(expected, seconds=False)
    last = f"checkpoints/step_{STEPS:06d}"
    assert outcome(run / last) == outcome(expected / last) != {}
    assert outcome(run / "evaluation/final/samples") == outcome(expected / "evaluation/final/samples")


def test_with_a_bound_of_no_version_kills_change_nothing(setup: Path) -> None:
    expected, run = setup / "runs" / "undisturbed", setup / "runs" / "killed"
    assert run_program("prorl_mega.train", setup, *RUN, f"name={expected.name}", ranks=2).code == 0
    hit = killed_again_and_again(setup, *RUN, *SERVERS, "rollout.staleness=0", f"name={run.name}", ranks=2, seed=1)
    print("seen: kills", hit)
    rows = [
        {name: value for name, value in row.items() if not name.startswith(OWN)} for row in metrics(run, seconds=False)
    ]
    assert rows == metrics(expected, seconds=False)
    last = f"checkpoints/step_{STEPS:06d}"
    ours, theirs = ({k: v for k, v in outcome(each / last).items() if "policy" in k} for each in (run, expected))
    assert ours == theirs != {}
    assert outcome(run / "evaluation/final/samples") == outcome(expected / "evaluation/final/samples")
    assert state_of(run) == state_of(expected)


def test_ahead_every_problem_is_trained_on_left_out_or_still_open_whatever_is_killed(setup: Path) -> None:
    run = setup / "runs" / "killed_ahead"
    ahead = (f"schedule.steps={LONGER}", "rollout.staleness=2", "evaluation.beside_training=true", f"name={run.name}")
    hit = killed_again_and_again(setup, *RUN, *SERVERS, *ahead, ranks=1, seed=2)
    print("seen: kills", hit)
    rows = metrics(run)
    assert [row["step"] for row in rows] == list(range(1, LONGER + 1))
    kept = sum(row["groups/kept"] for row in rows)
    dropped = sum(value for row in rows for name, value in row.items() if name.startswith("groups/dropped/"))
    state = state_of(run, LONGER)
    assert kept + dropped + len(state.get("open", [])) == state["drawn"]
    assert max(row["staleness/max"] for row in rows) <= 2
    evaluated = [row["step"] for row in rows if "evaluation/pass@1" in row]
    assert len(evaluated) == LONGER // 20 - 1, "each that was due but the last, which the final one is instead of"
    assert all(20 * turn < step <= 20 * (turn + 1) for turn, step in enumerate(evaluated, 1)), evaluated
