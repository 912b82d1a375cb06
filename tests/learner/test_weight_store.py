"""Copies of the weights under a name, evaluated in place."""

from __future__ import annotations

import pytest
import torch

from prorl_mega.learner.weight_store import WeightStore


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(7, 4), torch.nn.Linear(4, 7, bias=False))
    model[1].weight = model[0].weight  # tied
    return model


def test_the_copy_stays_when_the_policy_moves(model: torch.nn.Module) -> None:
    snapshots = WeightStore(dict(model.named_parameters()))
    assert "reference" not in snapshots
    snapshots.take("reference")
    inputs = torch.arange(7)
    before = model(inputs)
    weight, address = model[0].weight, model[0].weight.data_ptr()
    with torch.no_grad():
        weight.mul_(2.0)
    moved = model(inputs)
    with snapshots.active("reference"):
        assert torch.equal(model(inputs), before)
    assert torch.equal(model(inputs), moved)
    assert model[0].weight is weight
    assert model[0].weight.data_ptr() == address, "gradient buffers and optimizer refer to this memory"


def test_taking_again_replaces_the_copy_in_place(model: torch.nn.Module) -> None:
    snapshots = WeightStore(dict(model.named_parameters()))
    snapshots.take("reference")
    held = snapshots.tensors("reference")["0.weight"]
    with torch.no_grad():
        model[0].weight.mul_(2.0)
    snapshots.take("reference")
    assert snapshots.tensors("reference")["0.weight"] is held
    assert torch.equal(held, model[0].weight)


def test_the_policy_comes_back_after_an_error(model: torch.nn.Module) -> None:
    snapshots = WeightStore(dict(model.named_parameters()))
    snapshots.take("reference")
    with torch.no_grad():
        model[0].weight.mul_(2.0)
    with pytest.raises(RuntimeError), snapshots.active("reference"):
        raise RuntimeError
    assert torch.equal(model[0].weight, 2.0 * snapshots.tensors("reference")["0.weight"])


def test_the_policy_returns_to_a_copy_in_place(model: torch.nn.Module) -> None:
    snapshots = WeightStore(dict(model.named_parameters()))
    snapshots.take("best")
    before, address = model[0].weight.clone(), model[0].weight.data_ptr()
    with torch.no_grad():
        model[0].weight.mul_(2.0)
    snapshots.restore("best")
    assert torch.equal(model[0].weight, before)
    assert model[0].weight.data_ptr() == address, "gradient buffers and optimizer refer to this memory"


def test_an_offloaded_copy_visits_the_device(model: torch.nn.Module) -> None:
    """Without a GPU the host is the device; what can be seen is that copies have memory of their own."""
    snapshots = WeightStore(dict(model.named_parameters()), offload=True)
    snapshots.take("reference")
    inputs = torch.arange(7)
    before = model(inputs)
    with torch.no_grad():
        model[0].weight.mul_(2.0)
    with snapshots.active("reference"):
        assert torch.equal(model(inputs), before)
    assert snapshots.tensors("reference")["0.weight"].device.type == "cpu"
    assert snapshots.tensors("reference")["0.weight"].data_ptr() != model[0].weight.data_ptr()
