"""A real vLLM server beside its client: the guard on every route, pushes, and what is sampled after them.

What the client relies on is asked of the fake engine of the other tests as well (`engine`): where that one differs from
the installed vLLM, tests that use it say nothing.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.fleets import TOKEN, WatchedFleet, fake_fleet
from helpers.rollouts import ENDS, VALID_VOCABULARY, engine_checkpoint
from helpers.vllm_fleets import LONG, huggingface_gap, real_fleet, some_orders, two_versions
from torch import Tensor

from prorl_mega.errors import WeightSyncError
from prorl_mega.rollout.guard import ROUTES
from prorl_mega.servers.client import EngineClient, ServerRefusedError
from prorl_mega.servers.fleet import Fleet
from prorl_mega.servers.process import ServerProcess
from prorl_mega.servers.replica import Replica
from prorl_mega.types import FinishReason


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With tied embeddings, the case in which vLLM's own reload leaves the output projection as it was."""
    return engine_checkpoint(tmp_path_factory.mktemp("model"), "qwen2_tied")


@pytest.fixture(scope="module")
def watched(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedFleet]:
    with real_fleet(tmp_path_factory.mktemp("servers"), checkpoint) as watched:
        yield watched


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> dict[int, dict[str, Tensor]]:
    return two_versions(checkpoint)


def push(watched: WatchedFleet, weights: dict[int, dict[str, Tensor]], version: int, **how: Any) -> Any:
    return watched.pusher.push(iter(weights[version % 2].items()), version, **how)


def asked(watched: WatchedFleet, method: str, path: str, token: str | None) -> int:
    """The status of a request."""
    (replica,) = watched.fleet._replicas.values()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(
        replica.client._url + path, method=method, headers=headers, data=b"{}" if method != "GET" else None
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def routes_of(process: ServerProcess) -> set[tuple[str, str]]:
    """(method, path) of every route in vLLM's own table, which it writes to its log."""
    found = re.findall(r"Route: (\S+), Methods: ([A-Z, ]+)", process.log.read_text())
    return {(method, path) for path, methods in found for method in methods.replace(" ", "").split(",")}


def test_every_route_wants_the_token_and_most_are_shut(watched: WatchedFleet) -> None:
    routes = routes_of(watched.processes["server-0"])
    paths = {path for _, path in routes}
    assert {"/pause", "/collective_rpc", "/tokenize", "/metrics", "/v1/completions", "/update_weights"} <= paths
    assert len(routes) > 40
    served = {(method, path) for method, paths in ROUTES.items() for path in paths}
    assert {route for route in served if not route[1].startswith("/prorl")} <= routes, "the guard knows real routes"
    open_to = {(method, path) for method, path in routes | served if asked(watched, method, path, None) != 401}
    open_to |= {(method, path) for method, path in routes | served if asked(watched, method, path, TOKEN[:-1]) != 401}
    assert open_to == set()
    assert {route for route in routes - served if asked(watched, *route, TOKEN) != 404} == set()


def test_it_listens_on_this_machine_alone(watched: WatchedFleet) -> None:
    group = watched.processes["server-0"].pid
    listening = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) != group:
                continue
            inodes = {os.readlink(each) for each in list((process / "fd").iterdir()) if each.is_symlink()}
        except (OSError, ProcessLookupError):
            continue
        for table in ("tcp", "tcp6"):
            for line in (process / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                    listening.append(fields[1].partition(":")[0])
    assert listening
    assert set(listening) == {"0100007F"}, "127.0.0.1, as the kernel writes it"


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedFleet]:
    with fake_fleet(tmp_path_factory.mktemp("fake"), replicas=1, behaviour={"server-0": {"seconds": 0.5}}) as fake:
        fake.fleet.wait_for(1)
        yield fake


ENGINES = pytest.mark.parametrize("engine", ["fake", "watched"], ids=["fake", "installed"])


def replica_of(fleet: Fleet) -> Replica:
    (replica,) = fleet._replicas.values()
    return replica


