"""Coefficients that follow what they are meant to control.

    adaptive KL       β ← β (1 + K clip(kl / target − 1, ±e))           (Ziegler et al., arXiv 1909.08593, section 2.2)
    adaptive entropy  c = clip(c_0 + P e + I Σ e, c_min, c_max),  e = target − entropy

Both start from the coefficient of the recipe and stay inside bounds. The integral stops growing while the coefficient
is at a bound and would leave it (anti-windup). ProRL itself keeps both fixed.
"""

from __future__ import annotations

import math

from prorl_mega.config.schedule import EntropyConfig, KLControlConfig


def next_kl_factor(factor: float, kl: float, control: KLControlConfig) -> float:
    """The factor of the recipe's KL coefficient at the next step; `kl` (nats per token) is this step's.

    Without a target, and for a `kl` that is not finite, the factor stays.
    """
    if not control.target or not math.isfinite(kl):
        return factor
    error = kl / control.target - 1
    bounded = min(max(error, -control.error_bound), control.error_bound)
    return min(max(factor * (1 + control.gain * bounded), control.min_factor), control.max_factor)


def next_entropy_coef(start: float, integral: float, entropy: float, control: EntropyConfig) -> tuple[float, float]:
    """(entropy coefficient of the next step, Σ e) from the recipe's coefficient `start` and this step's entropy.

    Without a target the coefficient is `start`; an entropy that is not finite must not be given.
    """
    if not control.target:
        return start, integral
    error = control.target - entropy
    wanted = start + control.proportional * error + control.integral * (integral + error)
    coefficient = min(max(wanted, control.coef_min), control.coef_max)
    winds_up = (wanted > control.coef_max and error > 0) or (wanted < control.coef_min and error < 0)
    return coefficient, integral if winds_up else integral + error
