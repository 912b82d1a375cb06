"""Qwen3 (dense): Llama's layout, and norms over each query and key head."""

from __future__ import annotations

from prorl_mega.huggingface.config import ModelDescription
from prorl_mega.weights.families import llama
from prorl_mega.weights.param_mapping import ParamMapping
from prorl_mega.weights.shard_rules import REPLICATED

before_layers, after_layers = llama.before_layers, llama.after_layers


def layer(model: ModelDescription) -> list[ParamMapping]:
    size = (model.head_dim,)
    return [
        *llama.layer(model),
        ParamMapping("self_attention.q_layernorm.weight", {"self_attn.q_norm.weight": size}, REPLICATED),
        ParamMapping("self_attention.k_layernorm.weight", {"self_attn.k_norm.weight": size}, REPLICATED),
    ]