@ENGINES
def test_random_weights_are_not_sampled_from(engine: str, request: pytest.FixtureRequest) -> None:
    fleet: Fleet = request.getfixturevalue(engine).fleet
    client = replica_of(fleet).client
    assert fleet.call(client.status(30.0)) == ("random", None)
    body = {"token_ids": [7], "sampling_params": {"max_tokens": 1}}
    early = ("/resume", "/start_weight_update", "/update_weights", "/finish_weight_update", "/prorl/verify")
    for path in ("/inference/v1/generate", *early):
        with pytest.raises(ServerRefusedError, match=r"HTTP 409: .*(before|random)"):
            fleet.call(client.call(path, body, 30.0))


@ENGINES
def test_another_token_is_refused(engine: str, request: pytest.FixtureRequest) -> None:
    fleet: Fleet = request.getfixturevalue(engine).fleet
    port = int(replica_of(fleet).client._url.rpartition(":")[2])
    stranger = EngineClient("stranger", "127.0.0.1", port, TOKEN[:-1])
    with pytest.raises(ServerRefusedError, match="HTTP 401"):
        fleet.call(stranger.status(30.0))
    fleet.call(stranger.close())


@ENGINES
def test_samples_have_the_form_that_the_client_reads(
    engine: str, request: pytest.FixtureRequest, weights: dict[int, dict[str, Tensor]]
) -> None:
    """With the version that was pushed; a seed gives the same sample, another seed another one."""
    watched: WatchedFleet = request.getfixturevalue(engine)
    report = push(watched, weights, 0)
    assert (report.servers, report.tensors, report.failures) == (("server-0",), len(weights[0]), {})
    assert watched.fleet.call(replica_of(watched.fleet).client.status(30.0)) == ("verified", 0)
    (order,) = some_orders(1, max_tokens=12)
    samples, again = (watched.fleet.submit(order).result(timeout=300) for _ in range(2))
    assert [each.tokens.tolist() for each in samples] == [each.tokens.tolist() for each in again]
    assert len({tuple(each.tokens.tolist()) for each in samples}) > 1
    for sample in samples:
        assert (sample.versions == 0).all()
        assert (sample.logprobs <= 0).all()
        ended = sample.tokens[-1] in ENDS
        assert sample.finish is (FinishReason.STOP if ended else FinishReason.LENGTH)
        assert len(sample.tokens) == 12 or ended
        assert not np.isin(sample.tokens[:-1], ENDS).any()


@ENGINES
def test_a_push_in_the_middle_of_samples_is_named_by_their_tokens(
    engine: str, request: pytest.FixtureRequest, weights: dict[int, dict[str, Tensor]]
) -> None:
    watched: WatchedFleet = request.getfixturevalue(engine)
    (order,) = some_orders(1, max_tokens=LONG)
    for version in range(1, 12):  # until a push comes while samples are decoded; how long that takes is not known
        sampling = watched.fleet.submit(order)
        time.sleep(0.02 * 1.6**version)
        push(watched, weights, version)
        samples = sampling.result(timeout=300)
        assert all((np.diff(each.versions) >= 0).all() for each in samples)
        assert {int(number) for each in samples for number in each.versions} <= {version - 1, version}
        if any(len(set(each.versions.tolist())) == 2 for each in samples):
            return
    raise AssertionError("no sample was interrupted")


def test_samples_after_a_push_are_those_of_the_model(
    watched: WatchedFleet, checkpoint: Path, weights: dict[int, dict[str, Tensor]]
) -> None:
    first = (watched.fleet.version or 0) + 1
    for version in (first, first + 1):
        report = push(watched, weights, version)
        assert report.servers == ("server-0",), report
        assert report.tensors == len(weights[version % 2])
        orders = some_orders(4, max_tokens=12)
        groups = [future.result(timeout=300) for future in [watched.fleet.submit(each) for each in orders]]
        assert {int(each) for group in groups for sample in group for each in sample.versions} == {version}
        assert max(int(sample.tokens.max()) for group in groups for sample in group) < VALID_VOCABULARY
        assert huggingface_gap(checkpoint, weights, orders, groups) < 1e-4
        again = [future.result(timeout=300) for future in [watched.fleet.submit(each) for each in orders]]
        for sample, other in zip(itertools.chain(*groups), itertools.chain(*again), strict=True):
            assert sample.tokens.tolist() == other.tokens.tolist(), "a seed gives the same sample"


