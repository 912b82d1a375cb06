"""Mistral: Llama's layout, and a sliding window where config.json does not switch it off."""

from __future__ import annotations

from dataclasses import replace

from prorl_mega.families.llama import LLAMA

MISTRAL = replace(LLAMA, architecture="MistralForCausalLM", model_type="mistral", window=4096, may_lack_kv_heads=False)
