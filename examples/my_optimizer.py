"""An optimizer of your own: `optimizer.kind=examples/my_optimizer.py:Lion` (Chen et al., arXiv 2302.06675)."""

from __future__ import annotations

from typing import Any

import torch

from prorl_mega.config.schema import OptimizerConfig


class Lion(torch.optim.Optimizer):
    """Steps of equal size in every coordinate, by the sign of a momentum."""

    def __init__(self, groups: list[dict[str, Any]], settings: OptimizerConfig) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})  # both are set before every step
        self.beta1, self.beta2 = settings.beta1, settings.beta2

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                moment = self.state[parameter].setdefault("moment", torch.zeros_like(parameter))
                direction = moment.lerp(parameter.grad, 1 - self.beta1).sign()
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])
                moment.lerp_(parameter.grad, 1 - self.beta2)
