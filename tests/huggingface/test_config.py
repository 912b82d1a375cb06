"""What is read from Hugging Face directories, and what is refused before anything is allocated."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.shards import MY_FAMILY

from prorl_mega.errors import ConfigError, ModelError
from prorl_mega.families.family import ExpertsDescription, ModelDescription
from prorl_mega.families.qwen2 import QWEN2
from prorl_mega.families.registry import FAMILIES
from prorl_mega.families.rope import Llama3Scaling
from prorl_mega.huggingface.config import check_layout, describe
from prorl_mega.huggingface.config_fields import BOOKKEEPING, EXPERTS, NEUTRAL, READ
from prorl_mega.huggingface.weights import read_headers

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

MISTRAL_7B: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "vocab_size": 32768,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}


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
        rotary_dim=128,
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


@pytest.mark.parametrize(
    "architecture", ["Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM"]
)
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
        (
            {"layer_types": ["full_attention", "chunked_attention"]},
            "layer_types: 'chunked_attention'.*'full_attention'",
        ),
        ({"use_sliding_window": True, "sliding_window": 0}, "sliding_window=0 must be a positive integer"),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "'dynamic'.*'default', 'linear', 'llama3' and 'yarn'"),
        (
            {"rope_scaling": {"rope_type": "yarn", "type": "linear", "factor": 4.0}},
            "rope_type='yarn' and type='linear'",
        ),
        (
            {"rope_scaling": {"type": "default", "mrope_section": [1, 2]}},
            "rope_scaling: mrope_section is not supported",
        ),
        ({"rope_scaling": {"full_attention": {"rope_type": "default"}}}, "other RoPE for full_attention"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}, "lacks low_freq_factor"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
        ({"attention_bias": True}, "attention_bias=true is not supported; only false works"),
        ({"attention_dropout": 0.1}, "attention_dropout=0.1 is not supported; only 0 works"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping=30.0 is not supported; leaving it out works"),
        ({"is_causal": False}, "is_causal=false"),
        ({"llama_4_scaling": {"beta": 0.1}}, "llama_4_scaling"),
        ({"model_type": "llama"}, "model_type='llama' does not fit Qwen2ForCausalLM; 'qwen2' does"),
        ({"hidden_act": "gelu"}, "only 'silu'"),
        ({"quantization_config": {"quant_method": "fp8"}}, "unquantized"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"num_hidden_layers": "28"}, "num_hidden_layers='28' must be a positive integer"),
        ({"num_key_value_heads": 5}, "not a multiple"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings='no' must be true or false"),
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


@pytest.mark.parametrize(("tensor", "pipeline"), [(1, 1), (2, 1), (1, 28), (2, 14), (4, 1)])
def test_accepts_layouts_that_divide(tmp_path: Path, tensor: int, pipeline: int) -> None:
    check_layout(describe(write(tmp_path, DEEPSEEK_1P5B)), tensor, pipeline)


@pytest.mark.parametrize(
    ("tensor", "pipeline", "message"),
    [
        (5, 1, r"parallel.tensor=5 .*attention heads \(12\); these work: 1, 2, 4$"),
        (3, 1, r"parallel.tensor=3 .*key/value heads \(2\), nor they it; these work: 1, 2, 4$"),
        (12, 1, r"parallel.tensor=12 .*rows of keys and values \(512\); these work: 1, 2, 4$"),
        (0, 1, "these work: 1, 2, 4$"),
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
    assert list(read_headers(tmp_path)) == ["a", "b", "c"]
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes("a"))
    assert list(read_headers(tmp_path)) == ["a"]


@pytest.mark.parametrize("kept", [0, 5, 30, -1])
def test_truncated_weights_are_named(tmp_path: Path, kept: int) -> None:
    write_sharded(tmp_path)
    file = tmp_path / "two.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"two\.safetensors"):
        read_headers(tmp_path)


@pytest.mark.parametrize("header", [b"[1, 2]", b'{"a": 3}', b"\xff{}"])
def test_damaged_headers_are_named(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelError, match=r"model\.safetensors.*damaged"):
        read_headers(tmp_path)


def test_weights_that_the_index_names_must_exist(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    (tmp_path / "one.safetensors").write_bytes(safetensors_bytes("a"))
    with pytest.raises(ModelError, match=r"one\.safetensors: lacks b"):
        read_headers(tmp_path)
    (tmp_path / "one.safetensors").unlink()
    with pytest.raises(ModelError, match=r"one\.safetensors: missing"):
        read_headers(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../one.safetensors"}}')
    with pytest.raises(ModelError, match="not a plain file name"):
        read_headers(tmp_path)


def test_pickled_and_absent_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor"):
        read_headers(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: pickled weights are refused"):
        read_headers(tmp_path)


def test_a_login_node_needs_no_torch() -> None:
    code = "import sys, prorl_mega.huggingface.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_family_of_ones_own(tmp_path: Path) -> None:
    write(tmp_path, LLAMA_3P2_1B, architectures=["MistralForCausalLM"], model_type="mistral")
    mine, built_in = describe(tmp_path, MY_FAMILY), describe(tmp_path)
    assert mine == built_in, "the example is Mistral as it is built in"
    write(tmp_path, LLAMA_3P2_1B, architectures=["MixtralForCausalLM"])
    with pytest.raises(ModelError, match=r"MixtralForCausalLM.*these work: Qwen2ForCausalLM.*model\.family"):
        describe(tmp_path)
    write(tmp_path, LLAMA_3P2_1B)
    with pytest.raises(ModelError, match=r"LlamaForCausalLM.*these work: MistralForCausalLM$"):
        describe(tmp_path, MY_FAMILY)
    with pytest.raises(ConfigError, match=r"replace has the type function; a model family has to be a Family"):
        describe(tmp_path, MY_FAMILY.replace("MISTRAL", "replace"))


@pytest.mark.parametrize(
    ("config", "changes", "positions", "bound_by"),
    [
        (DEEPSEEK_1P5B, {"use_sliding_window": True}, 4096, "sliding_window"),
        (DEEPSEEK_1P5B, {"use_sliding_window": False}, 131072, "max_position_embeddings"),
        (DEEPSEEK_1P5B, {"layer_types": ["full_attention", "sliding_attention"]}, 4096, "sliding_window"),
        (LLAMA_3P2_1B, {"sliding_window": 64}, 64, "sliding_window"),
        (LLAMA_3P2_1B, {"sliding_window": None}, 131072, "max_position_embeddings"),
        (MISTRAL_7B, {}, 4096, "sliding_window"),  # by Mistral's configuration class
        (MISTRAL_7B, {"sliding_window": None}, 32768, "max_position_embeddings"),
        (MISTRAL_7B, {"sliding_window": 65536}, 32768, "max_position_embeddings"),
        (DEEPSEEK_1P5B, {"rope_scaling": YARN, "max_position_embeddings": 512}, 2048, "yarn"),
    ],
)
def test_a_window_that_no_sequence_outgrows_is_full_attention(
    tmp_path: Path, config: dict[str, Any], changes: dict[str, Any], positions: int, bound_by: str
) -> None:
    found = describe(write(tmp_path, config, **changes))
    assert (found.max_positions, found.positions_bound_by) == (positions, bound_by)


def test_unknown_fields_are_reported_and_those_without_a_value_are_not(tmp_path: Path) -> None:
    changes = {"model_type": "qwen2", "torch_dtype": "bfloat16", "brand_new_multiplier": 3.0, "other": None, "aux": 0}
    assert describe(write(tmp_path, DEEPSEEK_1P5B, **changes)).ignored == ("brand_new_multiplier", "aux")


MIXTURE = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 128, "num_experts_per_tok": 8,
    "moe_intermediate_size": 768, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
    "router_aux_loss_coef": 0.001, "output_router_logits": False,
}  # fmt: skip


def test_a_mixture_of_experts(tmp_path: Path) -> None:
    found = describe(write(tmp_path, DEEPSEEK_1P5B, **MIXTURE))
    assert found.experts == ExpertsDescription(count=128, active=8, ffn_size=768, normalized=True)
    assert found.ignored == ()
    renamed = {"num_experts": None, "num_local_experts": 64, "norm_topk_prob": None}  # as transformers writes it
    found = describe(write(tmp_path, DEEPSEEK_1P5B, **MIXTURE | renamed))
    assert found.experts == ExpertsDescription(count=64, active=8, ffn_size=768, normalized=False)
    assert describe(write(tmp_path, DEEPSEEK_1P5B)).experts is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlp_only_layers": [3]}, "mlp_only_layers"),
        ({"decoder_sparse_step": 2}, "only models with experts in every layer"),
        ({"num_experts": None}, "lacks num_local_experts"),
        ({"num_experts_per_tok": 129}, "num_experts_per_tok=129 is more than num_experts=128"),
        ({"moe_intermediate_size": 0}, "moe_intermediate_size=0 must be a positive integer"),
        ({"n_routed_experts": 8}, "n_routed_experts=8 is not supported"),
    ],
)
def test_mixtures_that_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        describe(write(tmp_path, DEEPSEEK_1P5B, **MIXTURE | changes))


@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_field_of_transformers_has_its_rule_and_its_default(tmp_path: Path, architecture: str) -> None:
    """A version of transformers with another field, or another default for what config.json lacks, is seen here."""
    transformers = pytest.importorskip("transformers")
    family = FAMILIES[architecture]
    config_class = getattr(transformers, architecture.replace("ForCausalLM", "Config"))
    fields = {field.name: field.default for field in dataclasses.fields(config_class)}
    own = EXPERTS if family.experts else set()
    assert set(fields) <= READ | NEUTRAL.keys() | BOOKKEEPING | own
    assert config_class.model_type == family.model_type
    assert config_class.default_theta == 10_000.0
    for name, value in fields.items():
        if name in NEUTRAL and name not in own:
            assert value in (None, NEUTRAL[name]), name
    assert fields["tie_word_embeddings"] is False
    assert fields.get("sliding_window") == family.window
    assert fields.get("head_dim") == family.head_dim
    assert fields.get("original_max_position_embeddings") == family.original_max_positions
    assert (fields["num_key_value_heads"] is None) == family.may_lack_kv_heads
    assert ("use_sliding_window" in fields) == family.window_has_switch
