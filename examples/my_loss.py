"""A policy loss of your own: `recipe.policy_loss.kind=examples/my_loss.py:sapo` (soft gates, arXiv 2511.20347)."""

from __future__ import annotations

import torch

from prorl_mega.config.recipe import PolicyLossConfig
from prorl_mega.recipe.policy_loss import PolicyLossInputs, PolicyLossOutputs, bounded_ratio

TAU_POSITIVE, TAU_NEGATIVE = 1.0, 1.05  # a larger one closes the gate earlier


def sapo(inputs: PolicyLossInputs, settings: PolicyLossConfig) -> PolicyLossOutputs:
    """A sigmoid in place of the clip: tokens fade out as their ratio leaves 1, they are not cut off."""
    ratio = bounded_ratio(inputs.log_ratio)
    tau = torch.where(inputs.advantages > 0, TAU_POSITIVE, TAU_NEGATIVE).to(ratio.dtype)
    gate = torch.sigmoid(tau * (ratio - 1)) * 4 / tau
    sums = {"policy/ratio": inputs.metric_weights @ ratio.detach()}
    return PolicyLossOutputs(losses=-gate * inputs.advantages, sums=sums)
