"""Composes settings as an entry point does, and model directories that consist of a config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from prorl_mega.config.compose import config_directory, register, root_config, to_config, to_objects
from prorl_mega.config.schema import RunConfig

QWEN2_1P5B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "num_hidden_layers": 28,
    "vocab_size": 151936,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "eos_token_id": 151643,
}


def model_directory(path: Path, **changes: Any) -> Path:
    """A directory with the config.json of DeepSeek-R1-Distill-Qwen-1.5B, `changes` applied, and no weights."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(QWEN2_1P5B | changes))
    return path


def compose_settings(*overrides: str, schema: type = RunConfig) -> DictConfig:
    register()
    with initialize_config_dir(config_dir=str(config_directory()), version_base="1.3"):
        return compose(root_config(schema), overrides=list(overrides))


def run_config(model: Path, *overrides: str, world_size: int = 1) -> RunConfig:
    """Validated settings of the demo on `model`, whose weights are not needed."""
    base = ["experiment=demo", "model=random", f"model.path={model}"]
    return to_config(compose_settings(*base, *overrides), RunConfig, world_size)


def unchecked_config(model: Path, *overrides: str) -> RunConfig:
    """The same without validation."""
    base = ["experiment=demo", "model=random", f"model.path={model}"]
    return to_objects(compose_settings(*base, *overrides), RunConfig)
