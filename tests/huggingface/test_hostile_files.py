"""Files of a model directory that were made to do harm: one sentence with the file and the field, in a moment."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.programs import TOKENIZER

from prorl_mega.errors import ModelError
from prorl_mega.huggingface import identity
from prorl_mega.huggingface.config import describe
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.huggingface.weights import check_weights, read_headers

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 104,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
}  # fmt: skip
DEEP = '{"a": ' + "[" * 100_000


def refused(message: str, work: Callable[[], Any]) -> None:
    started = time.process_time()
    with pytest.raises(ModelError, match=message) as error:
        work()
    assert time.process_time() - started < 5
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000 is more than any model has; at most 4096 works"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers=10+ is more than any model has"),
        ({"num_hidden_layers": 2.0}, r"num_hidden_layers=2\.0 must be a positive integer"),
        ({"num_attention_heads": 10**9, "num_key_value_heads": 1}, "num_attention_heads=1000000000 is more"),
        ({"num_key_value_heads": 10**9}, "num_key_value_heads=1000000000 is more"),
        ({"hidden_size": 10**12}, "hidden_size=1000000000000 is more"),
        ({"intermediate_size": 10**12}, "intermediate_size=1000000000000 is more"),
        ({"vocab_size": 10**12}, "vocab_size=1000000000000 is more"),
        ({"head_dim": 10**12}, "head_dim=1000000000000 is more"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings=1000000000000 is more"),
        ({"rms_norm_eps": 10**400}, r"rms_norm_eps=10+… \(401 characters\) must be a positive number"),
        ({"rms_norm_eps": math.inf}, "rms_norm_eps=inf must be a positive number"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps=nan must be a positive number"),
        ({"rms_norm_eps": 1e300}, r"rms_norm_eps=1e\+300 must be a positive number"),
        ({"rope_theta": 10**400}, "rope_theta=10+… "),
        ({"architectures": "Qwen2ForCausalLM"}, "architectures='Qwen2ForCausalLM' must be a list of names"),
        ({"architectures": {"0": 1}}, "architectures={'0': 1} must be a list of names"),
        ({"architectures": [["x"]]}, r"architectures=\[\['x'\]\] must be a list of names"),
        ({"architectures": ["x" * 10**6]}, r"architectures=\['x+… \(1000004 characters\) is not supported"),
        ({"layer_types": 7}, "layer_types=7 must be a list of names"),
        ({"layer_types": [{}]}, r"layer_types=\[{}\] must be a list of names"),
        ({"model_type": []}, r"model_type=\[\] must be a name"),
        ({"auto_map": {"x": "y"}, "model_type": {}}, "model_type={} must be a name"),
        ({"hidden_act": ["x"] * 10**5}, r"hidden_act=.*\(500000 characters\) is not supported"),
        ({"rope_scaling": {"rope_type": []}}, r"rope_type=\[\] must be a name"),
        ({"rope_scaling": [1]}, r"rope_scaling=\[1\] must be an object"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 10**400}}, "factor=10+… "),
    ],
    ids=itertools.count(),
)
def test_fields_of_config_json(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    describe(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"time_step_limit": [0.0, math.inf]}))
    describe(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | changes))
    refused(rf"config\.json: {message}", lambda: describe(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DEEP.encode(), "more than 64 objects and lists inside of each other"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" + b"[]," * 5_000_000 + b"[]]", ".*5000002 objects and lists"),
        (b"[]", "must hold a JSON object"),
    ],
    ids=itertools.count(),
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_json_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    if name == "config.json":
        refused(rf"config\.json: {message}", lambda: describe(tmp_path))
        return
    shutil.copyfile(TOKENIZER / "tokenizer.json", tmp_path / "tokenizer.json")
    refused(rf"tokenizer_config\.json: {message}", lambda: Tokenizer(tmp_path))


def test_more_bytes_than_a_config_has(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(10 << 30)
    refused(r"config\.json: 10737418240 bytes, more than the 67108864", lambda: describe(tmp_path))


@pytest.mark.parametrize("template", [[{"name": []}], [{"name": "default"}], [7], {"default": 7}, {"a": 1}])
def test_chat_templates_of_other_types(tmp_path: Path, template: Any) -> None:
    shutil.copytree(TOKENIZER, tmp_path / "model")
    for path in (tmp_path / "model").glob("*.jinja"):
        path.unlink()
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    with contextlib.suppress(ModelError):  # where none of them is the default
        assert Tokenizer(tmp_path / "model").encode_prompt("1").size


def header(content: str) -> bytes:
    return struct.pack("<Q", len(content)) + content.encode()


@pytest.mark.parametrize(
    "content",
    [
        header(DEEP),
        header("[]"),
        header("null"),
        header('{"a": []}'),
        header('{"a": {"dtype": [], "shape": [], "data_offsets": [0, 0]}}'),
        header('{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}'),
        header('{"a": {"dtype": "F32", "shape": 3, "data_offsets": [0, 0]}}'),
        header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}'),
        header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1e999]}}'),
        header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}}'),
        header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'),
        struct.pack("<Q", 2**63) + b"{}",
        b"\1\2",
    ],
    ids=itertools.count(),
)
def test_headers_of_weights(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    refused(r"model\.safetensors: (its|has|truncated)", lambda: read_headers(tmp_path))
    assert identity.contents(tmp_path, weights=True).keys() <= {identity.WEIGHTS}


@pytest.mark.parametrize(
    "index", ['{"weight_map": {"a": []}}', '{"weight_map": {"a": 7}}', '{"weight_map": []}', "[]", DEEP]
)
def test_indexes_of_weights(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    refused(r"model\.safetensors\.index\.json", lambda: read_headers(tmp_path))
    assert identity.contents(tmp_path, weights=True) == {}


def test_offsets_that_end_before_they_begin(tmp_path: Path) -> None:
    """Hashing reads a few kilobytes of each tensor, whatever its offsets are."""
    entry = '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}'
    (tmp_path / "model.safetensors").write_bytes(header(entry) + bytes(1 << 20))
    found = identity.contents(tmp_path, weights=True)
    (tmp_path / "model.safetensors").write_bytes(header(entry) + bytes(1 << 21))
    assert identity.contents(tmp_path, weights=True) == found


def test_the_largest_model_is_described_in_a_moment(tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 4096, "hidden_size": 1 << 20, "num_attention_heads": 1 << 14}
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | sizes | {"vocab_size": 1 << 24}))
    (tmp_path / "model.safetensors").write_bytes(header("{}"))
    refused("has no tensor", lambda: check_weights(tmp_path, describe(tmp_path)))
