"""Qwen3 with a mixture of experts in every layer (30B-A3B, 235B-A22B): Qwen3's attention, a router, SwiGLU experts."""

from __future__ import annotations

from dataclasses import replace

from prorl_mega.families.family import ModelDescription
from prorl_mega.families.param_mapping import ParamMapping
from prorl_mega.families.qwen3 import QWEN3
from prorl_mega.families.shard_rules import REPLICATED, ROW_PARALLEL, GatedMLPRule


def layer(model: ModelDescription) -> list[ParamMapping]:
    experts = model.experts
    assert experts is not None, "config.json was read for this family"
    dense = [mapping for mapping in QWEN3.layer(model) if not mapping.name.startswith("mlp.")]
    router = {"mlp.gate.weight": (experts.count, model.hidden_size)}
    return [
        *dense,
        ParamMapping("mlp.router.weight", router, REPLICATED),
        *(mapping for expert in range(experts.count) for mapping in _expert(model, expert, experts.ffn_size)),
    ]


def _expert(model: ModelDescription, expert: int, ffn: int) -> list[ParamMapping]:
    ours, theirs, hidden = f"mlp.experts.local_experts.{expert}", f"mlp.experts.{expert}", model.hidden_size
    gate_up = {f"{theirs}.gate_proj.weight": (ffn, hidden), f"{theirs}.up_proj.weight": (ffn, hidden)}
    down = {f"{theirs}.down_proj.weight": (hidden, ffn)}
    return [
        ParamMapping(f"{ours}.linear_fc1.weight", gate_up, GatedMLPRule(), expert=expert),
        ParamMapping(f"{ours}.linear_fc2.weight", down, ROW_PARALLEL, expert=expert),
    ]


QWEN3_MOE = replace(
    QWEN3,
    architecture="Qwen3MoeForCausalLM",
    model_type="qwen3_moe",
    layer=layer,
    experts=True,
    head_dim=None,
)
