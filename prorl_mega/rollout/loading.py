"""The update of a running engine's weights from full tensors with Hugging Face names, each exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from prorl_mega.errors import WeightSyncError


def checkpoint_names(model: torch.nn.Module) -> frozenset[str]:
    """The tensors of a checkpoint of `model`: vLLM's own parameters, with fused projections and experts taken apart."""
    packed: dict[str, list[str]] = getattr(model, "packed_modules_mapping", {})
    names: set[str] = set()
    of_experts: set[str] = set()  # vLLM's own names
    for path, module in model.named_modules():
        if hasattr(module, "get_expert_mapping"):
            layer = path.rpartition(".experts")[0]
            for name, _ in module.named_parameters():
                of_experts.add(f"{path}.{name}")
                names.update(
                    f"{layer}.{theirs}{f'experts.{name}'.removeprefix(ours)}"
                    for ours, theirs, *_ in module.get_expert_mapping()
                    if f"experts.{name}".startswith(ours)
                )
    for name, _ in model.named_parameters():
        if name not in of_experts:
            *place, last, kind = name.split(".")
            names.update(".".join([*place, part, kind]) for part in packed.get(last, [last]))
    return frozenset(names)


def load_into_engine(engine: Any, weights: Iterator[tuple[str, torch.Tensor]], expected: frozenset[str]) -> None:
    """Stream `weights` into the engine's shards. Raises `WeightSyncError` unless all of `expected` came, once each.

    vLLM keeps at most the tensors of one module before it slices, packs and copies them into place.
    """
    remaining = set(expected)

    def received() -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in weights:
            if name not in remaining:
                raise WeightSyncError(f"{name} was sent twice" if name in expected else f"the engine has no {name}")
            remaining.remove(name)
            yield name, tensor

    _reload(engine, received)
    engine.apply_model(repack)
    if remaining:
        raise WeightSyncError(
            f"{len(remaining)} of {len(expected)} tensors were not sent to the engine, first {min(remaining)}"
        )


def _reload(engine: Any, received: Callable[[], Iterator[tuple[str, torch.Tensor]]]) -> None:
    try:
        engine.collective_rpc("reload_weights", kwargs={"weights_iterator": received()})
    except (AssertionError, KeyError, ValueError, RuntimeError) as error:
        if isinstance(error, WeightSyncError):
            raise
        raise WeightSyncError(f"the engine does not take the weights: {error!r}") from error


def repack(model: torch.nn.Module) -> None:
    """Prepare what vLLM's reload forgets for its new weights, which would stay the old ones or be read wrongly.

    A tied output projection shares its parameter with the embedding, so the reload sees nothing to load for it; on a
    CPU it multiplies by a packed copy. Experts on a CPU are packed when they are loaded first, and not again.
    """
    owners: dict[int, torch.nn.Module] = {}
    for module in model.modules():
        weight = module._parameters.get("weight")
        if weight is not None and owners.setdefault(id(weight), module) is not module:
            module.quant_method.process_weights_after_loading(module)
        if hasattr(module, "get_expert_mapping") and module.w13_weight.device.type == "cpu":
            module.quant_method.moe_kernel.fused_experts.process_weights_after_loading(module)
