"""Which fields of config.json may hold what: a field is read, changes nothing, has to have one value, or is unknown.

transformers ignores what its configuration class does not have; the engine looks for some fields of other models in
any config.json. So a field by which a relative of these models changes the arithmetic is refused unless it is null or
has the value that changes nothing, and a field that is in no table here is reported (`ModelDescription.ignored`).
"""

from __future__ import annotations

from typing import Any

from prorl_mega.documents import brief
from prorl_mega.families.family import Family
from prorl_mega.huggingface.config_file import ConfigFile

READ = {
    "architectures", "model_type", "auto_map", "quantization_config", "vocab_size", "hidden_size", "intermediate_size",
    "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps",
    "tie_word_embeddings", "max_position_embeddings", "original_max_position_embeddings", "rope_theta", "rope_scaling",
    "rope_parameters", "partial_rotary_factor", "layer_types", "sliding_window", "use_sliding_window",
    "max_window_layers",
}  # fmt: skip

EXPERTS = {
    "num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob",
    "mlp_only_layers", "decoder_sparse_step", "router_aux_loss_coef", "output_router_logits",
}  # fmt: skip
"""Fields of a family with experts. The last two are about a loss that its authors' training had; ours has settings."""

NEUTRAL: dict[str, Any] = {
    "hidden_act": "silu", "hidden_activation": "silu",
    "attention_bias": False, "mlp_bias": False, "attention_out_bias": False, "bias": False, "use_bias": False,
    "attention_dropout": 0, "hidden_dropout": 0, "residual_dropout": 0, "resid_pdrop": 0, "embd_pdrop": 0,
    "is_causal": True, "is_encoder_decoder": False, "chunk_size_feed_forward": 0,
    "final_logit_softcapping": None, "attn_logit_softcapping": None, "query_pre_attn_scalar": None, "clip_qkv": None,
    "logit_scale": 1, "logits_scaling": 1, "embedding_multiplier": 1, "residual_multiplier": 1, "scale_emb": 1,
    "attention_multiplier": None, "scale_depth": None, "dim_model_base": None, "scale_embedding": False,
    "num_experts": 0, "num_local_experts": 0, "n_routed_experts": 0, "num_nextn_predict_layers": 0,
    "rope_interleaved": False, "rope_local_base_freq": None, "rotary_emb_base": None, "rotary_pct": 1,
    "rotary_emb_fraction": 1, "rope_dim": None, "mrope_section": None, "xdrope_section": None, "use_mrope": False,
    "llama_4_scaling": None, "dual_chunk_attention_config": None, "ada_rms_norm_t_cond": False,
    "attention_chunk_size": None, "interleaved_sliding_window": None, "sliding_window_pattern": None,
    "no_rope_layers": None, "no_rope_layer_interval": None, "block_configs": None, "per_layer_config": {},
    "compression_config": None, "attn_output_gate": False, "alibi": False, "use_parallel_residual": False,
}  # fmt: skip
"""Field to the value with which it changes nothing; null works for all."""

BOOKKEEPING = {
    "_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "dtype", "torch_dtype", "use_cache",
    "initializer_range", "pretraining_tp", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id",
    "sep_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "return_dict",
    "output_hidden_states", "output_attentions", "output_scores", "return_dict_in_generate", "id2label", "label2id",
    "num_labels", "problem_type", "finetuning_task", "task_specific_params", "tokenizer_class", "prefix", "torchscript",
    "use_bfloat16", "tf_legacy_loss", "is_decoder", "add_cross_attention", "cross_attention_hidden_size",
    "tie_encoder_decoder", "pruned_heads", "attn_implementation", "_attn_implementation", "_experts_implementation",
    "_attn_implementation_autoset", "unsloth_version", "unsloth_fixed",
    # settings of generation, which older versions wrote here
    "max_length", "max_new_tokens", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups",
    "diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "suppress_tokens",
    "begin_suppress_tokens", "exponential_decay_length_penalty", "remove_invalid_values",
}  # fmt: skip
"""Fields that change no number here: where a model comes from, how it is stored, other uses of it."""


def refuse_other_arithmetic(config: ConfigFile, family: Family) -> None:
    """Raise `ModelError` for a field with a value that the learner does not compute."""
    if family.model_type is not None and config.fields.get("model_type", family.model_type) != family.model_type:
        raise config.error(
            f"model_type={brief(config.fields['model_type'])} does not fit {family.architecture}; "
            f"{family.model_type!r} does"
        )
    if config.fields.get("quantization_config"):
        raise config.error("quantization_config: quantized weights cannot be trained; use the unquantized checkpoint")
    own = {"qkv_bias": family.qkv_bias, "use_qk_norm": family.qk_norm, "qk_layernorm": family.qk_norm}
    for key, neutral in (NEUTRAL | own).items():
        value = config.fields.get(key)
        if value is not None and value != neutral and not (family.experts and key in EXPERTS):
            works = "leaving it out works" if neutral is None else f"only {_spelled(neutral)} works"
            raise config.error(f"{key}={_spelled(value)} is not supported; {works}")


def unknown_fields(config: ConfigFile, family: Family) -> tuple[str, ...]:
    """Fields that hold something and are in no table, in the order of the file."""
    # Code that a checkpoint brings along is not run; transformers and the engine use their own for the same name.
    known = READ - {"auto_map"} | NEUTRAL.keys() | BOOKKEEPING | {"qkv_bias", "use_qk_norm", "qk_layernorm"}
    known |= EXPERTS if family.experts else set()
    return tuple(key for key, value in config.fields.items() if key not in known and value is not None)


def _spelled(value: Any) -> str:
    """A value as JSON spells it, as far as that differs in a word."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else brief(value)
