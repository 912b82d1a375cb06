"""Refuses servers that could not be reached or given weights."""

from __future__ import annotations

import ipaddress

from prorl_mega.config.schema import Placement, RunConfig
from prorl_mega.config.servers import ServersConfig, TransportName

_LOCAL = (TransportName.shared_memory, TransportName.cuda_ipc)  # for servers of the learner's machine


def placement_problems(config: RunConfig) -> list[str]:
    """The mistakes in `placement` and `servers`, with what would work. Settings of servers that do not start are kept
    as they are: a run may go back and forth between placements."""
    if config.placement is Placement.colocated:
        return [
            *_own_nodes_problems(config),
            *_staleness_problems(config),
            *_beside_problems(config),
            *_speculation_problems(config),
        ]
    return [
        *_beside_problems(config),
        *_speculation_problems(config),
        *_address_problems(config.servers),
        *_directory_problems(config.servers),
        *_one_gpu_problems(config),
        *_own_nodes_problems(config),
    ]


def _speculation_problems(config: RunConfig) -> list[str]:
    rollout = config.rollout
    if not (rollout.batch_invariant and rollout.speculative_tokens):
        return []
    return [
        f"rollout.speculative_tokens={rollout.speculative_tokens} with rollout.batch_invariant=true: log-probabilities "
        "of guessed tokens are made in another way; rollout.speculative_tokens=0 works, or "
        "rollout.batch_invariant=false"
    ]


def _beside_problems(config: RunConfig) -> list[str]:
    if not config.evaluation.beside_training or config.rollout.staleness is not None:
        return []
    return [
        "evaluation.beside_training=true needs servers that sample while the learner works: "
        "placement=disaggregated rollout.staleness=1 works, or evaluation.beside_training=false"
    ]


def _staleness_problems(config: RunConfig) -> list[str]:
    if config.rollout.staleness is None:
        return []
    return [
        f"rollout.staleness={config.rollout.staleness} samples while the learner works, and placement=colocated has "
        "engines in the learner's own ranks; placement=disaggregated works, or rollout.staleness=null"
    ]


def _address_problems(servers: ServersConfig) -> list[str]:
    try:
        address = ipaddress.ip_address(servers.address)
    except ValueError:
        return [
            f"servers.address={servers.address[:100]!r} is no address; servers listen on an IP address of this "
            "machine, as 127.0.0.1"
        ]
    if address.is_unspecified or address.is_multicast:
        return [
            f"servers.address={servers.address} would be open on every network; name one address of this machine, as "
            "127.0.0.1"
        ]
    if servers.transport in _LOCAL and not address.is_loopback:
        return [
            f"servers.address={servers.address} with servers.transport={servers.transport}, which needs servers on "
            "this machine: 127.0.0.1 works, and servers.transport=gloo, nccl or disk with addresses of a network"
        ]
    return []


def _own_nodes_problems(config: RunConfig) -> list[str]:
    nodes, replicas, transport = config.cluster.server_nodes, config.servers.replicas, config.servers.transport
    if not nodes:
        return []
    if config.placement is Placement.colocated:
        return [
            f"cluster.server_nodes={nodes} with placement=colocated, which has no servers; placement=disaggregated "
            "works, or cluster.server_nodes=0"
        ]
    problems = []
    if transport in _LOCAL:
        problems.append(
            f"servers.transport={transport} with cluster.server_nodes={nodes}: servers are on other machines than the "
            "learner; servers.transport=gloo, nccl or disk works"
        )
    if replicas % nodes:
        problems.append(
            f"servers.replicas={replicas} on cluster.server_nodes={nodes}: as many on each of them; "
            f"servers.replicas={max(1, replicas // nodes) * nodes} works"
        )
    return problems


def _one_gpu_problems(config: RunConfig) -> list[str]:
    if config.servers.transport is not TransportName.cuda_ipc:
        return []
    replicas, fraction = config.servers.replicas, config.rollout.gpu_memory_fraction
    problems = []
    if config.rollout.tensor > 1:
        problems.append(
            f"rollout.tensor={config.rollout.tensor} with servers.transport=cuda_ipc, which has all servers on the "
            "first rank's GPU; rollout.tensor=1 works, and servers.transport=nccl with a GPU for each"
        )
    if replicas * fraction >= 1:
        problems.append(
            f"servers.replicas={replicas} × rollout.gpu_memory_fraction={fraction:g} of the GPU that "
            "servers.transport=cuda_ipc has them share with the learner is all of it; less than 1 in all works"
        )
    return problems


def _directory_problems(servers: ServersConfig) -> list[str]:
    on_disk = servers.transport is TransportName.disk
    if on_disk and not servers.directory:
        return [
            "servers.transport=disk needs servers.directory, which the learner and all servers see; "
            "servers.transport=shared_memory needs none"
        ]
    if servers.directory and not on_disk:
        return [
            f"servers.directory={servers.directory} is for servers.transport=disk, and the transport is "
            f"{servers.transport}; leave one of them out"
        ]
    return []
