"""Servers that die, hang, are slow and lie: noticed in time, their groups sampled elsewhere, each group once."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_engine import sampled
from helpers.fleets import TOKEN, WatchedFleet, fake_fleet, order, some_weights

from prorl_mega.errors import ExitCode, RolloutError
from prorl_mega.servers.answers import VersionedSample
from prorl_mega.servers.group_job import GroupJob

NOTICED_S = 10.0  # the longest until a fault is noticed, with the settings' own probes; the tests' are quicker


def push(watched: WatchedFleet, version: int, **how: Any) -> Any:
    return watched.pusher.push(iter(some_weights(version, largest=1000).items()), version, **how)


def submit(watched: WatchedFleet, groups: int, *, first: int = 0) -> list[Future[list[VersionedSample]]]:
    return [watched.fleet.submit(order(first + group)) for group in range(groups)]


def check(futures: list[Future[list[VersionedSample]]], *, version: int = 1, first: int = 0) -> list[str]:
    """Every group has its own samples, in order, once. The server of each."""
    assert not wait(futures, timeout=60).not_done
    servers = []
    for group, future in enumerate(futures, first):
        wanted = order(group)
        samples = future.result()
        expected = [sampled(wanted.prompt.tolist(), seed, version, 6) for seed in wanted.seeds]
        assert [each.tokens.tolist() for each in samples] == expected
        assert all((each.versions == version).all() for each in samples)
        servers += [each.server for each in samples]
    return servers


def test_groups_stay_together_and_go_to_whoever_has_least_to_do(tmp_path: Path) -> None:
    with fake_fleet(tmp_path, behaviour={"server-0": {"seconds": 0.5}, "server-1": {"seconds": 0.05}}) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        futures = [watched.fleet.submit(order(group)) for group in range(8)]
        servers = check(futures)
        assert all(len(set(servers[first : first + 4])) == 1 for first in range(0, len(servers), 4))
        assert sorted(servers[:8]) == ["server-0"] * 4 + ["server-1"] * 4  # the first two groups
        slow = watched.behave("server-0")["asked"]
        assert slow == 16, "with room for all, samples are shared out evenly"
    with fake_fleet(
        tmp_path, behaviour={"server-0": {"seconds": 0.6}, "server-1": {"seconds": 0.02}}, max_concurrent=4
    ) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        servers = check(submit(watched, 12))
        assert servers.count("server-0") <= 8, "whoever is slow gets less when there is a queue"
        assert servers.count("server-0") + servers.count("server-1") == 48


def test_groups_in_the_background_wait_for_the_others(tmp_path: Path) -> None:
    with fake_fleet(tmp_path, replicas=1, behaviour={"server-0": {"seconds": 0.05}}, max_concurrent=4) as watched:
        watched.fleet.wait_for(1)
        push(watched, 1)
        ended: list[int] = []
        futures = []
        for group in range(12):
            in_background = group < 6
            future = watched.fleet.submit(replace(order(group), in_background=in_background))
            future.add_done_callback(lambda _, group=group: ended.append(group))  # type: ignore[misc]
            futures.append(future)
        check(futures)
        assert ended.index(5) > max(ended.index(group) for group in range(6, 12)), ended


def test_a_server_that_is_killed(tmp_path: Path) -> None:
    with fake_fleet(tmp_path, behaviour={"server-0": {"seconds": 2.0}}) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        futures = submit(watched, 6)
        watched.until(lambda: watched.behave("server-0")["asked"] > 0)
        os.kill(watched.processes["server-0"].pid, signal.SIGKILL)
        assert watched.until(lambda: watched.state("server-0") != "ready") < 2.0
        assert set(check(futures)) == {"server-1"}
        watched.until(lambda: "server-0.1" in watched.processes and watched.state("server-0") == "waiting")
        assert watched.fleet.counts["replaced"] == 1
        assert any("server-0 is replaced: " in line for line in watched.lines)
        push(watched, 1, only_waiting=True)
        assert set(check(submit(watched, 4, first=50), first=50)) == {"server-0.1", "server-1"}


def test_a_server_that_is_stopped_and_goes_on(tmp_path: Path) -> None:
    with fake_fleet(tmp_path, behaviour={"server-0": {"seconds": 0.5}}) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        futures = submit(watched, 6)
        watched.until(lambda: watched.behave("server-0")["asked"] > 0)
        os.kill(watched.processes["server-0"].pid, signal.SIGSTOP)
        config = watched.fleet.config
        limit = 2 * (config.probe_s + config.probe_deadline_s) + 1.5
        assert watched.until(lambda: watched.state("server-0") == "quarantined") < limit
        assert set(check(futures)) == {"server-1"}
        os.kill(watched.processes["server-0"].pid, signal.SIGCONT)
        watched.until(lambda: watched.state("server-0") == "ready")
        assert any("server-0 is back" in line for line in watched.lines)
        assert set(check(submit(watched, 4, first=50), first=50)) == {"server-0", "server-1"}
        assert watched.fleet.counts["replaced"] == 0


def test_the_probes_of_the_settings_notice_in_time() -> None:
    from prorl_mega.config.servers import ServersConfig

    config = ServersConfig()
    assert 2 * (config.probe_s + config.probe_deadline_s) <= NOTICED_S


def test_a_server_whose_engine_hangs(tmp_path: Path) -> None:
    """It answers connections and samples nothing; a server that is slow is the same to a probe."""
    with fake_fleet(tmp_path, behaviour={"server-0": {"generate": "hang"}}, replace_after_s=0.5) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        futures = submit(watched, 4)
        watched.until(lambda: watched.behave("server-0")["asked"] > 0)
        watched.behave("server-0", status="hang")
        assert set(check(futures)) == {"server-1"}
        watched.until(lambda: "server-0.1" in watched.processes)


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("garbage", "not a reply"),
        ("huge", "a reply of more than"),
        ({"token_ids": [10, 11, 12, 13, 14, 400]}, "which have to be of them"),
        ({"weight_versions": [{"version": "7", "start": 0, "end": 6}]}, "from weights '7'; pushed were 1 to 1"),
        ({"finish_reason": "stop"}, "finish_reason=stop"),
        ("truncated", "not a reply"),
        ("twice", "not a reply"),
        ({"token_ids": [10, 11]}, "2 tokens and 6 log-probabilities"),
        ({"logprobs": {"content": []}}, "6 tokens and 0 log-probabilities"),
        ("not finite", "log-probabilit"),
    ],
)
def test_a_server_that_lies(tmp_path: Path, lie: Any, reason: str) -> None:
    with fake_fleet(tmp_path, behaviour={"server-0": {"generate": lie}}, strikes=1) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        assert set(check(submit(watched, 4))) == {"server-1"}
        watched.until(lambda: watched.fleet.counts["replaced"] == 1)
        assert any("server-0 gets no work for now" in line and reason in line for line in watched.lines)


def test_samples_that_have_arrived_are_kept(tmp_path: Path) -> None:
    """A group that moves is asked again for what is missing only."""
    with fake_fleet(tmp_path, replicas=2) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        first = watched.fleet.submit(order(1))
        check([first], first=1)
        name = first.result()[0].server
        other = "server-1" if name == "server-0" else "server-0"
        watched.behave(name, seconds=0.2)
        watched.behave(other, seconds=0.2)
        job = watched.fleet.submit(order(2))
        watched.until(lambda: sum(watched.behave(each)["asked"] for each in (name, other)) == 8)
        served = next(each for each in (name, other) if watched.fleet.summary()[each]["working"])
        jobs = next(each for each in watched.fleet._open)
        jobs.samples[0] = VersionedSample(
            tokens=first.result()[0].tokens, logprobs=first.result()[0].logprobs, versions=first.result()[0].versions,
            finish=first.result()[0].finish, server="kept",
        )  # fmt: skip
        os.kill(watched.processes[served].pid, signal.SIGKILL)
        samples = job.result(timeout=30)
        assert samples[0].server == "kept"
        rest = other if served == name else name
        assert [each.server for each in samples[1:]] == [rest] * 3


def test_servers_come_and_go_while_groups_are_sampled(tmp_path: Path) -> None:
    with fake_fleet(tmp_path, replicas=1, behaviour={"server-0": {"seconds": 0.3}}) as watched:
        watched.fleet.wait_for(1)
        push(watched, 1)
        added = watched.fleet.add()
        watched.fleet.wait_for(2)
        assert set(check(submit(watched, 3))) == {"server-0"}, "it has no weights yet"
        push(watched, 2)
        assert set(check(submit(watched, 4), version=2)) == {"server-0", added}
        futures = submit(watched, 4)
        watched.fleet.remove("server-0")
        assert "server-0" not in watched.fleet.summary()
        assert watched.processes["server-0"].has_ended
        check(futures, version=2)
        assert watched.fleet.counts["repeated_groups"] == 0, "it finished what it had"
        assert set(check(submit(watched, 4), version=2)) == {added}


def test_all_servers_are_gone(tmp_path: Path) -> None:
    """They end, and do not start again: an error with its own exit code, and soon."""
    failing = {f"server-{slot}.{life}": {"start": "fail"} for slot in (0, 1) for life in (1, 2, 3)}
    with fake_fleet(tmp_path, behaviour=failing, max_failed_starts=2) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        watched.behave("server-0", seconds=30.0)
        watched.behave("server-1", seconds=30.0)
        futures = submit(watched, 4)
        time.sleep(0.3)
        for process in list(watched.processes.values()):
            os.kill(process.pid, signal.SIGKILL)
        assert not wait(futures, timeout=30).not_done
        for future in futures:
            with pytest.raises(
                RolloutError, match=r"(?s)no server is left.*server-0: .*it cannot find its weights"
            ) as error:
                future.result()
            assert error.value.exit_code is ExitCode.ROLLOUT == 24
        with pytest.raises(RolloutError, match="no server is left"):
            watched.fleet.submit(order(9)).result(timeout=10)


def test_all_servers_hang(tmp_path: Path) -> None:
    with fake_fleet(tmp_path, lost_deadline_s=1.0) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        for name in ("server-0", "server-1"):
            watched.behave(name, seconds=60.0)
        futures = submit(watched, 2)
        for process in watched.processes.values():
            os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(RolloutError, match=r"no server is left.*/prorl/status: no answer within 2 s"):
            futures[0].result(timeout=20)


def test_servers_that_never_start(tmp_path: Path) -> None:
    failing = {name: {"start": "fail"} for name in ("server-0", "server-0.1", "server-0.2")}
    with (
        fake_fleet(tmp_path, replicas=1, behaviour=failing) as watched,
        pytest.raises(RolloutError, match=r"(?s)ended before it was ready.*it cannot find its weights"),
    ):
        watched.fleet.wait_for(1)


def test_a_group_that_no_server_survives(tmp_path: Path) -> None:
    dying = {f"server-{slot}{life}": {"generate": "die"} for slot in (0, 1) for life in ("", ".1", ".2")}
    with fake_fleet(tmp_path, behaviour=dying, group_attempts=2) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        with pytest.raises(RolloutError, match=r"2 servers failed over one group: server-.: /inference.*; server-.: "):
            watched.fleet.submit(order(0)).result(timeout=30)


def test_closing_ends_everything(tmp_path: Path) -> None:
    with fake_fleet(tmp_path) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        watched.behave("server-0", seconds=60.0)
        watched.behave("server-1", seconds=60.0)
        future = watched.fleet.submit(order(0))
        time.sleep(0.2)
        processes = list(watched.processes.values())
    assert all(process.has_ended for process in processes)
    with pytest.raises(RolloutError, match="the servers were closed"):
        future.result(timeout=1)


def test_the_token_is_on_no_command_line_and_in_no_environment(tmp_path: Path) -> None:
    with fake_fleet(tmp_path, replicas=1) as watched:
        watched.fleet.wait_for(1)
        process = Path(f"/proc/{watched.processes['server-0'].pid}")
        assert TOKEN.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()


def test_a_group_that_a_server_loses_before_it_has_begun(tmp_path: Path) -> None:
    """Work is handed to a server that gets no more work in the very same moment."""
    with fake_fleet(tmp_path) as watched:
        watched.fleet.wait_for(2)
        push(watched, 1)
        fleet, futures = watched.fleet, []

        async def lose() -> None:
            for group in range(4):
                job = GroupJob(order(group), lambda place, sample: None)
                futures.append(job.outcome)
                fleet._open.add(job)
                fleet._queue.append(job)
            fleet._dispatch()
            fleet._replicas["server-0"].quarantine("lost at once")

        fleet.call(lose())
        assert set(check(futures)) == {"server-1"}
        watched.until(lambda: watched.state("server-0") == "ready")
        assert watched.fleet.summary()["server-0"]["working"] == 0
        assert watched.fleet.counts["repeated_groups"] == 2
