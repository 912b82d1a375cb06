"""Directories of chat models without weights: a tokenizer of bytes with control tokens, and files as published."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend


def byte_tokenizer(directory: Path, control: Iterable[str]) -> None:
    """Write a tokenizer.json with a token for each byte and each name of `control`, and what transformers needs."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, special=True) for name in control])
    backend.save(str(directory / "tokenizer.json"))
    file = directory / "tokenizer_config.json"
    settings = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}), "utf-8")


def chat_model(
    directory: Path, *, control: Iterable[str] = (), files: dict[str, str] | None = None, **config: Any
) -> Path:
    """Write a model's tokenizer with tokenizer_config.json of `config`, and `files` by their names."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {"eos_token": "<|im_end|>"} | config
    (directory / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    for name, text in (files or {}).items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    byte_tokenizer(directory, ["<|im_start|>", "<|im_end|>", "<|begin|>", "<|pad|>", *control])
    return directory
