"""What is read from Hugging Face directories, and what is refused before anything is allocated."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.shards import MY_FAMILY

from prorl_mega.errors import ConfigError, ModelError
from prorl_mega.families.family import Llama3Scaling, ModelDescription
from prorl_mega.families.qwen2 import QWEN2
from prorl_mega.huggingface.config import check_layout, check_weights_complete, describe

# As published with the models; spelled by transformers 4.
DEEPSEEK_1P5B = {
    "architectures": ["Qwen2ForCausalLM"],
    "bos_token_id": 151646,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "max_position_embeddings": 131072,
    "max_window_layers": 21,
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
LLAMA_3P2_1B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "vocab_size": 128256,
}


def write(directory: Path, config: dict[str, Any], **changes: Any) -> Path:
    (directory / "config.json").write_text(json.dumps(config | changes))
    return directory


def test_reads_a_published_qwen2(tmp_path: Path) -> None:
    assert describe(write(tmp_path, DEEPSEEK_1P5B)) == ModelDescription(
        family=QWEN2,
        layers=28,
        hidden_size=1536,
        ffn_size=8960,
        heads=12,
        kv_heads=2,
        head_dim=128,
        vocab_size=151936,
        max_positions=131072,
        rope_theta=10000.0,
        rope_scaling=None,
        norm_eps=1e-6,
        tied_embeddings=False,
    )


def test_reads_a_published_llama3_in_both_spellings_of_rope(tmp_path: Path) -> None:
    old = describe(write(tmp_path, LLAMA_3P2_1B))
    assert old.rope_theta == 500000.0
    assert old.rope_scaling == Llama3Scaling(
        factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_positions=8192
    )
    assert (old.tied_embeddings, old.qkv_bias) == (True, False)
    new = {key: value for key, value in LLAMA_3P2_1B.items() if not key.startswith("rope_")}
    new["rope_parameters"] = LLAMA_3P2_1B["rope_scaling"] | {"rope_theta": 500000.0}
    assert describe(write(tmp_path, new)) == old


@pytest.mark.parametrize("architecture", ["Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM"])
def test_agrees_with_what_transformers_writes(tmp_path: Path, architecture: str) -> None:
    transformers = pytest.importorskip("transformers")
    config_class = getattr(transformers, architecture.replace("ForCausalLM", "Config"))
    config = config_class(architectures=[architecture], num_key_value_heads=8, rope_theta=30000.0)
    config.save_pretrained(tmp_path)
    found = describe(tmp_path)
    assert (found.layers, found.hidden_size, found.ffn_size) == (
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
    )
    assert (found.kv_heads, found.head_dim, found.rope_theta) == (8, 128, 30000.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["MixtralForCausalLM"]}, "MixtralForCausalLM.*these work: Qwen2ForCausalLM, Qwen3"),
        ({"architectures": None}, "these work"),
        ({"auto_map": {"AutoModel": "modeling.Evil"}}, "never run"),
        ({"use_sliding_window": True}, "sliding-window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding-window"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "'yarn'.*'default' and 'llama3' work"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}, "lacks low_freq_factor"),
        ({"attention_bias": True}, "attention_bias=true"),
        ({"hidden_act": "gelu"}, "only 'silu'"),
        ({"quantization_config": {"quant_method": "fp8"}}, "unquantized"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"num_hidden_layers": "28"}, "num_hidden_layers='28' must be a positive integer"),
        ({"num_key_value_heads": 5}, "not a multiple"),
    ],
)
def test_refuses_what_it_cannot_reproduce(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        describe(write(tmp_path, DEEPSEEK_1P5B, **changes))
    assert str(tmp_path / "config.json") in str(error.value)


def test_names_what_is_missing_or_half_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        describe(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"config\.json: missing"):
        describe(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(DEEPSEEK_1P5B)[:200])
    with pytest.raises(ModelError, match=r"config\.json: not valid JSON.*half-written"):
        describe(tmp_path)


@pytest.mark.parametrize(("tensor", "pipeline"), [(1, 1), (2, 1), (1, 28), (2, 14)])
def test_accepts_layouts_that_divide(tmp_path: Path, tensor: int, pipeline: int) -> None:
    check_layout(describe(write(tmp_path, DEEPSEEK_1P5B)), tensor, pipeline)


@pytest.mark.parametrize(
    ("tensor", "pipeline", "message"),
    [
        (5, 1, r"parallel.tensor=5 .*attention heads \(12\); these work: 1, 2$"),
        (4, 1, r"parallel.tensor=4 .*key/value heads \(2\); these work: 1, 2$"),
        (0, 1, "these work: 1, 2$"),
        (1, 3, "parallel.pipeline=3 .*28 layers; these work: 1, 2, 4, 7, 14, 28$"),
    ],
)
def test_says_which_layouts_would_work(tmp_path: Path, tensor: int, pipeline: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_layout(describe(write(tmp_path, DEEPSEEK_1P5B)), tensor, pipeline)


def safetensors_bytes(*names: str) -> bytes:
    entries = {name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]} for i, name in enumerate(names)}
    header = json.dumps({"__metadata__": {"format": "pt"}} | entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8 * len(names))


def write_sharded(directory: Path) -> None:
    weight_map = {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (directory / "one.safetensors").write_bytes(safetensors_bytes("a", "b"))
    (directory / "two.safetensors").write_bytes(safetensors_bytes("c"))


def test_whole_weights_pass(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    check_weights_complete(tmp_path)
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes("a"))
    check_weights_complete(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 30, -1])
def test_truncated_weights_are_named(tmp_path: Path, kept: int) -> None:
    write_sharded(tmp_path)
    file = tmp_path / "two.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"two\.safetensors"):
        check_weights_complete(tmp_path)


@pytest.mark.parametrize("header", [b"[1, 2]", b'{"a": 3}', b"\xff{}"])
def test_damaged_headers_are_named(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelError, match=r"model\.safetensors.*damaged"):
        check_weights_complete(tmp_path)


def test_weights_that_the_index_names_must_exist(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    (tmp_path / "one.safetensors").write_bytes(safetensors_bytes("a"))
    with pytest.raises(ModelError, match=r"one\.safetensors: lacks b"):
        check_weights_complete(tmp_path)
    (tmp_path / "one.safetensors").unlink()
    with pytest.raises(ModelError, match=r"one\.safetensors: missing"):
        check_weights_complete(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../one.safetensors"}}')
    with pytest.raises(ModelError, match="not a plain file name"):
        check_weights_complete(tmp_path)


def test_pickled_and_absent_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor"):
        check_weights_complete(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: pickled weights are refused"):
        check_weights_complete(tmp_path)


def test_a_login_node_needs_no_torch() -> None:
    code = "import sys, prorl_mega.huggingface.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_family_of_ones_own(tmp_path: Path) -> None:
    write(tmp_path, LLAMA_3P2_1B, architectures=["MistralForCausalLM"])
    with pytest.raises(ModelError, match=r"MistralForCausalLM.*these work: Qwen2ForCausalLM.*model\.family"):
        describe(tmp_path)
    assert describe(tmp_path, MY_FAMILY).family.architecture == "MistralForCausalLM"
    write(tmp_path, LLAMA_3P2_1B, architectures=["MistralForCausalLM"], sliding_window=4096)
    with pytest.raises(ModelError, match="sliding-window attention is not supported"):
        describe(tmp_path, MY_FAMILY)
    write(tmp_path, LLAMA_3P2_1B)
    with pytest.raises(ModelError, match=r"LlamaForCausalLM.*these work: MistralForCausalLM$"):
        describe(tmp_path, MY_FAMILY)
    with pytest.raises(ConfigError, match=r"replace has the type function; a model family has to be a Family"):
        describe(tmp_path, MY_FAMILY.replace("MISTRAL", "replace"))
