"""Qwen2 and Qwen2.5: Llama's layout, and biases on the three attention projections."""

from __future__ import annotations

from prorl_mega.huggingface.config import ModelDescription
from prorl_mega.weights.families import llama
from prorl_mega.weights.param_mapping import ParamMapping

before_layers, after_layers = llama.before_layers, llama.after_layers


def layer(model: ModelDescription) -> list[ParamMapping]:
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    biases: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.bias": (queries,),
        "self_attn.k_proj.bias": (keys,),
        "self_attn.v_proj.bias": (keys,),
    }
    return [*llama.layer(model), ParamMapping("self_attention.linear_qkv.bias", biases, llama.fused_qkv(model))]
