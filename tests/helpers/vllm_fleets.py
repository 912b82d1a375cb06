"""A fleet of real vLLM servers on a tiny model, and Hugging Face's opinion of what they sampled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from helpers.fleets import TOKEN, WatchedFleet
from helpers.rollouts import ENDS, TEMPERATURE, VALID_VOCABULARY, checkpoint_tensors
from torch import Tensor

from prorl_mega.config.servers import ServersConfig, TransportName
from prorl_mega.servers.answers import GroupOrder, SampleLimits, VersionedSample
from prorl_mega.servers.fleet import Fleet
from prorl_mega.servers.process import ServerProcess, server_launcher
from prorl_mega.transfer.transport import open_transport

LIMITS = SampleLimits(valid_vocab=VALID_VOCABULARY, end_ids=ENDS)
LONG = 400  # tokens of a sample that a push interrupts


@contextmanager
def real_fleet(
    directory: Path, checkpoint: Path, *, transport: TransportName = TransportName.shared_memory, tensor: int = 1
) -> Iterator[WatchedFleet]:
    """One server that has started, of `tensor` ranks; its log has vLLM's table of routes."""
    settings = {
        "token": TOKEN, "model": str(checkpoint), "precision": "fp32", "seed": 1, "address": "127.0.0.1",
        "rollout": {"max_prompt_tokens": 24, "max_response_tokens": LONG, "max_concurrent": 32, "tensor": tensor},
    }  # fmt: skip
    # Under load a start takes minutes and a forward pass seconds.
    config = ServersConfig(replicas=1, bucket_mib=1, probe_deadline_s=30.0, lost_deadline_s=1200.0, transport=transport)
    processes: dict[str, ServerProcess] = {}
    lines: list[str] = []
    variables = {"OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "INFO"}
    start = server_launcher(settings, directory, environment=lambda name: variables)

    def launch(name: str) -> ServerProcess:
        processes[name] = start(name)
        return processes[name]

    opened = open_transport(transport, address="127.0.0.1", directory=directory / "weights", timeout_s=300.0)
    with Fleet(
        config, launch, opened, token=TOKEN, limits=LIMITS, max_concurrent=32, workers=tensor, say=lines.append
    ) as fleet:
        fleet.wait_for(1)
        yield WatchedFleet(fleet, processes, lines)


def two_versions(checkpoint: Path) -> dict[int, dict[str, Tensor]]:
    """The weights of even and of odd versions."""
    first = checkpoint_tensors(checkpoint)
    random = torch.Generator().manual_seed(5)
    second = {name: tensor + 0.03 * torch.randn(tensor.shape, generator=random) for name, tensor in first.items()}
    return {0: first, 1: second}


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
