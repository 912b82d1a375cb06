"""A tokenizer of single characters, such as examples/tiny_qwen2 has."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from prorl_mega.huggingface.tokenizer import Tokenizer

PAD, END = "<pad>", "<end>"
ALPHABET = "\n" + "".join(map(chr, (*range(0x20, 0x7F), *range(0xC0, 0x100))))
"""Newline, printable ASCII and the letters of Latin-1: all that the short wordings of the tasks contain."""


def character_tokenizer(directory: str | Path, alphabet: str) -> Tokenizer:
    """Write a tokenizer with one token per character of `alphabet`, and load it.

    Ids: 0 padding, 1 end of sequence, then the characters in the order of `alphabet`. Other characters cannot be
    encoded. The files can be loaded by transformers and vLLM as well.
    """
    assert alphabet, "an alphabet needs characters"
    letters = list(dict.fromkeys(alphabet))
    backend = Backend(models.WordLevel({PAD: 0, END: 1, **{letter: i for i, letter in enumerate(letters, start=2)}}))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(PAD, special=True), AddedToken(END, special=True)])
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    backend.save(str(directory / "tokenizer.json"))
    named = {"pad_token": PAD, "eos_token": END}
    settings = {**named, "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (directory / "special_tokens_map.json").write_text(json.dumps(named, indent=2) + "\n")
    return Tokenizer(directory)
