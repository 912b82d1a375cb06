"""Tiny Hugging Face checkpoints with random weights, one for each family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

FAMILIES = ("qwen2", "qwen2_tied", "qwen3", "llama3", "mistral", "yarn", "phi3", "phi3_long")

_CLASSES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "qwen3_moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM),
    "llama3": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "yarn": (Qwen2Config, Qwen2ForCausalLM),
    "phi3": (Phi3Config, Phi3ForCausalLM),
    "phi3_long": (Phi3Config, Phi3ForCausalLM),
}
# An odd vocabulary exercises padding; the scaling bends frequencies within sequences of a few dozen tokens.
_COMMON = {
    "vocab_size": 259,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
# The ramp lies within the few planes of a tiny head; the attention factor is 1.14.
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
_PARTIAL = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
_LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0}


def tiny_checkpoint(directory: str | Path, family: str, *, seed: int = 0, **overrides: Any) -> Path:
    """Write a random fp32 checkpoint of `family` (see `FAMILIES`) to `directory`; returns the directory.

    Weights are larger than a fresh model's, biases and norms included, so that every term moves the output.
    `overrides` are fields of config.json.
    """
    settings: dict[str, Any] = _COMMON | {"tie_word_embeddings": family.endswith("_tied")}
    family = family.removesuffix("_tied")
    if family == "qwen3":
        settings |= {"head_dim": 16}  # unlike hidden_size / heads
    if family == "qwen3_moe":
        settings |= {"head_dim": 16, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
        settings |= {"norm_topk_prob": True}
    if family == "mistral":
        settings |= {"sliding_window": None}
    if family == "yarn":
        settings |= {"rope_parameters": _YARN}
    if family.startswith("phi3"):
        settings |= {"rope_parameters": _PARTIAL}
    if family == "phi3_long":
        settings |= {"original_max_position_embeddings": 256}
    if family == "llama3":
        settings |= {"rope_parameters": _LLAMA3_ROPE}
    settings |= overrides
    if family == "phi3_long" and "rope_parameters" not in overrides:
        planes = (settings.get("head_dim") or settings["hidden_size"] // settings["num_attention_heads"]) // 2
        short = [1.0 + index / planes for index in range(planes)]
        settings |= {"rope_parameters": _LONGROPE | {"short_factor": short, "long_factor": [8.0] * planes}}
    config_class, model_class = _CLASSES[family]
    torch.manual_seed(seed)
    model = model_class(config_class(**settings)).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.normal_(1.0 if "norm" in name else 0.0, 0.2)
            else:
                parameter.normal_(0.0, 0.1)
    model.save_pretrained(directory, safe_serialization=True)
    return Path(directory)
