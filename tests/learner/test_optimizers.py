"""What every kind of optimizer does, one's own included: learn alike in all layouts, resume to the bit, forget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.learning import bits, full_tensors, make_learner, make_sequences, same_bits
from helpers.tiny import tiny_checkpoint

from prorl_mega.config.schema import OptimizerName
from prorl_mega.errors import ConfigError
from prorl_mega.learner.muon import orthogonal
from prorl_mega.learner.optimizer_kinds import KINDS, find_kind

OWN = str(Path(__file__).parents[2] / "examples" / "my_optimizer.py") + ":Lion"
RATES = {"adamw": 1e-3, "sgd": 0.3, "muon": 1e-3, OWN: 1e-4}
LAYOUTS: dict[int, list[dict[str, Any]]] = {
    1: [{}],
    4: [{"tensor": 2}, {"tensor": 2, "pipeline": 2}, {"pipeline": 2}, {"tensor": 4}],
}
ROUNDING = {
    "adamw": 1e-5,
    "sgd": 1e-5,
    "muon": 1e-4,
    OWN: 2e-3,
}  # the sign of a gradient near 0 is a matter of rounding
STEPS = 4


def learn(path: Path, layouts: list[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    """What each kind does in each layout: its losses, and the full weights at the end."""
    samples = make_sequences(12)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for kind, rate in RATES.items():
        for number, layout in enumerate(layouts):
            learner = make_learner(path, capacity=60, optimizer={"kind": kind}, **layout)
            losses = [learner.sft_step(samples, rate)["loss/total"] for _ in range(STEPS)]
            weights = full_tensors(learner, learner.parameters())
            found[kind, number] = {"losses": losses, "weights": {} if learner.layout.rank else weights}
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "qwen3")


def test_every_kind_learns_alike_in_every_layout(path: Path) -> None:
    alone = run_ranks(learn, 1, path, LAYOUTS[1], timeout_s=240)[0]
    split = run_ranks(learn, 4, path, LAYOUTS[4], timeout_s=400)[0]
    for (kind, number), found in split.items():
        where, expected = f"{kind} {LAYOUTS[4][number]}", alone[kind, 0]
        assert expected["losses"] == sorted(expected["losses"], reverse=True), where
        assert expected["losses"][-1] < 0.995 * expected["losses"][0], where
        assert found["losses"] == pytest.approx(expected["losses"], rel=ROUNDING[kind]), where
        for name, weights in expected["weights"].items():
            error = (found["weights"][name] - weights).norm() / weights.norm()
            assert error <= ROUNDING[kind], f"{where}: {name} differs by {error:.1e}"


def resume(path: Path, directory: Path) -> dict[str, list[bool]]:
    """By kind: whether a resumed learner goes on to the bit, and whether a cleared one starts like a new one."""
    found: dict[str, list[bool]] = {}
    samples = make_sequences(8)
    for kind, rate in RATES.items():
        optimizer = {"kind": kind, "weight_decay": 0.1}
        learner = make_learner(path, tensor=2, optimizer=optimizer)
        start = {name: value.clone() for name, value in learner.parameters().items()}
        learner.sft_step(samples, rate)
        fresh = bits(learner)
        learner.sft_step(samples, rate)
        saved = directory / f"{len(found)}"
        saved.mkdir(exist_ok=True)
        torch.distributed.barrier()
        learner.save(saved, 1)
        learner.sft_step(samples, rate)
        straight = bits(learner)
        resumed = make_learner(path, tensor=2, optimizer=optimizer)
        torch.distributed.barrier()
        resumed.load(saved)
        resumed.sft_step(samples, rate)
        goes_on = same_bits(bits(resumed), straight)
        for name, value in resumed.parameters().items():
            value.copy_(start[name])
        resumed.adopt_parameters()
        resumed.sft_step(samples, rate)
        found[kind] = [goes_on, same_bits(bits(resumed), fresh)]
    return found


def test_every_kind_resumes_to_the_bit_and_forgets(path: Path, tmp_path: Path) -> None:
    for found in run_ranks(resume, 4, path, tmp_path, timeout_s=400):
        assert found == {kind: [True, True] for kind in RATES}


def test_kinds_are_known_by_name() -> None:
    assert set(KINDS) == set(OptimizerName)
    assert find_kind("muon") is KINDS["muon"]
    with pytest.raises(ConfigError, match=r"optimizer\.kind=mun.* did you mean muon\?"):
        find_kind("mun")


@pytest.mark.parametrize("shape", [(8, 8), (24, 6), (6, 24)])
def test_orthogonal_keeps_directions_and_levels_their_lengths(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    rotated = u.T @ orthogonal(matrix) @ vh.T / (0.2 * max(shape) ** 0.5)
    assert ((rotated.diagonal() > 0.6) & (rotated.diagonal() < 1.3)).all()
    assert (rotated - rotated.diagonal().diag()).abs().max() < 1e-4
