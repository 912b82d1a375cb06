"""Which streams of weights are accepted; an engine that only counts stands in for vLLM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from prorl_mega.errors import WeightSyncError
from prorl_mega.rollout.loading import checkpoint_names, load_into_engine

PAIRS = [("a.weight", torch.zeros(3)), ("b.weight", torch.ones(2, 2)), ("b.bias", torch.ones(2))]
NAMES = frozenset(name for name, _ in PAIRS)


class CountingEngine:
    def __init__(self, error: Exception | None = None) -> None:
        self.received: list[str] = []
        self._error = error

    def collective_rpc(self, method: str, kwargs: dict[str, Iterator[tuple[str, torch.Tensor]]]) -> None:
        assert method == "reload_weights"
        for name, _ in kwargs["weights_iterator"]:
            self.received.append(name)
            if self._error:
                raise self._error

    def apply_model(self, function: Callable[[torch.nn.Module], Any]) -> list[Any]:
        return [function(torch.nn.Linear(2, 2))]


def test_everything_once_in_any_order() -> None:
    engine = CountingEngine()
    load_into_engine(engine, iter(PAIRS[::-1]), NAMES)
    assert engine.received == ["b.bias", "b.weight", "a.weight"]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (PAIRS[:1], "2 of 3 tensors were not sent to the engine, first b.bias"),
        ([*PAIRS, ("c.weight", torch.zeros(1))], "the engine has no c.weight"),
        ([*PAIRS, PAIRS[1]], "b.weight was sent twice"),
    ],
)
def test_streams_that_are_not_the_model(pairs: list[tuple[str, torch.Tensor]], message: str) -> None:
    with pytest.raises(WeightSyncError, match=message):
        load_into_engine(CountingEngine(), iter(pairs), NAMES)


@pytest.mark.parametrize("error", [AssertionError("size"), KeyError("b"), RuntimeError("shape"), ValueError("kind")])
def test_what_the_engine_objects_to(error: Exception) -> None:
    with pytest.raises(WeightSyncError, match="the engine does not take the weights"):
        load_into_engine(CountingEngine(error), iter(PAIRS), NAMES)


def test_fused_projections_are_taken_apart() -> None:
    model = torch.nn.ModuleDict({"attention": torch.nn.ModuleDict({"qkv": torch.nn.Linear(2, 6)})})
    model["norm"] = torch.nn.LayerNorm(2, bias=False)
    model.packed_modules_mapping = {"qkv": ["q", "k", "v"]}
    parts = {f"attention.{part}.{kind}" for part in "qkv" for kind in ("weight", "bias")}
    assert checkpoint_names(model) == parts | {"norm.weight"}
