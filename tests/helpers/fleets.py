"""A fleet of fake servers, what it says, and ways to disturb it."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers.fake_engine import ENDS, VOCABULARY
from torch import Tensor

from prorl_mega.config.servers import ServersConfig, TransportName
from prorl_mega.servers.answers import GroupOrder, SampleLimits
from prorl_mega.servers.fleet import Fleet
from prorl_mega.servers.process import ServerProcess, server_launcher
from prorl_mega.servers.push import WeightPush
from prorl_mega.transfer.transport import HOST_TRANSPORTS, open_transport

TOKEN = "token-of-this-job-0123456789-abcdef"
LIMITS = SampleLimits(valid_vocab=VOCABULARY, end_ids=ENDS)
FAKE = (sys.executable, "-P", str(Path(__file__).with_name("fake_engine.py")))
QUICK: dict[str, Any] = {
    "probe_s": 0.1, "probe_deadline_s": 2.0, "good_probes": 2, "replace_after_s": 3600.0, "step_deadline_s": 30.0,
    "sample_deadline_s": 60.0, "lost_deadline_s": 60.0, "start_deadline_s": 60.0, "bucket_mib": 1,
}  # fmt: skip


class WatchedFleet:
    """A fleet with its pushes, its processes by name, and the lines that it said."""

    def __init__(self, fleet: Fleet, processes: dict[str, ServerProcess], lines: list[str]) -> None:
        self.fleet, self.processes, self.lines = fleet, processes, lines
        self.pusher = WeightPush(fleet)

    def behave(self, name: str, **behaviour: Any) -> dict[str, Any]:
        """Tell a fake how to behave; what it has been asked so far."""
        replica = next(each for each in self.fleet._replicas.values() if each.name == name)
        request = urllib.request.Request(
            f"{replica.client._url}/fake", data=json.dumps(behaviour).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)

    def until(self, happened: Callable[[], bool], seconds: float = 30.0) -> float:
        """Wait for something; how long it took."""
        began = time.monotonic()
        while not happened():
            assert time.monotonic() - began < seconds, (self.fleet.summary(), self.lines)
            time.sleep(0.02)
        return time.monotonic() - began

    def state(self, name: str) -> str:
        return self.fleet.summary().get(name, {}).get("state", "none")


@contextmanager
def fake_fleet(
    directory: Path, *, behaviour: dict[str, dict[str, Any]] | None = None, max_concurrent: int = 64, **changes: Any
) -> Iterator[WatchedFleet]:
    """Fake servers that have started; `behaviour` by name, from the beginning."""
    config = ServersConfig(**(QUICK | {"replicas": 2} | changes))
    lines: list[str] = []
    processes: dict[str, ServerProcess] = {}

    def launch(name: str) -> ServerProcess:
        settings = {"token": TOKEN, "address": config.address, "behaviour": (behaviour or {}).get(name, {})}
        processes[name] = server_launcher(settings, directory, command=lambda name: FAKE)(name)
        return processes[name]

    transport = open_transport(
        config.transport, address=config.address, directory=directory / "weights", timeout_s=20.0
    )
    with Fleet(
        config, launch, transport, token=TOKEN, limits=LIMITS, max_concurrent=max_concurrent, say=lines.append
    ) as fleet:
        yield WatchedFleet(fleet, processes, lines)


def some_weights(seed: int = 0, *, largest: int = 300_000) -> dict[str, Tensor]:
    """Tensors of several buckets of a MiB: many small ones, one that needs a bucket of its own, transposed and half."""
    random = torch.Generator().manual_seed(seed)
    weights = {f"layers.{layer}.weight": torch.randn(300, 200, generator=random) for layer in range(12)}
    weights["embedding.weight"] = torch.randn(largest, generator=random)
    weights["transposed.weight"] = torch.randn(31, 17, generator=random).T
    weights["half.bias"] = torch.randn(5, generator=random).bfloat16()
    weights["scalar"] = torch.tensor(float(seed))
    return weights


def order(first: int, samples: int = 4, *, tokens: int = 6) -> GroupOrder:
    seeds = tuple(range(100 * first, 100 * first + samples))
    return GroupOrder(
        prompt=np.array([7, 8, first % 200], dtype=np.int32), seeds=seeds, temperature=1.0, top_p=1.0, max_tokens=tokens
    )


TRANSPORTS = tuple(map(TransportName, HOST_TRANSPORTS))
