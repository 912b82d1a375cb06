"""Llama 3. The other families are this one with a few parameters more."""

from __future__ import annotations

from prorl_mega.families.family import Family, ModelDescription
from prorl_mega.families.param_mapping import ParamMapping
from prorl_mega.families.shard_rules import REPLICATED, ROW_PARALLEL, VOCABULARY, FusedQKVRule, GatedMLPRule


def before_layers(model: ModelDescription) -> list[ParamMapping]:
    embedding = {"model.embed_tokens.weight": (model.vocab_size, model.hidden_size)}
    return [ParamMapping("embedding.word_embeddings.weight", embedding, VOCABULARY)]


def layer(model: ModelDescription) -> list[ParamMapping]:
    hidden, ffn = model.hidden_size, model.ffn_size
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    qkv = {
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
    }
    gate_up = {"mlp.gate_proj.weight": (ffn, hidden), "mlp.up_proj.weight": (ffn, hidden)}
    return [
        ParamMapping("input_layernorm.weight", {"input_layernorm.weight": (hidden,)}, REPLICATED),
        ParamMapping("self_attention.linear_qkv.weight", qkv, fused_qkv(model)),
        ParamMapping("self_attention.linear_proj.weight", {"self_attn.o_proj.weight": (hidden, queries)}, ROW_PARALLEL),
        ParamMapping("pre_mlp_layernorm.weight", {"post_attention_layernorm.weight": (hidden,)}, REPLICATED),
        ParamMapping("mlp.linear_fc1.weight", gate_up, GatedMLPRule()),
        ParamMapping("mlp.linear_fc2.weight", {"mlp.down_proj.weight": (hidden, ffn)}, ROW_PARALLEL),
    ]


def after_layers(model: ModelDescription) -> list[ParamMapping]:
    norm = ParamMapping("decoder.final_layernorm.weight", {"model.norm.weight": (model.hidden_size,)}, REPLICATED)
    # With tied embeddings the last of several pipeline stages holds a second copy of the embedding.
    head = "model.embed_tokens.weight" if model.tied_embeddings else "lm_head.weight"
    shape = (model.vocab_size, model.hidden_size)
    return [norm, ParamMapping("output_layer.weight", {head: shape}, VOCABULARY, copy=model.tied_embeddings)]


def fused_qkv(model: ModelDescription) -> FusedQKVRule:
    return FusedQKVRule(groups=model.kv_heads, queries_per_group=model.heads // model.kv_heads, head_dim=model.head_dim)


LLAMA = Family(
    architecture="LlamaForCausalLM",
    model_type="llama",
    before_layers=before_layers,
    layer=layer,
    after_layers=after_layers,
    may_lack_kv_heads=True,
)
