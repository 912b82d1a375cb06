"""GPUs by their data sheets, and the shares of them that programs reach."""

from __future__ import annotations

from dataclasses import dataclass

from prorl_mega.config.schema import GpuKind


@dataclass(kw_only=True, slots=True, frozen=True)
class Gpu:
    """Rates per second. Sources: NVIDIA's data sheets of the SXM variants, dense bf16."""

    flops: float
    bandwidth: float  # bytes of its own memory
    memory: float  # bytes
    link: float  # bytes to GPUs of the same node, one way
    network: float  # bytes to other nodes, one way


GPUS = {
    GpuKind.h100: Gpu(flops=989e12, bandwidth=3.35e12, memory=80e9, link=450e9, network=50e9),
    GpuKind.h200: Gpu(flops=989e12, bandwidth=4.8e12, memory=141e9, link=450e9, network=50e9),
}


@dataclass(kw_only=True, slots=True, frozen=True)
class Efficiency:
    """Assumptions, each the middle of what public reports of such programs say; none is fitted to a step time."""

    decode_bandwidth: float = 0.6  # of the memory's, reading weights and cache
    prefill: float = 0.5  # of the peak
    forward: float = 0.4  # of the peak, log-probabilities
    update: float = 0.35  # of the peak: 0.31 to 0.40 are reported for models of 30B on Hopper
    decode_step_s: float = 0.006  # scheduler, sampler and launches of one forward pass
    all_reduce_s: float = 15e-6  # latency of one, two per layer with tensor parallelism
    transfer: float = 0.5  # of a link, pushing weights
    rest_s: float = 10.0  # of a step: last verdicts, packing, sleep and wake


TYPICAL = Efficiency()
