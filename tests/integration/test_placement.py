"""Runs with vLLM servers beside the learner: the numbers of colocated engines, whatever happens to servers."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.programs import Finished, Program, metrics, outcome, run_program

from prorl_mega.errors import ExitCode

RUN = ("experiment=small", "schedule.steps=3", "schedule.save_every=1", "schedule.evaluate_every=2")
# Under load a forward pass takes seconds.
SERVERS = ("placement=disaggregated", "servers.probe_deadline_s=60")
COUNTS = ("failed_starts", "garbled", "push_failures", "quarantined", "repeated_groups", "replaced")


@pytest.fixture(scope="module")
def colocated(setup: Path) -> Path:
    finished = run_program("prorl_mega.train", setup, *RUN, "name=colocated")
    assert finished.code == 0, finished.output
    return setup / "runs" / "colocated"


def without_servers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if not key.startswith("servers/")} for row in rows]


def assert_same(run: Path, expected: Path) -> None:
    """The same tokens with the same log-probabilities, to the bit, and so the same of all that follows from them."""
    assert without_servers(metrics(run, seconds=False)) == metrics(expected, seconds=False)
    for part in ("samples", "evaluation/base/samples", "evaluation/final/samples"):
        assert outcome(run / part) == outcome(expected / part), part
    ours, theirs = (
        {name: content for name, content in outcome(each / "checkpoints" / "step_000003").items() if "policy" in name}
        for each in (run, expected)
    )
    assert ours == theirs != {}


def server_of(setup: Path) -> psutil.Process | None:
    """The server of a run in this directory, if there is one."""
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(setup) and "prorl_mega.rollout.server" in process.cmdline():
                return process
        except psutil.Error:
            continue
    return None


def assert_no_server(setup: Path) -> None:
    assert server_of(setup) is None


def said(run: Path, words: str) -> bool:
    log = run / "console.log"
    return log.exists() and words in log.read_text()


def test_a_run_with_a_server_has_the_numbers_of_a_colocated_one(setup: Path, colocated: Path) -> None:
    finished = run_program("prorl_mega.train", setup, *RUN, *SERVERS, "name=beside")
    assert finished.code == 0, finished.output
    run = setup / "runs" / "beside"
    assert_same(run, colocated)
    for row in metrics(run):
        assert 0 < row["seconds/servers_paused"] <= row["seconds/servers_push"]
        if row["step"] > 1:  # the first row has the push before the first step as well
            assert row["seconds/servers_push"] <= row["seconds/push"]
        assert [row[f"servers/{name}"] for name in COUNTS] == [0] * len(COUNTS)
    assert [each.name for each in (run / "servers").iterdir()] == ["server-0.log"]
    assert_no_server(setup)


@pytest.mark.slow
def test_a_server_that_is_killed_in_a_step_changes_nothing(setup: Path, colocated: Path) -> None:
    run = setup / "runs" / "killed"
    with Program("prorl_mega.train", setup, *RUN, *SERVERS, f"name={run.name}", ranks=2) as program:
        program.wait_until(lambda: said(run, "step 1/3"))
        server = server_of(setup)
        assert server is not None
        server.kill()
        finished = program.finish()
    assert finished.code == 0, finished.output
    rows = metrics(run)
    assert sum(row["servers/replaced"] for row in rows) == 1
    together = setup / "runs" / "two_ranks"
    assert run_program("prorl_mega.train", setup, *RUN, f"name={together.name}", ranks=2).code == 0
    assert_same(run, together)
    assert_no_server(setup)


@pytest.mark.slow
def test_stopped_by_a_signal_it_goes_on(setup: Path, colocated: Path) -> None:
    run = setup / "runs" / "stopped"
    arguments = (*RUN, *SERVERS, f"name={run.name}")
    with Program("prorl_mega.train", setup, *arguments) as program:
        program.wait_until(lambda: said(run, "step 1/3"))
        program.send(signal.SIGTERM)
        stopped: Finished = program.finish()
    assert stopped.code == ExitCode.SAVED_AFTER_SIGNAL, stopped.output
    assert_no_server(setup)
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"] < 3
    last = run_program("prorl_mega.train", setup, *arguments)
    assert last.code == 0, last.output
    assert_same(run, colocated)


@pytest.mark.slow
def test_the_other_placement_can_go_on_and_evaluate(setup: Path, colocated: Path) -> None:
    """A run begins with engines and ends with a server; an evaluation of it uses what its settings say."""
    run = setup / "runs" / "moved"
    assert run_program("prorl_mega.train", setup, *RUN, "schedule.steps=1", f"name={run.name}").code == 0
    finished = run_program("prorl_mega.train", setup, *RUN, *SERVERS, f"name={run.name}")
    assert finished.code == 0, finished.output
    assert without_servers(metrics(run, seconds=False))[1:] == metrics(colocated, seconds=False)[1:]
    for name in (run.name, colocated.name):
        evaluated = run_program("prorl_mega.evaluate", setup, f"run={name}", "evaluation.samples=4")
        assert evaluated.code == 0, evaluated.output
    folder = "evaluation/step_000003"
    assert (run / folder / "servers" / "server-0.log").exists()
    assert outcome(run / folder / "samples") == outcome(colocated / folder / "samples")
    assert_no_server(setup)


@pytest.mark.slow
def test_without_any_server_it_ends_with_a_sentence(setup: Path, tmp_path: Path) -> None:
    """Those that follow find no model any more."""
    model = tmp_path / "model"
    model.mkdir()
    for file in (setup / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    run = setup / "runs" / "left_alone"
    settings = (*RUN, *SERVERS, f"model.path={model}", "servers.max_failed_starts=1", f"name={run.name}")
    with Program("prorl_mega.train", setup, *settings) as program:
        program.wait_until(lambda: said(run, "step 1/3"))
        (model / "config.json").unlink()
        server = server_of(setup)
        assert server is not None
        server.kill()
        finished = program.finish()
    assert finished.code == ExitCode.ROLLOUT, finished.output
    assert "no server is left to sample from (server-0: the server ended before it was ready" in finished.output
    assert_no_server(setup)


@pytest.mark.slow
def test_the_doctor_pushes_by_every_way(setup: Path) -> None:
    before = {path for path in setup.rglob("*") if path.is_file()}
    finished = run_program(
        "prorl_mega.doctor", setup, "sync", "experiment=small", "parallel.tensor=2", "servers.step_deadline_s=300",
        "servers.probe_deadline_s=60", ranks=2,
    )  # fmt: skip
    assert finished.code == 0, finished.output
    lines = [line.split() for line in finished.output.splitlines()]
    rows = {cells[0]: cells for cells in lines if len(cells) >= 7 and "yes" in cells}
    assert rows.keys() == {"in", "shared_memory", "gloo"}, finished.output
    assert len({tuple(cells[-6:-4]) for cells in rows.values()}) == 1, "as many tensors and bytes by every way"
    assert "verdict: all engines hold what was sent" in finished.output
    assert {path for path in setup.rglob("*") if path.is_file()} == before
    assert_no_server(setup)
