"""Two ranks on two hosts with a network between them that is slow, loses packets, or is cut in the middle of a step.

Each case prints a line: what was done to the network, what the ranks did, and seconds.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from helpers.programs import LIMIT_S, Finished, contents, metrics, run_program
from helpers.two_hosts import ADDRESSES, PORT, TwoHosts, missing

from prorl_mega.errors import ExitCode
from prorl_mega.run.summary import read_summary

pytestmark = pytest.mark.faults
HANG_S = 60  # less would end a rank that a busy machine holds up
RUN = ("experiment=small", "schedule.steps=6", "schedule.save_every=1", "schedule.evaluate_every=0",
       "parallel.tensor=2", f"cluster.hang_timeout_s={HANG_S}")  # fmt: skip
LAUNCHERS = ["torchrun", "ranks alone"]


@pytest.fixture(scope="module", autouse=True)
def _can_run() -> None:
    if reason := missing():
        pytest.skip(f"NOT RUN: {reason}")


@pytest.fixture(scope="module")
def undisturbed(setup: Path) -> Path:
    """The run on one host."""
    done = run_program("prorl_mega.train", setup, *RUN, "name=undisturbed", ranks=2)
    assert done.code == 0, done.output
    return setup / "runs" / "undisturbed"


@contextmanager
def job(hosts: TwoHosts, setup: Path, launcher: str, *arguments: str) -> Iterator[list[subprocess.Popen[str]]]:
    """A rank on each host. Leaving the block ends what is left of them."""
    train = ["prorl_mega.train", "--config-dir", str(setup / "configs"), *RUN, *arguments]
    processes = []
    for host in (0, 1):
        if launcher == "torchrun":
            words = ["torch.distributed.run", "--nnodes", "2", "--node-rank", str(host), "--nproc-per-node", "1",
                     "--master-addr", ADDRESSES[0], "--master-port", str(PORT), "-m"]  # fmt: skip
            processes.append(hosts.start(host, ["-m", *words, *train], setup))
        else:
            place = {"RANK": str(host), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
            processes.append(hosts.start(host, ["-m", *train], setup, **place))
    try:
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                for each in psutil.Process(process.pid).children(recursive=True):
                    each.kill()
                process.kill()
            process.wait()


def ends(processes: list[subprocess.Popen[str]]) -> list[Finished]:
    found = []
    for process in processes:
        output, _ = process.communicate(timeout=LIMIT_S)
        found.append(Finished(code=process.returncode, output=output))
    return found


def assert_same(run: Path, undisturbed: Path) -> None:
    """To the bit, checkpoints and all."""
    assert metrics(run, seconds=False) == metrics(undisturbed, seconds=False)
    assert contents(run / "checkpoints") == contents(undisturbed / "checkpoints")


def test_delay_and_loss_change_no_bit(setup: Path, undisturbed: Path) -> None:
    began = time.monotonic()
    with TwoHosts(delay_s=0.002, loss=0.01) as hosts, job(hosts, setup, "torchrun", "name=lossy") as ranks:
        codes = [done.code for done in ends(ranks)]
        carried, lost = hosts.carried, hosts.lost
    seconds = time.monotonic() - began
    print(
        f"\ndelay and loss: 2 ms each way, {lost} of {carried + lost} packets lost; exit codes {codes}; {seconds:.0f} s"
    )
    assert codes == [0, 0]
    assert lost > 10
    assert_same(setup / "runs" / "lossy", undisturbed)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_cut_in_the_middle_of_a_step_ends_both_sides(setup: Path, undisturbed: Path, launcher: str) -> None:
    name = launcher.replace(" ", "_")
    run = setup / "runs" / name
    with TwoHosts(delay_s=0.001) as hosts:
        with job(hosts, setup, launcher, f"name={name}") as ranks:
            deadline = time.monotonic() + LIMIT_S
            while len(metrics(run)) < 2:
                assert time.monotonic() < deadline
                assert all(each.poll() is None for each in ranks), "\n".join(each.output for each in ends(ranks))
                time.sleep(0.01)
            hosts.cut()
            began = time.monotonic()
            done = ends(ranks)
            seconds = time.monotonic() - began
        summary = read_summary(run)
        print(f"\ncut in step {len(metrics(run)) + 1}, {launcher}: exit codes {[each.code for each in done]}, summary "
              f"{summary['exit_code']}; {seconds:.1f} s after the cut, bound {HANG_S} s")  # fmt: skip
        if launcher == "torchrun":  # its own code is 1, the ranks' are in its words
            assert all(f"exitcode  : {int(ExitCode.HANG)}" in each.output for each in done), done[1].output
        else:
            assert [each.code for each in done] == [ExitCode.HANG] * 2, done[1].output
        assert seconds <= HANG_S + 15.0  # torchrun takes seconds to end
        assert summary["exit_code"] == ExitCode.HANG
        assert all("no progress for" in each.output for each in done)
        hosts.mend()
        with job(hosts, setup, launcher, f"name={name}") as ranks:
            again = ends(ranks)
    assert [each.code for each in again] == [0, 0], again[0].output
    assert "resuming after step" in again[0].output
    assert_same(run, undisturbed)
