"""`examples/smollm2.py`: a GGUF file becomes the Hugging Face directory that it was made of."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from prorl_mega.errors import ConfigError, ModelError
from prorl_mega.huggingface.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
HIDDEN, INNER, LAYERS, HEADS, KV_HEADS = 64, 96, 2, 4, 2
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["a b", "Ġ ab", "1 2"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


@pytest.fixture(scope="module")
def smollm2() -> ModuleType:
    spec = importlib.util.spec_from_file_location("smollm2", ROOT / "examples" / "smollm2.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gguf(smollm2: ModuleType) -> Any:
    try:
        return smollm2.load_gguf()
    except ImportError:
        pytest.skip("the package gguf is neither in .smollm/ nor installed: `make smollm` once")


def weights() -> dict[str, np.ndarray]:
    """Under transformers' names."""
    draw = np.random.default_rng(3)
    layer = {
        "input_layernorm": (HIDDEN,),
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
        "self_attn.v_proj": (HIDDEN // 2, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "post_attention_layernorm": (HIDDEN,),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }
    shapes = {f"model.layers.{i}.{name}.weight": shape for i in range(LAYERS) for name, shape in layer.items()}
    shapes |= {"model.embed_tokens.weight": (len(vocabulary()), HIDDEN), "model.norm.weight": (HIDDEN,)}
    return {name: draw.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def vocabulary() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return [*CONTROL, *sorted(ByteLevel.alphabet()), "ab", "Ġab", "12"]


def paired(weight: np.ndarray, heads: int) -> np.ndarray:
    """The order of rows that GGUF files have: dimension i beside dimension i + half of each head."""
    size = len(weight) // heads
    order = [head * size + half * (size // 2) + i for head in range(heads) for i in range(size // 2) for half in (0, 1)]
    return weight[order]


def write(gguf: Any, path: Path, *, leave_out: str = "", pre: str = "smollm") -> dict[str, np.ndarray]:
    """A GGUF file of `weights()`, and what its numbers stand for after they were rounded to 4 bits."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(50000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary())
    writer.add_token_types([3] * len(CONTROL) + [1] * (len(vocabulary()) - len(CONTROL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    names = {
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
    }
    kept = {}
    for name, weight in weights().items():
        part = name.removesuffix(".weight")
        layer = ""
        if part.startswith("model.layers."):
            layer, part = part.removeprefix("model.layers.").split(".", 1)
            layer = f"blk.{layer}."
        if f"{layer}{names[part]}" == leave_out:
            continue
        heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(names[part])
        stored = weight if heads is None else paired(weight, heads)
        kind = gguf.GGMLQuantizationType.F32 if weight.ndim == 1 else gguf.GGMLQuantizationType.Q4_1
        data = gguf.quants.quantize(stored, kind)
        rounded = gguf.quants.dequantize(data, kind)
        writer.add_tensor(f"{layer}{names[part]}.weight", data, raw_dtype=kind)
        kept[name] = rounded if heads is None else _back(rounded, weight, heads)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


def _back(rounded: np.ndarray, weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of `rounded` in the order of `weight`, from where `paired` has put them."""
    places = paired(np.arange(len(weight))[:, None], heads)[:, 0]
    result = np.empty_like(rounded)
    result[places] = rounded
    return result


def test_a_file_becomes_the_directory_it_was_made_of(smollm2: ModuleType, gguf: Any, tmp_path: Path) -> None:
    kept = write(gguf, tmp_path / "tiny.gguf")
    smollm2.convert(tmp_path / "tiny.gguf", tmp_path / "model")
    found = load_file(tmp_path / "model" / "model.safetensors")
    assert found.keys() == kept.keys()
    for name, weight in kept.items():
        np.testing.assert_array_equal(found[name], weight, err_msg=name)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["num_hidden_layers"] == LAYERS
    assert config["num_key_value_heads"] == KV_HEADS
    assert config["rope_theta"] == 50000.0
    assert config["rms_norm_eps"] == 1e-5
    assert config["tie_word_embeddings"] is True
    said = smollm2.answer(tmp_path / "model", "ab 12")  # of random weights: finite numbers, and some text
    assert isinstance(said, str)


def test_the_tokenizer_has_digits_control_tokens_and_the_template(
    smollm2: ModuleType, gguf: Any, tmp_path: Path
) -> None:
    write(gguf, tmp_path / "tiny.gguf")
    smollm2.convert(tmp_path / "tiny.gguf", tmp_path / "model")
    tokenizer = Tokenizer(tmp_path / "model")
    names = vocabulary()
    assert tokenizer.eos_id == 2
    assert [names[index] for index in tokenizer.encode("ab ab12")] == ["ab", "Ġab", "1", "2"]
    prompt = [names[index] for index in tokenizer.encode_prompt("ab")]
    assert (prompt[0], prompt.count("<|im_start|>"), "ab" in prompt) == ("<|im_start|>", 1, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leave_out": "blk.1.ffn_up"}, r"1 weights are missing, first model\.layers\.1\.mlp\.up_proj\.weight"),
        ({"pre": "llama-bpe"}, r"tokenizer\.ggml\.pre is 'llama-bpe'; only 'smollm' is converted"),
    ],
)
def test_what_is_not_the_model_is_named(
    smollm2: ModuleType, gguf: Any, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    write(gguf, tmp_path / "tiny.gguf", **changes)
    with pytest.raises(ModelError, match=message):
        smollm2.convert(tmp_path / "tiny.gguf", tmp_path / "model")


def test_the_directory_appears_when_it_has_been_checked(
    smollm2: ModuleType, gguf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(gguf, tmp_path / "tiny.gguf")
    command = ["--gguf", str(tmp_path / "tiny.gguf"), "--output", str(tmp_path / "model")]
    with monkeypatch.context() as patch:
        patch.setattr(smollm2, "answer", lambda *_: sys.exit("broken off"))
        with pytest.raises(SystemExit, match="broken off"):
            smollm2.main(command)
    assert not (tmp_path / "model").exists()
    assert smollm2.main(command) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "tiny.gguf"]


def test_a_file_that_is_no_model_is_named(smollm2: ModuleType, gguf: Any, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("no model, but long enough to be read as a header and a table\n" * 8)
    with pytest.raises(ModelError, match=r"text\.gguf: not a GGUF file"):
        smollm2.convert(tmp_path / "text.gguf", tmp_path / "model")


def test_rows_of_heads_are_put_back(smollm2: ModuleType) -> None:
    weight = np.arange(32 * 3).reshape(32, 3)
    np.testing.assert_array_equal(smollm2.halves_apart(paired(weight, 4), 4), weight)


def test_without_an_index_the_way_out_is_named(
    smollm2: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smollm2, "PACKAGES", tmp_path / "packages")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(ConfigError, match=r"(?s)No matching distribution found for .*PIP_FIND_LINKS=<directory>"):
        smollm2.install()


def test_a_directory_that_is_there_is_left_alone(
    smollm2: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(smollm2, "install", lambda: sys.exit("nothing is to be installed"))
    assert smollm2.main(["--output", str(tmp_path)]) == 0
    assert "is there already" in capsys.readouterr().out
