"""Directories that are written are complete, load in transformers, and never seen by halves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.shards import read_checkpoint, write_checkpoint
from safetensors.torch import load_file, save_file

import prorl_mega.weights.directory as directory_module
from prorl_mega.errors import ModelError, StorageError
from prorl_mega.huggingface.config import describe
from prorl_mega.huggingface.weights import read_headers
from prorl_mega.weights.directory import save_directory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = write_checkpoint(tmp_path / "source", "qwen2", tied=False)
    (directory / "tokenizer.json").write_text("{}")
    (directory / "modeling_custom.py").write_text("raise SystemExit")
    return directory


def stream_of(directory: Path, dtype: torch.dtype = torch.float32) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, tensor.to(dtype)) for name, tensor in read_checkpoint(directory).items())


@pytest.mark.parametrize("max_shard_bytes", [1 << 30, 20_000, 1])
def test_what_is_written_is_what_was_streamed(source: Path, tmp_path: Path, max_shard_bytes: int) -> None:
    target = tmp_path / "runs" / "target"
    save_directory(stream_of(source), source, target, max_shard_bytes=max_shard_bytes, writes=True)

    read_headers(target)
    assert describe(target) == describe(source)
    expected, written = read_checkpoint(source), read_checkpoint(target)
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], expected[name]) for name in expected)
    files = list(target.glob("*.safetensors"))
    for contents in map(load_file, files):
        assert len(contents) == 1 or sum(tensor.nbytes for tensor in contents.values()) <= max_shard_bytes
    assert (target / "model.safetensors.index.json").exists() == (len(files) > 1)
    assert (target / "tokenizer.json").exists()
    assert not (target / "modeling_custom.py").exists(), "code is never copied"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_the_config_names_the_dtype_that_is_written(source: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    stream = stream_of(source, torch.bfloat16)
    save_directory(stream, source, tmp_path / "target", max_shard_bytes=20_000, writes=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "target", dtype="auto")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_views_of_one_storage_become_tensors_of_their_own(source: Path, tmp_path: Path) -> None:
    both = torch.randn(8, 6)
    stream = iter([("gate", both[:4]), ("up", both[4:]), ("turned", both.T), ("cropped", both[:3])])
    save_directory(stream, source, tmp_path / "target", max_shard_bytes=1 << 30, writes=True)
    written = read_checkpoint(tmp_path / "target")
    assert torch.equal(written["turned"], both.T)
    assert torch.equal(written["cropped"], both[:3])
    assert torch.equal(torch.cat([written["gate"], written["up"]]), both)


def test_ranks_that_do_not_write_consume(source: Path, tmp_path: Path) -> None:
    stream = stream_of(source)
    save_directory(stream, source, tmp_path / "target", max_shard_bytes=1, writes=False)
    assert next(stream, None) is None
    assert not (tmp_path / "target").exists()


def test_an_older_checkpoint_is_replaced(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    save_directory(stream_of(source), source, target, max_shard_bytes=1, writes=True)
    save_directory(stream_of(source), source, target, max_shard_bytes=1 << 30, writes=True)
    assert len(list(target.glob("*.safetensors"))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_a_checkpoint_may_replace_its_own_source(source: Path) -> None:
    before = read_checkpoint(source)
    doubled = iter([(name, tensor * 2) for name, tensor in before.items()])
    save_directory(doubled, source, source, max_shard_bytes=1 << 30, writes=True)
    assert all(torch.equal(tensor, before[name] * 2) for name, tensor in read_checkpoint(source).items())


def test_other_directories_are_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("all of it")
    stream = stream_of(source)
    with pytest.raises(ModelError, match="thesis: exists and is not a checkpoint"):
        save_directory(stream, source, tmp_path / "thesis", max_shard_bytes=1, writes=True)
    assert next(stream, None) is None, "the other ranks would wait"
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


def test_a_full_disk_leaves_the_old_checkpoint(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "target"
    save_directory(stream_of(source), source, target, max_shard_bytes=1 << 30, writes=True)
    before = (target / "model.safetensors").read_bytes()

    def fill(tensors: dict[str, torch.Tensor], file: Path, metadata: dict[str, str]) -> None:
        if file.name == "2.part":
            raise OSError(28, "No space left on device")
        save_file(tensors, file, metadata)

    monkeypatch.setattr(directory_module, "save_file", fill)
    stream = stream_of(source)
    with pytest.raises(StorageError, match=r"target: cannot be written: .*No space left"):
        save_directory(stream, source, target, max_shard_bytes=1, writes=True)
    assert next(stream, None) is None, "the other ranks would wait"
    assert (target / "model.safetensors").read_bytes() == before

    monkeypatch.undo()
    save_directory(stream_of(source), source, target, max_shard_bytes=1 << 30, writes=True)
    assert json.loads((target / "config.json").read_text())["dtype"] == "float32"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
