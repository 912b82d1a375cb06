"""A real vLLM server beside its client: the guard on every route, pushes, and what is sampled after them."""

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
import torch
from helpers.fleets import TOKEN, WatchedFleet
from helpers.rollouts import ENDS, TEMPERATURE, VALID_VOCABULARY, checkpoint_tensors, engine_checkpoint
from torch import Tensor

from prorl_mega.config.servers import ServersConfig
from prorl_mega.errors import WeightSyncError
from prorl_mega.rollout.guard import ROUTES
from prorl_mega.servers.answers import GroupOrder, SampleLimits, VersionedSample
from prorl_mega.servers.fleet import Fleet
from prorl_mega.servers.process import ServerProcess, server_launcher
from prorl_mega.transfer.transport import open_transport

LIMITS = SampleLimits(valid_vocab=VALID_VOCABULARY, end_ids=ENDS)
LONG = 400  # tokens of a sample that a push interrupts
ROLLOUT = {"max_prompt_tokens": 24, "max_response_tokens": LONG, "max_concurrent": 32}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With tied embeddings, the case in which vLLM's own reload leaves the output projection as it was."""
    return engine_checkpoint(tmp_path_factory.mktemp("model"), "qwen2_tied")


@pytest.fixture(scope="module")
def watched(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedFleet]:
    directory = tmp_path_factory.mktemp("servers")
    settings = {
        "token": TOKEN, "model": str(checkpoint), "rollout": ROLLOUT, "precision": "fp32", "seed": 1,
        "address": "127.0.0.1",
    }  # fmt: skip
    # Under load a start takes minutes and a forward pass seconds.
    config = ServersConfig(replicas=1, bucket_mib=1, probe_deadline_s=30.0, lost_deadline_s=1200.0)
    processes: dict[str, ServerProcess] = {}
    lines: list[str] = []
    variables = {"OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "INFO"}
    start = server_launcher(settings, directory, environment=lambda name: variables)

    def launch(name: str) -> ServerProcess:
        processes[name] = start(name)
        return processes[name]

    transport = open_transport("shared_memory", address="127.0.0.1", directory=None, timeout_s=60.0)
    with Fleet(config, launch, transport, token=TOKEN, limits=LIMITS, max_concurrent=32, say=lines.append) as fleet:
        fleet.wait_for(1)
        yield WatchedFleet(fleet, processes, lines)


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> dict[int, dict[str, Tensor]]:
    """The weights of two versions."""
    first = checkpoint_tensors(checkpoint)
    random = torch.Generator().manual_seed(5)
    second = {name: tensor + 0.03 * torch.randn(tensor.shape, generator=random) for name, tensor in first.items()}
    return {0: first, 1: second}


def push(watched: WatchedFleet, weights: dict[int, dict[str, Tensor]], version: int, **how: Any) -> Any:
    return watched.pusher.push(iter(weights[version % 2].items()), version, **how)


def some_orders(groups: int, *, max_tokens: int) -> list[GroupOrder]:
    random = np.random.default_rng(0)
    prompts = [random.integers(10, VALID_VOCABULARY, 4 + 3 * group).astype(np.int32) for group in range(groups)]
    return [
        GroupOrder(
            prompt=prompt, seeds=tuple(range(10 * group, 10 * group + 3)), temperature=TEMPERATURE, top_p=1.0,
            max_tokens=max_tokens,
        )
        for group, prompt in enumerate(prompts)
    ]  # fmt: skip


def huggingface_gap(
    checkpoint: Path,
    weights: dict[int, dict[str, Tensor]],
    orders: list[GroupOrder],
    groups: list[list[VersionedSample]],
) -> float:
    """The largest difference to log-probabilities of Hugging Face's model with the weights of each token's version."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    worst = 0.0
    for version in sorted({int(each) for group in groups for sample in group for each in sample.versions}):
        tensors = weights[version % 2]
        model.load_state_dict({"lm_head.weight": tensors["model.embed_tokens.weight"]} | tensors)
        for order, group in zip(orders, groups, strict=True):
            for sample in group:
                ids = torch.from_numpy(np.concatenate([order.prompt, sample.tokens]).astype(np.int64))
                with torch.no_grad():
                    logits = model(ids[None]).logits[0, len(order.prompt) - 1 : -1, :VALID_VOCABULARY]
                expected = (logits / TEMPERATURE).log_softmax(-1).gather(-1, ids[len(order.prompt) :, None])[:, 0]
                gaps = np.abs(expected.numpy() - sample.logprobs)[sample.versions == version]
                worst = max(worst, float(gaps.max(initial=0.0)))
    return worst


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


def test_random_weights_are_not_sampled_from(watched: WatchedFleet) -> None:
    body = {"token_ids": [7], "sampling_params": {"max_tokens": 1}}
    (replica,) = watched.fleet._replicas.values()
    for path in ("/inference/v1/generate", "/resume", "/start_weight_update", "/prorl/verify"):
        with pytest.raises(Exception, match=r"HTTP 409: .*(before|random)"):
            watched.fleet.call(replica.client.call(path, body, 30.0))


def test_samples_after_a_push_are_those_of_the_model(
    watched: WatchedFleet, checkpoint: Path, weights: dict[int, dict[str, Tensor]]
) -> None:
    for version in (0, 1):
        report = push(watched, weights, version)
        assert report.servers == ("server-0",), report
        assert report.tensors == len(weights[version])
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
    for version in range(2, 12):  # until a push comes while samples are decoded; how long that takes is not known
        futures = [watched.fleet.submit(each) for each in orders]
        time.sleep(0.02 * 1.6**version)
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
    time.sleep(0.5)
    os.kill(replica.process.pid, signal.SIGKILL)
    assert watched.until(lambda: replica.state != "ready") < 10.0
    watched.until(lambda: watched.state("server-0") == "waiting", 900)
    assert alive_in_group(replica.process.pid) == []
    push(watched, weights, current, only_waiting=True)
    groups = [future.result(timeout=300) for future in futures]
    assert {sample.server for group in groups for sample in group} >= {watched.fleet._replicas["server-0"].name}
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
