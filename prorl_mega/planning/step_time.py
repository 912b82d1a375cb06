"""The seconds of a training step by phase, from the sizes of the model and of the machine."""

from __future__ import annotations

from dataclasses import dataclass

from prorl_mega.planning.gpu import TYPICAL, Efficiency, Gpu
from prorl_mega.planning.rollout_time import Engine, log_normal_lengths
from prorl_mega.planning.shape import ModelShape


@dataclass(kw_only=True, slots=True, frozen=True)
class StepWork:
    """The work of one step on one machine."""

    shape: ModelShape
    gpu: Gpu
    learner_gpus: int
    engine_gpus: int  # the same ones where they are colocated
    engine_tensor: int
    places: int  # sequences of an engine at a time, at most
    sampled: int  # answers
    trained: int  # of them
    prompt: int  # tokens
    mean_length: float  # tokens of an answer
    longest: int
    forward_passes: int = 1  # over what is trained: old log-probabilities, reference
    recompute: bool = False
    tensor: int = 1  # of the learner
    pipeline: int = 1
    microbatches: int = 8
    memory_share: float = 0.6  # of a GPU, for an engine
    ahead: bool = False  # engines on GPUs of their own sample for the next step meanwhile
    efficiency: Efficiency = TYPICAL


def step_seconds(work: StepWork) -> dict[str, float]:
    """Seconds by phase; `step` is the whole."""
    rates, shape = work.efficiency, work.shape
    engine = _engine(work)
    engines = max(1, work.engine_gpus // work.engine_tensor)
    each = -(-work.sampled // engines)
    lengths = log_normal_lengths(each * (3 if work.ahead else 1), mean=work.mean_length, longest=work.longest)
    ends = engine.ends_s(lengths, work.prompt)
    rollout = ends[-1] if not work.ahead else ends[2 * each - 1] - ends[each - 1]  # in the middle: no tail, no start
    mean = sum(lengths) / len(lengths) + work.prompt
    tokens = work.trained * mean
    forward = shape.forward_flops(tokens, mean / 2) / (work.learner_gpus * work.gpu.flops)
    bubble = (work.microbatches + work.pipeline - 1) / work.microbatches
    exchange = _all_reduces_s(work, tokens)
    reference = work.forward_passes * (forward / rates.forward + exchange) * bubble
    update = (4 if work.recompute else 3) * (forward / rates.update + exchange) * bubble
    push = 2 * shape.parameters / work.engine_tensor / (work.gpu.link * rates.transfer)
    if work.ahead:
        push = 2 * shape.parameters / (work.gpu.network * rates.transfer)
    learner = reference + update
    whole = (max(rollout, learner) if work.ahead else rollout + learner) + push + rates.rest_s
    return {"rollout": rollout, "reference": reference, "update": update, "push": push, "rest": rates.rest_s,
            "step": whole}  # fmt: skip


def _all_reduces_s(work: StepWork, tokens: float) -> float:
    """Seconds of tensor parallelism's exchanges in a forward pass: two of `[tokens, hidden]` per layer, which nothing
    hides, over the network where a group is larger than a node of eight."""
    if work.tensor == 1:
        return 0.0
    replicas = work.learner_gpus / (work.tensor * work.pipeline)
    rate = work.gpu.link if work.tensor <= 8 else work.gpu.network
    sent = 2 * 2 * work.shape.hidden * 2 * (work.tensor - 1) / work.tensor  # bytes of a token and layer
    return tokens / replicas * work.shape.layers / work.pipeline * sent / rate


def _engine(work: StepWork) -> Engine:
    """One engine, with as many places as its cache has room for whole answers."""
    shape = work.shape
    room = work.memory_share * work.gpu.memory * work.engine_tensor - 2 * shape.parameters
    fitting = int(room / (shape.kv_bytes * (work.prompt + work.mean_length)))
    places = max(1, min(work.places, fitting))
    return Engine(shape=shape, gpu=work.gpu, tensor=work.engine_tensor, places=places, efficiency=work.efficiency)
