"""The engines of a job, where its settings place them: in the learner's ranks, or as servers beside them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from prorl_mega.config.schema import Placement, RolloutConfig, RunConfig
from prorl_mega.config.servers import TransportName
from prorl_mega.distributed.launch import address_of_rank_0, read_launch
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError
from prorl_mega.fleet_rollout import FleetRollout, Stream
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.rollout.engine import VllmRollout
from prorl_mega.rollout.vllm_version import refuse_untested
from prorl_mega.servers.answers import SampleLimits
from prorl_mega.servers.fleet import Fleet
from prorl_mega.servers.process import server_launcher
from prorl_mega.servers.step import step_commands
from prorl_mega.transfer.transport import open_transport

LOGS = "servers"
"""The folder of servers' logs in a run's directory."""


def ranks_per_engine(config: RunConfig, world_size: int) -> int:
    """The ranks that drive an engine together; all servers are one engine, of all ranks."""
    return world_size if config.placement is Placement.disaggregated else config.rollout.tensor


def decoded_at_once(config: RunConfig) -> int:
    """The sequences that one such engine decodes at once."""
    servers = config.servers.replicas if config.placement is Placement.disaggregated else 1
    return servers * config.rollout.max_concurrent


@contextlib.contextmanager
def starting_servers(
    config: RunConfig,
    ranks: Ranks,
    tokenizer: Tokenizer,
    directory: Path | None,
    say: Callable[[str], None],
    *,
    max_response_tokens: int,
) -> Iterator[Fleet | None]:
    """Servers that start while the caller does something else. Leaving it ends them. Collective.

    They belong to the first rank: None on the others, and where engines are in the learner's ranks. Their logs stand
    in `directory`; without one they are gone at the end. Raises ConfigError where there are too few GPUs, and
    RolloutError, wherever the engines are, for a vLLM that this project is not tested with.
    """
    refuse_untested()
    fleet = None
    with contextlib.ExitStack() as ending:
        if config.placement is Placement.disaggregated:
            with ranks.raise_on_all_ranks("starting servers"):
                if ranks.is_first:
                    kept = directory or Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="prorl_mega-")))
                    fleet = ending.enter_context(_fleet(config, kept / LOGS, tokenizer, max_response_tokens, say))
        yield fleet


def start_rollout(
    config: RunConfig,
    tokenizer: Tokenizer,
    ranks: Ranks,
    fleet: Fleet | None,
    policy: Callable[[], Stream],
    *,
    max_response_tokens: int,
) -> VllmRollout | FleetRollout:
    """This rank's part of an engine, without weights; `policy` is what it will be given. Collective.

    With `starting_servers` it waits until the first of them is there; others get work when they come.
    """
    rollout = _for_answers_of(config, max_response_tokens)
    if config.placement is Placement.disaggregated:
        with ranks.raise_on_all_ranks("waiting for the first server"):
            if fleet is not None:
                fleet.wait_for(1)
        return FleetRollout(fleet, ranks, config=rollout, valid_vocab=len(tokenizer), policy=policy)
    return VllmRollout(
        Path(config.model.path),
        rollout,
        precision=config.model.precision,
        valid_vocab=len(tokenizer),
        end_ids=tokenizer.end_ids,
        seed=config.seed,
    )


def _for_answers_of(config: RunConfig, max_response_tokens: int) -> RolloutConfig:
    return dataclasses.replace(config.rollout, max_response_tokens=max_response_tokens)


def _fleet(
    config: RunConfig, logs: Path, tokenizer: Tokenizer, max_response_tokens: int, say: Callable[[str], None]
) -> Fleet:
    servers = config.servers
    token = secrets.token_urlsafe(32)  # of this start alone; it stands in no file
    settings = {
        "token": token,
        "model": config.model.path,
        "rollout": dataclasses.asdict(_for_answers_of(config, max_response_tokens)),
        "precision": config.model.precision.value,
        "seed": config.seed,
        "address": servers.address,
    }
    directory = None if servers.directory is None else Path(servers.directory)
    address = servers.address
    if config.cluster.server_nodes:
        address = settings["learner"] = address_of_rank_0(os.environ)
        commands = step_commands(servers, config.cluster, config.rollout.tensor, os.environ)
        launcher = server_launcher(settings, logs, command=commands)
    else:
        launcher = server_launcher(settings, logs, environment=_devices(config))
    transport = open_transport(
        servers.transport.value, address=address, directory=directory, timeout_s=servers.step_deadline_s
    )
    return Fleet(
        servers,
        launcher,
        transport,
        token=token,
        limits=SampleLimits(valid_vocab=len(tokenizer), end_ids=tuple(tokenizer.end_ids)),
        max_concurrent=config.rollout.max_concurrent,
        workers=config.rollout.tensor,
        say=say,
    )


def _devices(config: RunConfig) -> Callable[[str], Mapping[str, str]]:
    """The variables that give each server, by its name, GPUs behind those of the learner's ranks, or with CUDA IPC that
    of the first. Raises ConfigError where there are too few."""
    if not torch.cuda.is_available():
        return lambda name: {}
    size, learner = config.rollout.tensor, read_launch(os.environ).local_world_size
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = listed.split(",") if listed else [str(each) for each in range(torch.cuda.device_count())]
    if config.servers.transport is TransportName.cuda_ipc:
        return lambda name: {"CUDA_VISIBLE_DEVICES": visible[0]}
    wanted = config.servers.replicas * size
    if learner + wanted > len(visible):
        raise ConfigError(
            f"servers.replicas={config.servers.replicas} × rollout.tensor={size} = {wanted} GPUs beside the {learner} "
            f"of the learner's ranks on this machine, and {len(visible)} are visible; fewer ranks or servers work, or "
            "placement=colocated or servers.transport=cuda_ipc, which share GPUs"
        )

    def variables(name: str) -> Mapping[str, str]:
        place = int(name.removeprefix("server-").partition(".")[0])
        first = learner + place * size
        return {"CUDA_VISIBLE_DEVICES": ",".join(visible[first : first + size])}

    return variables
