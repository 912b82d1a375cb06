"""Ways in which the frequencies of rotary positions are scaled for longer contexts, as numbers; none computes here.

`frequency` is θ^(−2i / d), the radians per token of plane i of d rotated channels.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True, frozen=True)
class LinearScaling:
    """Every frequency divided by `factor` (`rope_type: linear`)."""

    factor: float


@dataclass(kw_only=True, slots=True, frozen=True)
class Llama3Scaling:
    """Frequency-dependent RoPE scaling of Llama 3.1 and later (`rope_type: llama3`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(kw_only=True, slots=True, frozen=True)
class YarnScaling:
    """YaRN (arXiv 2309.00071; `rope_type: yarn`): planes that turn more than `beta_fast` times within the original
    context are kept, those below `beta_slow` turns are divided by `factor`, with a ramp over the planes in between."""

    factor: float
    beta_fast: float
    beta_slow: float
    original_max_positions: int
    truncate: bool  # the ends of the ramp are whole planes
    attention_factor: float  # of cosines and sines: its square multiplies the attention scores


@dataclass(kw_only=True, slots=True, frozen=True)
class LongRopeScaling:
    """LongRoPE within the original context (`rope_type: longrope`): each frequency divided by a factor of its own."""

    factors: tuple[float, ...]  # `short_factor`, one per plane
    original_max_positions: int
    attention_factor: float


RopeScaling = LinearScaling | Llama3Scaling | YarnScaling | LongRopeScaling
