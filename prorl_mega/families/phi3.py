"""Phi-3, Phi-3.5 and Phi-4 (text, dense): Llama's arithmetic from projections that are stored in one tensor.

Heads may be rotated in part. LongRoPE is supported within the original context, where one set of factors holds.
"""

from __future__ import annotations

from dataclasses import replace

from prorl_mega.families.family import ModelDescription
from prorl_mega.families.llama import LLAMA
from prorl_mega.families.param_mapping import ParamMapping

_STORED = {
    "self_attention.linear_qkv.weight": "self_attn.qkv_proj.weight",
    "mlp.linear_fc1.weight": "mlp.gate_up_proj.weight",
}


def layer(model: ModelDescription) -> list[ParamMapping]:
    return [replace(mapping, stored=_STORED.get(mapping.name)) for mapping in LLAMA.layer(model)]


PHI3 = replace(
    LLAMA,
    architecture="Phi3ForCausalLM",
    model_type="phi3",
    layer=layer,
    rope_types=("default", "longrope"),
    partial_rotary=True,
    original_max_positions=4096,
)
