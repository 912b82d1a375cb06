"""The planned time of a step: against sums by hand, and against steps that others have published.

Published: ProRL (arXiv 2505.24864: 16,000 GPU-hours, 2,411 steps), BroRL (arXiv 2510.01180, table 1: hours and steps),
NeMo RL 0.7 (performance summary). Batches and lengths are theirs, as far as they are known; where they are not, tokens
follow from tokens per second. Nothing in `planning/` is fitted to them, so these ratios are what the plan is worth.
"""

from __future__ import annotations

from typing import Any

import pytest

from prorl_mega.config.schema import GpuKind
from prorl_mega.planning.gpu import GPUS, Efficiency
from prorl_mega.planning.rollout_time import Engine, log_normal_lengths
from prorl_mega.planning.shape import ModelShape
from prorl_mega.planning.step_time import StepWork, step_seconds

H100 = GPUS[GpuKind.h100]
QWEN_1P5B = ModelShape(layers=28, hidden=1536, heads=12, kv_heads=2, head_dim=128, ffn=8960, vocab=151936)
QWEN3_30B = ModelShape(
    layers=48, hidden=2048, heads=32, kv_heads=4, head_dim=128, ffn=768, vocab=151936, experts=128, active_experts=8
)
QWEN3_32B = ModelShape(layers=64, hidden=5120, heads=64, kv_heads=8, head_dim=128, ffn=25600, vocab=151936)
QWEN3_235B = ModelShape(
    layers=94, hidden=4096, heads=64, kv_heads=4, head_dim=128, ffn=1536, vocab=151936, experts=128, active_experts=8
)
SMALL: dict[str, Any] = {"shape": QWEN_1P5B, "engine_tensor": 1, "prompt": 300, "forward_passes": 2}
NEMO: dict[str, Any] = {
    "sampled": 2048, "trained": 2048, "prompt": 150, "mean_length": 3150, "longest": 4096, "forward_passes": 2,
}  # fmt: skip
PUBLISHED = {  # seconds, the work, and the planned time as a share of it
    "ProRL v1, 32 H100": (
        6.6 * 3600 / 32, 0.25,
        SMALL | {"learner_gpus": 32, "engine_gpus": 32, "sampled": 9752, "trained": 4096, "mean_length": 5000,
                 "longest": 8192},
    ),
    "BroRL, N=512, 64 H100": (
        55 * 60, 0.47,
        SMALL | {"learner_gpus": 64, "engine_gpus": 64, "sampled": 104_900, "trained": 65_536, "mean_length": 6500,
                 "longest": 16_384},
    ),
    "BroRL's ProRL arm, 64 H100": (
        15 * 60, 0.38,
        SMALL | {"learner_gpus": 64, "engine_gpus": 64, "sampled": 19_500, "trained": 8192, "mean_length": 6500,
                 "longest": 16_384},
    ),
    "Qwen3-30B-A3B, 32 H100": (
        171, 1.0, NEMO | {"shape": QWEN3_30B, "learner_gpus": 32, "engine_gpus": 32, "engine_tensor": 2}
    ),
    "Qwen3-30B-A3B, one step ahead": (
        141, 1.6, NEMO | {"shape": QWEN3_30B, "learner_gpus": 16, "engine_gpus": 16, "engine_tensor": 2, "ahead": True}
    ),
    "Qwen3-32B, 32 H100": (
        323, 1.2, NEMO | {"shape": QWEN3_32B, "learner_gpus": 32, "engine_gpus": 32, "engine_tensor": 4}
    ),
    "Qwen3-235B-A22B, 128 H100": (
        367, 0.63,
        NEMO | {"shape": QWEN3_235B, "learner_gpus": 128, "engine_gpus": 128, "engine_tensor": 16, "sampled": 512,
                "trained": 512, "mean_length": 5650, "longest": 8192, "pipeline": 8},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_steps(name: str) -> None:
    """Within 2 for NeMo RL. ProRL's own runs, with verl in 2025, took 2.1 to 4 times as long as is planned."""
    published, share, work = PUBLISHED[name]
    planned = step_seconds(StepWork(gpu=H100, places=1024, **work))["step"]
    print(f"{name}: planned {planned:.0f} s, published {published:.0f} s")
    assert planned / published == pytest.approx(share, rel=0.05)
    if "Qwen3" in name:
        assert 0.5 <= planned / published <= 2.0


@pytest.mark.parametrize(
    ("shape", "total", "active"),
    [(QWEN_1P5B, 1.78e9, 1.54e9), (QWEN3_30B, 30.5e9, 3.0e9), (QWEN3_32B, 32.8e9, 32.0e9), (QWEN3_235B, 235e9, 21.5e9)],
)
def test_sizes(shape: ModelShape, total: float, active: float) -> None:
    assert shape.parameters == pytest.approx(total, rel=0.01)
    assert shape.active == pytest.approx(active, rel=0.02)


def test_a_batch_reads_the_experts_that_it_meets() -> None:
    shape = QWEN3_30B
    one, all_of_them = shape.read_bytes(1), shape.read_bytes(100_000)
    assert one == pytest.approx(2 * (shape.attention + shape.head + 8 * shape.expert))
    assert all_of_them == pytest.approx(2 * (shape.attention + shape.head + 128 * shape.expert))


def engine(**changes: Any) -> Engine:
    rates = Efficiency(decode_step_s=1.0, decode_bandwidth=1e9, prefill=1e9)  # a second a pass, and nothing else
    settings: dict[str, Any] = {"shape": QWEN_1P5B, "gpu": H100, "tensor": 1, "places": 2, "efficiency": rates}
    return Engine(**(settings | changes))


def test_places_are_taken_as_they_become_free() -> None:
    """Two places: 5 and 2 begin; 4 follows 2 and ends at 6; 1 follows 5 and ends at 6."""
    assert engine().ends_s([5, 2, 4, 1], prompt=0) == pytest.approx([2.0, 5.0, 6.0, 6.0], abs=1e-3)
    assert engine(places=4).ends_s([5, 2, 4, 1], prompt=0) == pytest.approx([1.0, 2.0, 4.0, 5.0], abs=1e-3)
    assert engine(places=1).ends_s([5, 2], prompt=0) == pytest.approx([5.0, 7.0], abs=1e-3)


def test_the_sum_over_passes_is_that_of_single_passes() -> None:
    found = Engine(shape=QWEN_1P5B, gpu=H100, tensor=1, places=8)
    lengths, prompt = [40, 7, 23], 100
    now, context = 3 * found.prefill_s(prompt), 3 * prompt
    left = list(lengths)
    while any(left):
        batch = sum(each > 0 for each in left)
        now += found.fixed_s(batch) + found.token_s * context
        context += batch
        left = [max(0, each - 1) for each in left]
        context -= sum(prompt + length for each, length in zip(left, lengths, strict=True) if each == 0 and length)
        lengths = [length if each else 0 for each, length in zip(left, lengths, strict=True)]
    assert found.ends_s([40, 7, 23], prompt)[-1] == pytest.approx(now, rel=1e-9)


@pytest.mark.parametrize(("mean", "longest"), [(5000, 8192), (400, 16_384), (100, 4096)])
def test_lengths_have_the_mean_that_was_asked_for(mean: float, longest: int) -> None:
    lengths = log_normal_lengths(4000, mean=mean, longest=longest)
    assert sum(lengths) / len(lengths) == pytest.approx(mean, rel=0.01)
    assert max(lengths) <= longest
    assert len(set(lengths[:50])) > 20, "in a scattered order"


def test_sampling_ahead_hides_the_shorter_part() -> None:
    work: dict[str, Any] = dict(PUBLISHED["Qwen3-30B-A3B, one step ahead"][2])
    seconds = step_seconds(StepWork(gpu=H100, places=1024, **work))
    learner = seconds["reference"] + seconds["update"]
    assert seconds["step"] == pytest.approx(max(seconds["rollout"], learner) + seconds["push"] + seconds["rest"])
