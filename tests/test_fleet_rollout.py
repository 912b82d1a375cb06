"""Servers behind the loop's interface: all ranks go along, the first one gets every sample once, whatever fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.fake_engine import VOCABULARY, sampled
from helpers.fleets import WatchedFleet, fake_fleet, some_weights
from helpers.thread_ranks import run_ranks

from prorl_mega.checksum import Checksum
from prorl_mega.config.schema import RolloutConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import DataError, RolloutError, WeightSyncError
from prorl_mega.fleet_rollout import BLOCK, FleetRollout, IdleTime, Stream
from prorl_mega.types import FinishReason

CONFIG = RolloutConfig(max_prompt_tokens=24, max_response_tokens=20)
PROMPTS = [np.array([7, 8, 10 + index], dtype=np.int32) for index in range(6)]
SEEDS = [[100 * index + sample for sample in range(4)] for index in range(6)]
LENGTH = 6


def weights(seed: int = 0) -> Stream:
    return iter(some_weights(seed, largest=1000).items())


def checksum_of(stream: Stream) -> str:
    checksum = Checksum()
    for name, tensor in stream:
        checksum.add(name, tensor)
    return checksum.hexdigest()


def on_ranks(watched: WatchedFleet, work: Callable[[FleetRollout, Ranks], Any], *, count: int = 3, **how: Any) -> Any:
    """The results of `work` on every rank; only the first one has the fleet."""

    def main(ranks: Ranks) -> Any:
        fleet = watched.fleet if ranks.is_first else None
        settings: dict[str, Any] = {"config": CONFIG, "valid_vocab": VOCABULARY, "policy": weights} | how
        return work(FleetRollout(fleet, ranks, **settings), ranks)

    return run_ranks(count, main, timeout_s=60.0)


def everything(rollout: FleetRollout) -> tuple[int, dict[int, list[int]]]:
    """The iterations that it took, and the tokens of every sample by its number; none may come twice."""
    steps, found = 0, dict[int, list[int]]()
    for finished in rollout.generate(PROMPTS, samples=4, seeds=SEEDS, temperature=1.0, top_p=1.0, max_tokens=LENGTH):
        steps += 1
        for index, completion in finished:
            assert index not in found
            assert (completion.finish, completion.version) == (FinishReason.LENGTH, rollout.version)
            found[index] = completion.tokens.tolist()
    return steps, found


def expected(version: int) -> dict[int, list[int]]:
    return {
        4 * index + sample: sampled(prompt.tolist(), seed, version, LENGTH)
        for index, (prompt, seeds) in enumerate(zip(PROMPTS, SEEDS, strict=True))
        for sample, seed in enumerate(seeds)
    }


def test_all_ranks_go_along_and_the_first_has_every_sample(tmp_path: Path) -> None:
    def work(rollout: FleetRollout, ranks: Ranks) -> Any:
        with pytest.raises(RolloutError, match="no weights"):
            next(rollout.generate(PROMPTS, samples=4, seeds=SEEDS, temperature=1.0, top_p=1.0, max_tokens=LENGTH))
        held = rollout.update_weights(weights(), 5)
        rollout.sleep()
        rollout.wake()
        nothing = rollout.generate([], samples=4, seeds=[], temperature=1.0, top_p=1.0, max_tokens=LENGTH)
        assert list(nothing) == [[]]
        first = everything(rollout)
        again = rollout.update_weights(weights(1), 5)  # a reset to the best policy does not change the step
        return held, first, again, everything(rollout), rollout.version, rollout.metrics(), rollout.metrics()

    with fake_fleet(tmp_path, behaviour={"server-0": {"seconds": 0.3}}) as watched:
        watched.fleet.wait_for(2)
        results = on_ranks(watched, work)
    assert {held for held, *_ in results} == {checksum_of(weights())}
    assert {each[2] for each in results} == {checksum_of(weights(1))}
    assert [first for _, (_, first), *_ in results] == [expected(5), {}, {}]
    assert [each[3][1] for each in results] == [expected(6), {}, {}], "the second push is another one"
    assert len({(each[1][0], each[3][0], each[4]) for each in results}) == 1, "as many iterations everywhere"
    assert results[0][5] == results[1][5] == results[2][5]
    assert 0 < results[0][5]["seconds/servers_paused"] <= results[0][5]["seconds/servers_push"]
    assert results[0][5]["servers/repeated_groups"] == 0
    assert results[0][5]["seconds/servers_idle"] > 0
    assert results[0][6].pop("seconds/servers_idle") < results[0][5]["seconds/servers_idle"]
    assert set(results[0][6].values()) == {0.0}, "since the last call"


def test_what_has_arrived_does_not_wait_for_its_group(tmp_path: Path) -> None:
    """A sample is handed on while others of the same group are still being sampled."""
    with fake_fleet(tmp_path, replicas=1) as watched:
        watched.fleet.wait_for(1)
        numbers: list[int] = []

        def work(rollout: FleetRollout, ranks: Ranks) -> None:
            rollout.update_weights(weights(), 0)
            steps = rollout.generate(
                PROMPTS[:1], samples=4, seeds=SEEDS[:1], temperature=1.0, top_p=1.0, max_tokens=LENGTH
            )
            client = next(iter(watched.fleet._replicas.values())).client
            sample = client.sample

            async def late(order: Any, seed: int, **how: Any) -> Any:
                while seed == SEEDS[0][0] and len(numbers) < 3:
                    await asyncio.sleep(0.01)
                return await sample(order, seed, **how)

            client.sample = late  # type: ignore[method-assign]
            for finished in steps:
                numbers.extend(index for index, _ in finished)

        assert on_ranks(watched, work, count=1) == [None]
        assert sorted(numbers[:3]) == [1, 2, 3]
        assert numbers[3] == 0


def test_a_stream_takes_requests_as_there_is_room(tmp_path: Path) -> None:
    taken: list[int] = []
    most_open = 0
    wanted = [(PROMPTS[index // 20], index) for index in range(60)]  # 20 for each of three prompts

    def requests() -> Iterator[tuple[np.ndarray, int]]:
        for number, request in enumerate(wanted):
            taken.append(number)
            yield request

    def work(rollout: FleetRollout, ranks: Ranks) -> Any:
        nonlocal most_open
        rollout.update_weights(weights(), 0)
        steps, found = 0, dict[int, list[int]]()
        for finished in rollout.stream(requests(), ahead=24, temperature=1.0, top_p=1.0, max_tokens=None):
            steps += 1
            found |= {index: completion.tokens.tolist() for index, completion in finished}
            if ranks.is_first:
                most_open = max(most_open, len(taken) - len(found))
        return steps, found

    with fake_fleet(tmp_path, behaviour={f"server-{each}": {"seconds": 0.05} for each in range(2)}) as watched:
        watched.fleet.wait_for(2)
        (steps, found), (others, nothing) = on_ranks(watched, work, count=2)
    assert (steps, nothing) == (others, {})
    assert taken == list(range(60)), "by the first rank alone"
    assert 24 <= most_open <= 24 + BLOCK + 1
    assert found == {
        number: sampled(prompt.tolist(), seed, 0, CONFIG.max_response_tokens)
        for number, (prompt, seed) in enumerate(wanted)
    }


def test_a_prompt_that_does_not_fit_is_the_data_s_fault_on_every_rank(tmp_path: Path) -> None:
    long = np.full(25, 7, dtype=np.int32)

    def generated(rollout: FleetRollout, ranks: Ranks) -> None:
        rollout.update_weights(weights(), 0)
        list(rollout.generate([long], samples=1, seeds=[[1]], temperature=1.0, top_p=1.0, max_tokens=1))

    def streamed(rollout: FleetRollout, ranks: Ranks) -> None:
        rollout.update_weights(weights(1), 1)
        requests = [(PROMPTS[0], 1), (long, 2)] if ranks.is_first else []
        list(rollout.stream(iter(requests), ahead=4, temperature=1.0, top_p=1.0, max_tokens=1))

    with fake_fleet(tmp_path, replicas=1) as watched:
        watched.fleet.wait_for(1)
        assert [str(each)[:22] for each in on_ranks(watched, generated)] == ["prompt 0 has 25 tokens"] * 3
        found = on_ranks(watched, streamed)
        assert all(isinstance(each, DataError) and "prompt 1 has 25 tokens" in str(each) for each in found)


def test_a_server_that_is_killed_is_replaced_in_the_same_step(tmp_path: Path) -> None:
    def work(rollout: FleetRollout, ranks: Ranks) -> Any:
        rollout.update_weights(weights(), 2)
        if ranks.is_first:
            watched.behave("server-0", generate="die")
        return *everything(rollout), rollout.metrics()

    with fake_fleet(tmp_path, replicas=1) as watched:
        watched.fleet.wait_for(1)
        results = on_ranks(watched, work)
        assert watched.state("server-0") == "ready"
        assert "server-0.1" in watched.processes
    assert [found for _, found, _ in results] == [expected(2), {}, {}]
    assert len({steps for steps, _, _ in results}) == 1
    for _, _, metrics in results:
        assert (metrics["servers/replaced"], metrics["servers/quarantined"]) == (1, 1)
        assert metrics["servers/repeated_groups"] == len(PROMPTS)


def test_a_newcomer_gets_work_while_others_sample(tmp_path: Path) -> None:
    def work(rollout: FleetRollout, ranks: Ranks) -> Any:
        rollout.update_weights(weights(), 0)
        if ranks.is_first:
            watched.fleet.add()
        return everything(rollout)[1]

    with fake_fleet(tmp_path, replicas=1, behaviour={"server-0": {"seconds": 3.0}}, max_concurrent=4) as watched:
        watched.fleet.wait_for(1)
        found, *_ = on_ranks(watched, work)
        assert watched.behave("server-1")["asked"] > 0
    assert found == expected(0)


def test_a_push_that_nobody_takes_is_made_up_for(tmp_path: Path) -> None:
    def work(rollout: FleetRollout, ranks: Ranks) -> Any:
        held = rollout.update_weights(weights(), 0)
        return held, *everything(rollout), rollout.metrics()["servers/push_failures"]

    with fake_fleet(tmp_path, replicas=1, behaviour={"server-0": {"/update_weights": "refuse"}}) as watched:
        watched.fleet.wait_for(1)
        results = on_ranks(watched, work)
    assert [each[2] for each in results] == [expected(0), {}, {}]
    assert {(each[0], each[3]) for each in results} == {(checksum_of(weights()), 1.0)}


def test_pushes_that_nobody_ever_takes_end_it_on_every_rank(tmp_path: Path) -> None:
    def work(rollout: FleetRollout, ranks: Ranks) -> Any:
        rollout.update_weights(weights(), 0)
        return everything(rollout)

    refusing = {name: {"/prorl/verify": "refuse"} for name in ("server-0", "server-0.1", "server-0.2", "server-0.3")}
    with fake_fleet(tmp_path, replicas=1, behaviour=refusing, max_failed_starts=3) as watched:
        watched.fleet.wait_for(1)
        results = on_ranks(watched, work)
    assert all(isinstance(each, WeightSyncError) for each in results), results
    assert all("3 pushes in a row: no server has taken the weights of version 0" in str(each) for each in results)


def test_other_weights_for_a_newcomer_are_an_error(tmp_path: Path) -> None:
    def work(rollout: FleetRollout, ranks: Ranks) -> Any:
        rollout.update_weights(weights(), 0)
        if ranks.is_first:
            watched.behave("server-0", generate="die")
        return everything(rollout)

    with fake_fleet(tmp_path, replicas=1) as watched:
        watched.fleet.wait_for(1)
        results = on_ranks(watched, work, policy=lambda: weights(3))
    assert all(isinstance(each, WeightSyncError) for each in results), results
    assert all("the policy has changed in between" in str(each) for each in results)


def test_without_any_server_every_rank_ends_with_the_reason(tmp_path: Path) -> None:
    def work(rollout: FleetRollout, ranks: Ranks) -> Any:
        rollout.update_weights(weights(), 0)
        if ranks.is_first:
            os.kill(watched.processes["server-0"].pid, signal.SIGKILL)
        return everything(rollout)

    failing = {name: {"start": "fail"} for name in ("server-0.1", "server-0.2", "server-0.3")}
    with fake_fleet(tmp_path, replicas=1, behaviour=failing) as watched:
        watched.fleet.wait_for(1)
        results = on_ranks(watched, work)
    assert all(isinstance(each, RolloutError) and each.exit_code == 24 for each in results), results
    assert all("no server is left to sample from" in str(each) for each in results)
    assert all("it cannot find its weights" in str(each) for each in results), "the servers' own last words"


def test_what_is_given_up_is_not_sampled_any_more(tmp_path: Path) -> None:
    def work(rollout: FleetRollout, ranks: Ranks) -> Any:
        rollout.update_weights(weights(), 0)
        steps = rollout.generate(PROMPTS, samples=4, seeds=SEEDS, temperature=1.0, top_p=1.0, max_tokens=LENGTH)
        next(steps)
        steps.close()
        if ranks.is_first:
            watched.until(lambda: not any(each["working"] for each in watched.fleet.summary().values()))
            watched.behave("server-0", seconds=0.0)
        return everything(rollout)[1], rollout.metrics()["servers/repeated_groups"]

    with fake_fleet(tmp_path, replicas=1, behaviour={"server-0": {"seconds": 300.0}}) as watched:
        watched.fleet.wait_for(1)
        (found, repeated), *_ = on_ranks(watched, work)
    assert (found, repeated) == (expected(0), 0)


def test_idle_time_is_the_mean_of_the_servers_since_the_last_call() -> None:
    now = [100.0]
    idle = IdleTime(lambda: now[0])
    now[0] = 110.0
    assert idle.since_last_call({"a": {"busy_s": 4.0}, "b": {"busy_s": 10.0}}) == 3.0
    now[0] = 120.0
    assert idle.since_last_call({"a": {"busy_s": 9.0}, "b": {"busy_s": 3.0}}) == 7.5, "b was replaced: it counts anew"
    now[0] = 125.0
    assert idle.since_last_call({}) == 5.0
