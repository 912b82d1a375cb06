"""Servers that could not be reached or given weights are refused with what would work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.settings import model_directory, run_config

from prorl_mega.config.schema import Placement
from prorl_mega.errors import ConfigError

BESIDE = "placement=disaggregated"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("placement") / "model")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["servers.address=node7"], r"servers\.address='node7' is no address; .* as 127\.0\.0\.1"),
        (["servers.address=0.0.0.0"], r"servers\.address=0\.0\.0\.0 would be open on every network"),
        (["servers.address='::'"], r"servers\.address=:: would be open on every network"),
        (
            ["servers.address=10.0.0.7"],
            r"=10\.0\.0\.7 with servers\.transport=shared_memory, which needs servers on this machine: 127\.0\.0\.1 "
            r"works, and servers\.transport=gloo, nccl or disk",
        ),
        (
            ["servers.address=10.0.0.7", "servers.transport=cuda_ipc"],
            r"=10\.0\.0\.7 with servers\.transport=cuda_ipc, which needs servers on this machine",
        ),
        (
            ["servers.transport=cuda_ipc", "rollout.tensor=2"],
            r"rollout\.tensor=2 with servers\.transport=cuda_ipc, .*; rollout\.tensor=1 works, and .*=nccl",
        ),
        (
            ["servers.transport=cuda_ipc", "servers.replicas=2", "rollout.gpu_memory_fraction=0.5"],
            r"replicas=2 × rollout\.gpu_memory_fraction=0\.5 of the GPU .* is all of it; less than 1",
        ),
        (
            ["cluster.server_nodes=2", "servers.replicas=3", "servers.transport=gloo"],
            r"servers\.replicas=3 on cluster\.server_nodes=2: as many on each of them; servers\.replicas=2 works",
        ),
        (
            ["cluster.server_nodes=1"],
            r"servers\.transport=shared_memory with cluster\.server_nodes=1: .*=gloo, nccl or disk works",
        ),
        (["servers.transport=disk"], r"servers\.transport=disk needs servers\.directory, which"),
        (
            ["servers.transport=gloo", "servers.directory=weights"],
            r"servers\.directory=weights is for servers\.transport=disk, and the transport is gloo",
        ),
        (["servers.replicas=0"], r"servers\.replicas=0 must be at least 1"),
    ],
)
def test_what_cannot_work_is_refused(model: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(model, BESIDE, *overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["servers.address='::1'"],
        ["servers.address=10.0.0.7", "servers.transport=gloo"],
        ["servers.transport=disk", "servers.directory=weights"],
        ["servers.transport=nccl", "servers.address=10.0.0.7", "rollout.tensor=2", "servers.replicas=4"],
        ["servers.transport=cuda_ipc", "servers.replicas=2", "rollout.gpu_memory_fraction=0.3"],
    ],
)
def test_what_works(model: Path, overrides: list[str]) -> None:
    assert run_config(model, BESIDE, *overrides).placement is Placement.disaggregated


def test_nodes_for_servers_that_do_not_start(model: Path) -> None:
    with pytest.raises(ConfigError, match=r"server_nodes=1 with placement=colocated, which has no servers"):
        run_config(model, "cluster.server_nodes=1")


def test_the_layout_of_servers_does_not_depend_on_the_learner_s_ranks(model: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"rollout\.tensor=2 does not divide .*, and any with placement=disaggregated"
    ):
        run_config(model, "rollout.tensor=2", world_size=1)
    assert run_config(model, BESIDE, "rollout.tensor=2", world_size=1).rollout.tensor == 2
    with pytest.raises(ConfigError, match=r"rollout\.tensor=8 does not divide the model's attention heads"):
        run_config(model, BESIDE, "rollout.tensor=8", world_size=1)


def test_settings_of_servers_that_do_not_start_are_kept(model: Path) -> None:
    config = run_config(model, "servers.address=node7")
    assert (config.placement, config.servers.address) == (Placement.colocated, "node7")


def test_only_servers_sample_while_the_learner_works(model: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"rollout\.staleness=0 samples while the learner works, .*=disaggregated works"
    ):
        run_config(model, "rollout.staleness=0")
    with pytest.raises(ConfigError, match=r"rollout\.staleness=-1 must be at least 0"):
        run_config(model, BESIDE, "rollout.staleness=-1")
    assert run_config(model, BESIDE, "rollout.staleness=2").rollout.staleness == 2
    assert run_config(model, BESIDE).rollout.staleness is None


def test_only_servers_evaluate_while_the_learner_works(model: Path) -> None:
    for others in ((), (BESIDE,)):
        with pytest.raises(
            ConfigError, match=r"beside_training=true needs servers .*disaggregated rollout\.staleness=1 works"
        ):
            run_config(model, "evaluation.beside_training=true", *others)
    assert run_config(
        model, BESIDE, "rollout.staleness=0", "evaluation.beside_training=true"
    ).evaluation.beside_training


def test_what_does_not_go_together_with_exact_agreement_is_refused(model: Path) -> None:
    exact = "rollout.batch_invariant=true"
    with pytest.raises(ConfigError, match=r"speculative_tokens=3 with .*; rollout\.speculative_tokens=0 works"):
        run_config(model, exact, "rollout.speculative_tokens=3")
    for placement in ((), (BESIDE,)):
        with pytest.raises(ConfigError, match=r"rollout\.tensor above 1: .*; rollout\.tensor=1 works"):
            run_config(model, exact, "rollout.tensor=2", *placement, world_size=2)
    assert run_config(model, exact, "rollout.speculative_tokens=0").rollout.batch_invariant


def test_no_setting_holds_the_token(model: Path) -> None:
    from prorl_mega.run.settings import to_plain

    assert not re.search("token(?!_file|s)", str(sorted(to_plain(run_config(model, BESIDE))["servers"])))
