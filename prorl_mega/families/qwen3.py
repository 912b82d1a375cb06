"""Qwen3 (dense): Llama's layout, and norms over each query and key head."""

from __future__ import annotations

from dataclasses import replace

from prorl_mega.families.family import ModelDescription
from prorl_mega.families.llama import LLAMA
from prorl_mega.families.param_mapping import ParamMapping
from prorl_mega.families.shard_rules import REPLICATED


def layer(model: ModelDescription) -> list[ParamMapping]:
    size = (model.head_dim,)
    return [
        *LLAMA.layer(model),
        ParamMapping("self_attention.q_layernorm.weight", {"self_attn.q_norm.weight": size}, REPLICATED),
        ParamMapping("self_attention.k_layernorm.weight", {"self_attn.k_norm.weight": size}, REPLICATED),
    ]


QWEN3 = replace(
    LLAMA,
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    layer=layer,
    qk_norm=True,
    head_dim=128,
    window=4096,
    window_has_switch=True,
    may_lack_kv_heads=False,
)
