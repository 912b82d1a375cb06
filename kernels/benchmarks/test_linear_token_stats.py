"""Chunked against eager torch with full logits, on a CPU.

    pytest kernels/benchmarks --benchmark-group-by=param:shape,param:phase

Phases: forward without gradients (old and reference log-probs), forward and backward of the log-prob, the same with
entropy, and the log-prob's with half of the tokens inactive (zero advantage). Every cell checks its result first. On a
machine with other work, OMP_NUM_THREADS=1 and --benchmark-timer=time.process_time give the steadier numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from prorl_kernels.linear_token_stats import TokenStats, linear_token_stats

SHAPES = {  # tokens, width, vocabulary
    "16384x256x100": (16384, 256, 100),  # the demo on a CPU
    "1024x256x151936": (1024, 256, 151936),
    "512x896x151936": (512, 896, 151936),  # Qwen2.5-0.5B
}
PHASES = {  # gradient through (log-prob, entropy), share of active tokens
    "forward": None,
    "logprob": (True, False, 1.0),
    "logprob+entropy": (True, True, 1.0),
    "half": (True, False, 0.5),
}


def eager(hidden: Tensor, weight: Tensor, targets: Tensor) -> TokenStats:
    logprobs = torch.log_softmax(hidden @ weight.t(), -1)
    return TokenStats(logprobs.gather(1, targets[:, None]).squeeze(1), -(logprobs.exp() * logprobs).sum(-1))


PROVIDERS: dict[str, Callable[[Tensor, Tensor, Tensor], TokenStats]] = {"eager": eager, "chunked": linear_token_stats}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_speed(benchmark: Any, provider: str, phase: str, shape: str) -> None:
    tokens, width, vocab = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator).requires_grad_()
    weight = (torch.randn(vocab, width, generator=generator) * 4 / math.sqrt(width)).requires_grad_()
    targets = torch.randint(0, vocab, (tokens,), generator=generator)
    compute = PROVIDERS[provider]

    def forward() -> TokenStats:
        with torch.no_grad():
            return compute(hidden, weight, targets)

    def train() -> tuple[Tensor, ...]:
        passes = PHASES[phase]
        assert passes is not None
        through_logprob, through_entropy, active = passes
        upstream = torch.randn(tokens, generator=generator) * (torch.rand(tokens, generator=generator) < active)
        stats = compute(hidden, weight, targets)
        loss = through_logprob * (stats.logprob @ upstream)
        if through_entropy:
            loss = loss + stats.entropy @ upstream
        return torch.autograd.grad(loss, (hidden, weight))

    torch.testing.assert_close(
        compute(hidden[:8], weight, targets[:8]),
        eager(hidden[:8].double(), weight.double(), targets[:8]),
        check_dtype=False,
        rtol=0,
        atol=1e-4,
    )
    product = tokens * vocab * width * 2 / 1e9
    benchmark.extra_info["useful_gflop"] = product if phase == "forward" else 3 * product
    benchmark.extra_info["threads"] = torch.get_num_threads()
    benchmark.pedantic(forward if phase == "forward" else train, rounds=3, warmup_rounds=1)
