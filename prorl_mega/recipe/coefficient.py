"""Settings that follow what they are meant to control.

    adaptive KL   β ← β (1 + K clip(kl / target − 1, ±e))           (Ziegler et al., arXiv 1909.08593, section 2.2)
    entropy       u = clip(u_0 + d (P e + I Σ e), u_min, u_max),  e = target − entropy

Both start from the setting of the run and stay inside bounds. u is whatever `schedule.entropy.knob` names and d its
direction: the entropy coefficient (Skywork-OR1, arXiv 2505.22312), the weight of positive advantages (EntroPIC, arXiv
2511.15248), the temperature, the upper clip. The sum stops growing while the knob is held back, by a bound or by the
largest change per step, and would be held back more (anti-windup). ProRL itself keeps all of them fixed.
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


def next_knob(
    start: float, current: float, integral: float, entropy: float, control: EntropyConfig
) -> tuple[float, float]:
    """(the knob at the next step, Σ e) from its setting `start`, its value `current` and the filtered entropy.

    Without a target it stays; an entropy that is not finite must not be given.
    """
    if not control.target:
        return current, integral
    error, direction = control.target - entropy, control.knob.direction
    wanted = start + direction * (control.proportional * error + control.integral * (integral + error))
    low, high = control.knob_min, control.knob_max
    if control.knob_rate:
        current = min(max(current, low), high)  # a setting outside of the bounds does not widen them
        low, high = max(low, current - control.knob_rate), min(high, current + control.knob_rate)
    value = min(max(wanted, low), high)
    winds_up = (wanted - value) * direction * error > 0
    return value, integral if winds_up else integral + error
