"""The texts of an answer's tokens, from the tokenizer of its model. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class TokenTexts:
    """The tokenizer in a directory; `is_known` is false where there is none that can be read."""

    def __init__(self, directory: str | Path) -> None:
        from tokenizers import Tokenizer

        self._backend: Any = None
        path = Path(directory) / "tokenizer.json"
        if path.is_file():
            try:
                self._backend = Tokenizer.from_file(str(path))
            except Exception:  # the library raises bare Exception
                return

    @property
    def is_known(self) -> bool:
        return self._backend is not None

    def pieces(self, ids: Sequence[int], text: str) -> list[str] | None:
        """`[T]` texts that add up to `text`, "" for a token that is not part of it (an end token) and for all but the
        last token of a character. None if this tokenizer does not give that text: it belongs to another model.
        """
        from tokenizers.decoders import DecodeStream

        if self._backend is None:
            return None
        stream, pieces, at = DecodeStream(skip_special_tokens=False), [], 0
        for each in ids:
            try:
                piece = stream.step(self._backend, each) or ""
            except Exception:  # an id that this tokenizer does not have
                return None
            if not text.startswith(piece, at):
                piece = ""
            pieces.append(piece)
            at += len(piece)
        return pieces if at == len(text) else None
