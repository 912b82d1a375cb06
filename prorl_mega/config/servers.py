"""The settings of vLLM servers beside the learner: how many, where, and how long anything may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from prorl_mega.config.bounds import bounded


class PauseMode(StrEnum):
    """The fate of samples that are being decoded when new weights arrive."""

    keep = "keep"  # they stop, and go on under the new weights from the token that they have reached
    wait = "wait"  # they are finished under the old weights first, and nothing new begins
    abort = "abort"  # they are given up and sampled again under the new weights


class TransportName(StrEnum):
    """The way of weights to the servers."""

    shared_memory = "shared_memory"  # servers on this machine
    gloo = "gloo"  # sockets, also between machines
    cuda_ipc = "cuda_ipc"  # servers on the first rank's own GPU
    nccl = "nccl"  # GPUs to GPUs
    disk = "disk"  # safetensors files, for debugging and for other engines


@dataclass(kw_only=True, slots=True)
class ServersConfig:
    """vLLM servers beside the learner. Seconds are wall-clock time."""

    replicas: int = bounded(1, ge=1, le=1024)
    address: str = "127.0.0.1"  # that servers listen on; nothing on the way is encrypted
    transport: TransportName = TransportName.shared_memory
    directory: str | None = None  # for transport=disk, seen by the learner and all servers
    step_options: dict[str, str] = field(default_factory=dict)  # of srun, with cluster.server_nodes: {mem: "0"}
    bucket_mib: int = bounded(256, ge=1)  # most that a push holds at once, twice: one bucket travels, one is gathered
    pause: PauseMode = PauseMode.keep
    # A server that does not answer two questions in a row, or breaks off or garbles an answer, gets no work until it
    # has answered `good_probes` in a row.
    probe_s: float = bounded(1.0, gt=0, le=3600)  # between two questions
    probe_deadline_s: float = bounded(3.0, gt=0, le=3600)  # for an answer; longer than the longest forward pass
    good_probes: int = bounded(3, ge=1)
    strikes: int = bounded(2, ge=1)  # answers that cannot be true until a server is replaced
    replace_after_s: float = bounded(60.0, ge=0, le=86400)  # without work until it is replaced
    start_deadline_s: float = bounded(900.0, gt=0, le=86400)
    max_failed_starts: int = bounded(3, ge=1)  # in a row of one replica; then it stays away
    sample_deadline_s: float = bounded(1800.0, gt=0, le=86400)  # for one sample
    step_deadline_s: float = bounded(120.0, gt=0, le=86400)  # for each step of a push
    pause_deadline_s: float = bounded(1800.0, gt=0, le=86400)  # with pause=wait: the longest sample
    lost_deadline_s: float = bounded(600.0, gt=0, le=86400)  # without any server until the run ends with an error
    group_attempts: int = bounded(4, ge=1)  # servers that may fail over one group
