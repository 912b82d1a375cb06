"""A model architecture, and the shape of one model of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prorl_mega.families.param_mapping import ParamMapping
from prorl_mega.families.rope import RopeScaling


@dataclass(kw_only=True, slots=True, frozen=True)
class Family:
    """Models of one architecture that the learner can compute: its arithmetic is that of `ModelDescription`.

    Mappings are listed in the order of a Hugging Face checkpoint; those of `layer` are relative to
    `decoder.layers.N.` (Megatron) and `model.layers.N.` (Hugging Face).
    """

    architecture: str  # the name in `architectures` of config.json
    model_type: str | None = None  # the name in `model_type`, by which transformers reads the rest of config.json
    before_layers: Callable[[ModelDescription], list[ParamMapping]]
    layer: Callable[[ModelDescription], list[ParamMapping]]
    after_layers: Callable[[ModelDescription], list[ParamMapping]]
    qkv_bias: bool = False
    qk_norm: bool = False
    experts: bool = False  # a mixture of them is the MLP of every layer
    head_dim: int | None = None  # where config.json has none; None: hidden_size / heads
    window: int | None = None  # `sliding_window` where config.json has none
    window_has_switch: bool = False  # `sliding_window` counts only with `use_sliding_window: true`
    may_lack_kv_heads: bool = False  # without `num_key_value_heads` there are as many as query heads
    rope_types: tuple[str, ...] = ("default", "linear", "llama3", "yarn")
    partial_rotary: bool = False  # `partial_rotary_factor` counts
    original_max_positions: int | None = None  # `original_max_position_embeddings` where config.json has none


@dataclass(kw_only=True, slots=True, frozen=True)
class ExpertsDescription:
    """The mixture of experts in a layer: a token goes to the `active` of `count` that its router prefers."""

    count: int
    active: int  # per token
    ffn_size: int  # width of an expert's gate and of its up projection, each
    normalized: bool  # the weights of a token's experts sum to 1; otherwise they are their share among all experts


@dataclass(kw_only=True, slots=True, frozen=True)
class ModelDescription:
    """A decoder-only model: RMSNorm, SwiGLU, rotary positions, grouped-query attention."""

    family: Family
    layers: int
    hidden_size: int
    ffn_size: int  # width of the gate and of the up projection, each
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int  # rows of the embedding as stored, before any padding
    max_positions: int
    positions_bound_by: str = "max_position_embeddings"  # the field of config.json that `max_positions` comes from
    rope_theta: float
    rope_scaling: RopeScaling | None
    rotary_dim: int  # channels of each head that are rotated, the first ones
    norm_eps: float
    tied_embeddings: bool  # the LM head is the embedding
    experts: ExpertsDescription | None = None  # then `ffn_size` is no layer's
    ignored: tuple[str, ...] = ()  # fields of config.json that neither this project nor transformers knows

    @property
    def qkv_bias(self) -> bool:
        """Whether the three attention projections have biases."""
        return self.family.qkv_bias

    @property
    def qk_norm(self) -> bool:
        """Whether every query and key head passes an RMSNorm over `head_dim`."""
        return self.family.qk_norm