def test_samples_go_on_under_new_weights(
    watched: WatchedFleet, checkpoint: Path, weights: dict[int, dict[str, Tensor]]
) -> None:
    """Each token's log-probability is that of the weights that it names, keys and values of old weights forgotten."""
    orders = some_orders(6, max_tokens=LONG)
    first = (watched.fleet.version or 0) + 1
    for attempt in range(10):  # until a push comes while samples are decoded; how long that takes is not known
        version = first + attempt
        futures = [watched.fleet.submit(each) for each in orders]
        time.sleep(0.05 * 1.6**attempt)
        report = push(watched, weights, version)
        groups = [future.result(timeout=300) for future in futures]
        assert report.servers == ("server-0",)
        assert huggingface_gap(checkpoint, weights, orders, groups) < 1e-4
        if any(set(sample.versions.tolist()) == {version - 1, version} for group in groups for sample in group):
            return
    raise AssertionError("no sample was interrupted")


@pytest.mark.slow
def test_a_push_that_arrives_changed_and_the_server_that_follows(
    watched: WatchedFleet, checkpoint: Path, weights: dict[int, dict[str, Tensor]]
) -> None:
    place = watched.fleet.transport.place

    def spoiled(bucket: Any, version: int) -> dict[str, Any]:
        bucket.memory[bucket.manifest.entries[1].offset] ^= 1
        return place(bucket, version)

    first, version = watched.processes["server-0"], (watched.fleet.version or 0) + 1
    watched.fleet.transport.place = spoiled  # type: ignore[method-assign]
    name = list(weights[1])[1]
    with pytest.raises(WeightSyncError, match=rf"server-0: update_weights \(bucket 0\): .*{re.escape(name)} did not"):
        push(watched, weights, version)
    watched.fleet.transport.place = place  # type: ignore[method-assign]
    watched.until(lambda: watched.state("server-0") == "waiting", 900)
    assert first.has_ended
    assert push(watched, weights, version, only_waiting=True).servers == ("server-0.1",)
    orders = some_orders(2, max_tokens=12)
    groups = [future.result(timeout=300) for future in [watched.fleet.submit(each) for each in orders]]
    assert huggingface_gap(checkpoint, weights, orders, groups) < 1e-4


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle(
    watched: WatchedFleet, checkpoint: Path, weights: dict[int, dict[str, Tensor]]
) -> None:
    """Its engine's process ends with it, and its groups are sampled by the server that follows."""
    current = watched.fleet.version or 0
    (replica,) = watched.fleet._replicas.values()
    orders = some_orders(3, max_tokens=LONG)
    futures = [watched.fleet.submit(each) for each in orders]
    watched.until(lambda: replica.working > 0)
    os.kill(replica.process.pid, signal.SIGKILL)
    assert watched.until(lambda: replica.state != "ready") < 10.0
    watched.until(lambda: watched.state("server-0") == "waiting", 900)
    assert alive_in_group(replica.process.pid) == []
    push(watched, weights, current, only_waiting=True)
    groups = [future.result(timeout=300) for future in futures]
    assert {sample.server for group in groups for sample in group} - {replica.name}
    assert huggingface_gap(checkpoint, weights, orders, groups) < 1e-4


@pytest.mark.slow
def test_it_ends_with_its_parent(watched: WatchedFleet) -> None:
    """The last test: its stdin is closed, as it is when the learner's process is gone."""
    (replica,) = watched.fleet._replicas.values()
    stdin = replica.process._process.stdin
    assert stdin is not None
    stdin.close()
    watched.until(lambda: alive_in_group(replica.process.pid) == [], 20)


def alive_in_group(group: int) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == group and "Z" not in (process / "stat").read_text().split()[2]:
                found.append((process / "cmdline").read_text())
        except (OSError, ProcessLookupError):
            continue
    return found
