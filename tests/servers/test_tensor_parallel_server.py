"""A server of two tensor-parallel ranks, which gets its weights through sockets."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.rollouts import engine_checkpoint
from helpers.vllm_fleets import huggingface_gap, real_fleet, some_orders, two_versions

from prorl_mega.config.servers import TransportName

pytestmark = pytest.mark.slow


def test_both_ranks_receive_and_compute_the_model(tmp_path: Path) -> None:
    checkpoint = engine_checkpoint(tmp_path / "model", "llama3")
    weights = two_versions(checkpoint)
    orders = some_orders(3, max_tokens=12)
    with real_fleet(tmp_path, checkpoint, transport=TransportName.gloo, tensor=2) as watched:
        for version in (0, 1):
            report = watched.pusher.push(iter(weights[version].items()), version)
            assert report.servers == ("server-0",), report
            groups = [future.result(timeout=300) for future in [watched.fleet.submit(each) for each in orders]]
            assert {int(each) for group in groups for sample in group for each in sample.versions} == {version}
            assert huggingface_gap(checkpoint, weights, orders, groups) < 1e-4
