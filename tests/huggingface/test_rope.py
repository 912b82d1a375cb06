"""Rotary positions from config.json as transformers reads them: the same frequencies and the same attention factor."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

from prorl_mega.huggingface.config import describe
from prorl_mega.learner.rotary import RotaryPositions

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 128,
    "max_position_embeddings": 2048,
    "num_attention_heads": 8,
    "num_hidden_layers": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 100,
}
PHI3 = LLAMA | {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "pad_token_id": 0}
LLAMA3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
SHORT = [1.0 + index / 10 for index in range(32)]
LONGROPE = {"type": "longrope", "short_factor": SHORT, "long_factor": [4.0] * 32}

SPELLINGS: dict[str, dict[str, Any]] = {
    "nothing said": {},
    "old": {"rope_theta": 500000.0},
    "new": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    "a base beside parameters without one": {"rope_theta": 3e5, "rope_parameters": {"rope_type": "default"}},
    "a base beside parameters with another": {"rope_theta": 3e5, "rope_parameters": {"rope_theta": 4e5}},
    "scaling added by hand": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "rope_scaling": YARN},
    "empty scaling": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0}, "rope_scaling": {}},
    "no scaling": {"rope_theta": 1e6, "rope_scaling": None},
    "linear, old": {"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 4}},
    "llama3": {"rope_scaling": LLAMA3 | {"rope_theta": 5e5, "original_max_position_embeddings": 256}},
    "llama3, base beside": {"rope_theta": 5e5, "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 256}},
    "original positions beside": {"rope_scaling": YARN, "original_max_position_embeddings": 1024},
    "yarn": {"rope_theta": 1e6, "rope_scaling": YARN},
    "yarn without original": {"rope_theta": 1e6, "rope_scaling": {"type": "yarn", "factor": 4.0}},
    "yarn, attention factor": {"rope_scaling": YARN | {"attention_factor": 1.5}},
    "yarn, betas": {"rope_scaling": YARN | {"beta_fast": 20, "beta_slow": 2.5}},
    "yarn, mscale": {"rope_scaling": YARN | {"mscale": 0.7, "mscale_all_dim": 1.2}},
    "yarn, one mscale": {"rope_scaling": YARN | {"mscale": 0.7}},
    "yarn, not truncated": {"rope_scaling": YARN | {"truncate": False}},
    "yarn, no stretch": {"rope_scaling": YARN | {"factor": 1.0}},
    "yarn, empty ramp": {"rope_scaling": YARN | {"beta_fast": 1.0, "beta_slow": 1.0, "truncate": False}},
    "yarn, heads of 48": {"rope_scaling": YARN, "head_dim": 48},
    "phi3": PHI3 | {"rope_theta": 2e4},
    "phi3, partial": PHI3 | {"partial_rotary_factor": 0.75},
    "phi3, partial inside": PHI3 | {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
    "phi3, longrope": PHI3 | {"original_max_position_embeddings": 256, "rope_scaling": LONGROPE},
    "phi3, original by default": PHI3 | {"max_position_embeddings": 8192, "rope_scaling": LONGROPE},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_frequencies_are_those_of_transformers(tmp_path: Path, spelling: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | SPELLINGS[spelling]))
    config = AutoConfig.from_pretrained(tmp_path)
    theirs = (Phi3RotaryEmbedding if config.model_type == "phi3" else LlamaRotaryEmbedding)(config)
    ours = RotaryPositions(describe(tmp_path))
    torch.testing.assert_close(ours.frequencies, theirs.inv_freq, rtol=1e-6, atol=0.0)
    assert math.isclose(ours.attention_factor, theirs.attention_scaling, rel_tol=1e-12)
