"""Qwen2 and Qwen2.5: Llama's layout, and biases on the three attention projections."""

from __future__ import annotations

from dataclasses import replace

from prorl_mega.families.family import ModelDescription
from prorl_mega.families.llama import LLAMA, fused_qkv
from prorl_mega.families.param_mapping import ParamMapping


def layer(model: ModelDescription) -> list[ParamMapping]:
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    biases: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.bias": (queries,),
        "self_attn.k_proj.bias": (keys,),
        "self_attn.v_proj.bias": (keys,),
    }
    return [*LLAMA.layer(model), ParamMapping("self_attention.linear_qkv.bias", biases, fused_qkv(model))]


QWEN2 = replace(
    LLAMA,
    architecture="Qwen2ForCausalLM",
    model_type="qwen2",
    layer=layer,
    qkv_bias=True,
    window=4096,
    window_has_switch=True,
    may_lack_kv_heads=False,
)
