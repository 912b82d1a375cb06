"""Losses, gradients and log-probabilities do not depend on how the model and the batch are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.distributed import run_ranks
from helpers.learning import Step, make_off_policy, make_sequences, measure_steps
from helpers.plain import plain_annotation, plain_step, relative
from helpers.tiny import tiny_checkpoint

from prorl_mega.config.recipe import LossAggregation, LossConfig, RecipeConfig
from prorl_mega.types import StepHyperparams, TrainSample

COEFFICIENTS = StepHyperparams(kl=0.1, entropy=0.02, learning_rate=1e-3)
FAMILIES = ("qwen2_tied", "qwen3", "llama3", "yarn", "phi3")
# tp × pp × dp of four ranks; 60 tokens make several micro-batches, and leave some data ranks without enough sequences
LAYOUTS: dict[str, dict[str, Any]] = {
    "dp4": {"capacity": 60},
    "tp2 dp2": {"tensor": 2, "capacity": 100},
    "tp2 dp2 sequence": {"tensor": 2, "sequence": True, "capacity": 101},
    "tp4": {"tensor": 4, "capacity": 60},  # two key/value heads for four ranks
    "tp4 sequence": {"tensor": 4, "sequence": True, "capacity": 100},
    "pp2 dp2": {"pipeline": 2, "capacity": 60},
    "pp4": {"pipeline": 4, "capacity": 80},
    "tp2 pp2": {"tensor": 2, "pipeline": 2, "capacity": 10_000},
    "tp2 pp2 sequence": {"tensor": 2, "pipeline": 2, "sequence": True, "capacity": 60},
}
EXPERT_LAYOUTS: dict[str, dict[str, Any]] = {
    "dp4": {"capacity": 60},
    "dp4 ep2": {"expert": 2, "capacity": 60},
    "dp4 ep4": {"expert": 4, "capacity": 100},
    "pp2 dp2 ep2": {"pipeline": 2, "expert": 2, "capacity": 60},
    "tp2 dp2": {"tensor": 2, "sequence": True, "capacity": 100},
    "tp2 dp2 ep2": {"tensor": 2, "sequence": True, "expert": 2, "capacity": 60},
    "tp2 dp2 ep4 etp1": {"tensor": 2, "sequence": True, "expert": 4, "expert_tensor": 1, "capacity": 100},
    "tp2 pp2 ep2 etp1": {"tensor": 2, "pipeline": 2, "sequence": True, "expert": 2, "expert_tensor": 1, "capacity": 60},
}
PACKINGS: dict[str, dict[str, Any]] = {
    "one pack": {"capacity": 10_000},
    "many packs": {"capacity": 40},
    "sequence mean": {"capacity": 100, "recipe": {"loss.aggregation": LossAggregation.sequence_mean}},
}


def prepare(directory: Path, family: str) -> tuple[Path, list[TrainSample], list[np.ndarray]]:
    """A checkpoint, off-policy sequences for it, and their true log-probabilities."""
    path = tiny_checkpoint(directory / family, family)
    sequences = make_sequences(18)
    for index in (3, 4, 9, 15):  # answers to the same prompt
        first, own = sequences[2], sequences[index]
        own.tokens = np.concatenate([first.tokens[: first.prompt_length], own.tokens[own.prompt_length :]])
        own.prompt_length = first.prompt_length
    truth = plain_annotation(path, sequences)
    make_off_policy(sequences, truth)
    return path, sequences, truth


EXPERTS = ("qwen3_moe",)


@pytest.mark.parametrize(
    ("families", "ranks", "cases"),
    [(FAMILIES, 1, PACKINGS), (FAMILIES, 4, LAYOUTS), (EXPERTS, 1, PACKINGS), (EXPERTS, 4, EXPERT_LAYOUTS)],
    ids=["packings", "layouts", "packings of experts", "layouts of experts"],
)
def test_every_cut_gives_what_hugging_face_and_autograd_give(
    tmp_path: Path, families: tuple[str, ...], ranks: int, cases: dict[str, dict[str, Any]]
) -> None:
    prepared = [prepare(tmp_path, family) for family in families]
    by_rank = run_ranks(measure_steps, ranks, [each[:2] for each in prepared], cases, COEFFICIENTS, timeout_s=400)
    for index, (path, sequences, truth) in enumerate(prepared):
        expected: dict[LossAggregation, tuple[float, dict[str, torch.Tensor]]] = {}
        for name, settings in cases.items():
            where = f"{families[index]}, {name}"
            aggregation = settings.get("recipe", {}).get("loss.aggregation", LossAggregation.token_mean)
            if aggregation not in expected:
                expected[aggregation] = plain_step(
                    path, sequences, RecipeConfig(loss=LossConfig(aggregation=aggregation)), COEFFICIENTS
                )
            check_step(by_rank[0][index][name], *expected[aggregation], where)
            for ranked in by_rank:
                step = ranked[index][name]
                assert step.metrics == by_rank[0][index][name].metrics, f"{where}: ranks see different metrics"
                for old, reference, exact in zip(step.old, step.reference, truth, strict=True):
                    np.testing.assert_allclose(old, exact, atol=1e-5, rtol=0, err_msg=where)
                    np.testing.assert_allclose(reference, exact, atol=1e-5, rtol=0, err_msg=where)


def check_step(step: Step, loss: float, gradients: dict[str, torch.Tensor], where: str) -> None:
    assert step.metrics["loss/total"] == pytest.approx(loss, rel=1e-5), where
    assert step.metrics["policy/clipped_low"] > 0, "the data should reach the bounds"
    assert step.metrics["policy/clipped_high"] > 0, "the data should reach the bounds"
    assert set(step.gradients) == set(gradients), where
    for name, gradient in gradients.items():
        assert relative(step.gradients[name], gradient) <= 1e-5, f"{where}: {name}"
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert step.metrics["optimizer/grad_norm"] == pytest.approx(float(norm), rel=1e-5), where
