"""The tokens that each expert of a mixture gets while the policy is trained: whether its router still spreads them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from prorl_mega.types import Metrics


class ExpertLoad:
    """Counts on the device, of this rank's layers; a model without experts has none."""

    def __init__(self, decoder_layers: nn.ModuleList, layers: int, experts: int, device: torch.device) -> None:
        """`layers` and `experts` are those of the whole model; `decoder_layers` this stage's."""
        # [layers, experts] tokens since `take`
        self._counts = torch.zeros(layers, experts, dtype=torch.int64, device=device)
        if experts:
            for layer in decoder_layers:
                layer.mlp.router.register_forward_hook(self._counting(layer.layer_number - 1))

    def _counting(self, layer: int) -> Any:
        def count(module: nn.Module, inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
            if torch.is_grad_enabled():  # passes without an update, of the reference as well, do not count
                self._counts[layer] += outputs[1].detach().sum(0)

        return count

    def take(self) -> Metrics:
        """`experts/load_max`: the load of the busiest expert of any layer, as a multiple of the mean of its layer, and
        `experts/unused`, the share of experts that got nothing; padding counts as tokens do. Starts anew. Collective;
        waits for the device."""
        if not self._counts.numel():
            return {}
        counts = self._counts.clone()
        self._counts.zero_()
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            torch.distributed.all_reduce(counts)  # tokens that several ranks have count as often in all experts
        busiest = (counts.amax(1) / counts.float().mean(1).clamp(min=1.0)).max()
        unused = (counts == 0).float().mean()
        largest, share = torch.stack([busiest, unused]).tolist()
        return {"experts/load_max": largest, "experts/unused": share}
