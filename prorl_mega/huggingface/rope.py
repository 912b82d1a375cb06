"""Rotary positions as transformers reads them from config.json, in its old and its new spelling. Imports no torch."""

from __future__ import annotations

import math
from typing import Any

from prorl_mega.documents import brief
from prorl_mega.families.family import Family
from prorl_mega.families.rope import LinearScaling, Llama3Scaling, LongRopeScaling, RopeScaling, YarnScaling
from prorl_mega.huggingface.config_file import ConfigFile

_KNOWN = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "original_max_position_embeddings",
          "low_freq_factor", "high_freq_factor", "attention_factor", "beta_fast", "beta_slow", "mscale",
          "mscale_all_dim", "truncate", "short_factor", "long_factor"}  # fmt: skip


def read_rope(config: ConfigFile, family: Family, head_dim: int) -> tuple[float, int, RopeScaling | None]:
    """Base of the frequencies, number of rotated channels, and scaling.

    As in transformers 5: a non-empty `rope_scaling` replaces `rope_parameters` altogether; `rope_theta` and
    `partial_rotary_factor` beside them fill in what they lack; `original_max_position_embeddings` beside them goes
    before theirs, and without any of the two it is `max_position_embeddings`.
    """
    rope = _parameters(config)
    theta = rope.number("rope_theta")
    kind = rope.name("rope_type")
    if kind is None or kind not in family.rope_types:
        raise config.error(f"RoPE scaling {brief(kind)} is not supported; {_listed(family.rope_types)} work")
    partial = rope.number("partial_rotary_factor", 1.0)
    if partial > 1 or (partial != 1 and not family.partial_rotary):
        raise config.error(f"partial_rotary_factor={partial:g} is not supported; only whole-head rotation works")
    rotary_dim = int(head_dim * partial)
    if rotary_dim % 2 or rotary_dim < 2:
        name = "head_dim" if partial == 1 else f"head_dim={head_dim} × partial_rotary_factor"
        raise config.error(f"{name}={rotary_dim} must be even for rotary positions")
    if kind == "default":
        return theta, rotary_dim, None
    original = config.fields.get("original_max_position_embeddings", family.original_max_positions)
    if original is not None:
        rope.fields["original_max_position_embeddings"] = original
    longest = config.integer("max_position_embeddings")
    return theta, rotary_dim, _SCALINGS[kind](rope, longest, rotary_dim)


def _parameters(config: ConfigFile) -> ConfigFile:
    """The parameters in one object, in the new spelling."""
    source = "rope_scaling" if config.inner("rope_scaling") else "rope_parameters"
    fields = dict(config.inner(source))
    if nested := [key for key, value in fields.items() if isinstance(value, dict)]:
        raise config.error(f"{source}: other RoPE for {nested[0]} is not supported; one for all layers works")
    if unknown := sorted(fields.keys() - _KNOWN):
        raise config.error(f"{source}: {unknown[0]} is not supported; {_listed(sorted(_KNOWN))} are known")
    if fields.get("type", fields.get("rope_type")) != fields.get("rope_type", fields.get("type")):
        raise config.error(
            f"{source}: rope_type={brief(fields['rope_type'])} and type={brief(fields['type'])}; remove one"
        )
    fields.setdefault("rope_type", fields.get("type", "default"))
    fields.setdefault("rope_theta", config.fields.get("rope_theta", 10_000.0))
    if "partial_rotary_factor" in config.fields:
        fields.setdefault("partial_rotary_factor", config.fields["partial_rotary_factor"])
    return ConfigFile(config.path, fields)


def _linear(rope: ConfigFile, longest: int, rotary_dim: int) -> LinearScaling:
    return LinearScaling(factor=rope.number("factor"))


def _llama3(rope: ConfigFile, longest: int, rotary_dim: int) -> Llama3Scaling:
    return Llama3Scaling(
        factor=rope.number("factor"),
        low_freq_factor=rope.number("low_freq_factor"),
        high_freq_factor=rope.number("high_freq_factor"),
        original_max_positions=rope.integer("original_max_position_embeddings", longest),
    )


def _yarn(rope: ConfigFile, longest: int, rotary_dim: int) -> YarnScaling:
    factor = rope.number("factor")
    return YarnScaling(
        factor=factor,
        beta_fast=rope.number("beta_fast", 32.0),
        beta_slow=rope.number("beta_slow", 1.0),
        original_max_positions=rope.integer("original_max_position_embeddings", longest),
        truncate=rope.flag("truncate", True),
        attention_factor=rope.number("attention_factor", _yarn_attention(rope, factor)),
    )


def _yarn_attention(rope: ConfigFile, factor: float) -> float:
    """The attention factor that YaRN infers: 0.1 ln(factor) + 1, with the weights of DeepSeek where both are given."""

    def temperature(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    weights = [rope.fields.get(key) for key in ("mscale", "mscale_all_dim")]
    if all(weights):
        return temperature(rope.number("mscale")) / temperature(rope.number("mscale_all_dim"))
    return temperature(1.0)


def _longrope(rope: ConfigFile, longest: int, rotary_dim: int) -> LongRopeScaling:
    original = rope.integer("original_max_position_embeddings", longest)
    stretch = longest / original
    inferred = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
    for key, right in {"attention_factor": inferred, "factor": stretch}.items():
        if not math.isclose(rope.number(key, right), right, rel_tol=1e-6):  # the engine reads neither
            raise rope.error(f"{key}={rope.fields[key]} of longrope is not supported; what follows works, {right:.8g}")
    return LongRopeScaling(
        factors=rope.numbers("short_factor", rotary_dim // 2),
        original_max_positions=original,
        attention_factor=inferred,
    )


_SCALINGS: dict[str, Any] = {"linear": _linear, "llama3": _llama3, "yarn": _yarn, "longrope": _longrope}


def _listed(names: tuple[str, ...] | list[str]) -> str:
    *others, last = (f"'{name}'" for name in names)
    return f"{', '.join(others)} and {last}"
