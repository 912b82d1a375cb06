"""The texts of single tokens add up to the text of all, spaces and characters of several tokens included."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from prorl_mega.errors import ModelError
from prorl_mega.huggingface.token_pieces import TokenPieces

TEXT = "Two apples, due mele, \u4e8c\u4e2a\u82f9\u679c, \U0001f34e\U0001f34e!\n  x = 2"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A byte-level tokenizer whose vocabulary has no character of several bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["two apples and two more apples " * 3], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_pieces_add_up(directory: Path) -> None:
    ids = Tokenizer.from_file(str(directory / "tokenizer.json")).encode(TEXT).ids
    pieces = TokenPieces(directory).of(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == TEXT
    assert "\U0001f34e" in pieces
    assert " apples" in pieces
    assert "\ufffd" not in "".join(pieces)


def test_a_space_belongs_to_the_word_after_it(tmp_path: Path) -> None:
    """The decoder of this kind drops the space before the first token of what it is given."""
    words = ["\u2581two", "\u2581apples", "!"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="!"))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert TokenPieces(tmp_path).of([0, 1, 1, 2]) == ["two", " apples", " apples", "!"]


def test_what_is_no_character_ends(directory: Path) -> None:
    ids = Tokenizer.from_file(str(directory / "tokenizer.json")).encode("\U0001f34e").ids
    pieces = TokenPieces(directory).of(ids[:1] * 40)
    assert len(pieces) == 40
    assert set("".join(pieces)) == {"\ufffd"}
    assert TokenPieces(directory).of([]) == []
    assert TokenPieces(directory).of([2**31 - 1]) == [""]


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json: no tokenizer"):
        TokenPieces(tmp_path)


def test_pieces_of_a_text_leave_out_what_it_does_not_show(directory: Path) -> None:
    texts, backend = TokenPieces(directory), Tokenizer.from_file(str(directory / "tokenizer.json"))
    ids = [*backend.encode(TEXT).ids, backend.encode("m").ids[0]]
    pieces = texts.aligned(ids, TEXT)
    assert pieces is not None
    assert (len(pieces), "".join(pieces), pieces[-1]) == (len(ids), TEXT, "")
    assert texts.aligned(ids, "another text") is None
    assert texts.aligned([-1], TEXT) is None


def test_a_tokenizer_that_is_not_there_or_broken_is_not_known(directory: Path) -> None:
    assert TokenPieces.known(directory) is not None
    assert TokenPieces.known(directory / "nowhere") is None
    assert TokenPieces.known(None) is None
    (directory / "tokenizer.json").write_text("{")
    assert TokenPieces.known(directory) is None
