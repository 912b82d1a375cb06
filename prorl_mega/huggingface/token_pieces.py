"""The text of every single token of an answer, for people who read it token by token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tokenizers import Tokenizer as Backend

from prorl_mega.errors import ModelError

_LONGEST_CHARACTER = 8  # tokens; after as many, what is no character stays none


class TokenPieces:
    """The tokens of `tokenizer.json` in a Hugging Face directory. ModelError where there is none."""

    def __init__(self, directory: str | Path) -> None:
        path = Path(directory) / "tokenizer.json"
        try:
            self._backend = Backend.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path}: no tokenizer: {error}") from None

    @classmethod
    def known(cls, directory: object) -> Self | None:
        """The tokenizer of a directory that settings name; None where there is none that can be read from here."""
        if not isinstance(directory, str | Path) or not (Path(directory) / "tokenizer.json").is_file():
            return None
        try:
            return cls(directory)
        except ModelError:
            return None

    def aligned(self, ids: Sequence[int], text: str) -> list[str] | None:
        """`[T]` texts that add up to `text`, "" for a token that it does not show, as an end token is.

        None where this tokenizer does not give that text: it belongs to another model.
        """
        pieces, at = [], 0
        try:
            found = self.of(ids)
        except OverflowError:  # an id below 0
            return None
        for piece in found:
            shown = piece if text.startswith(piece, at) else ""
            pieces.append(shown)
            at += len(shown)
        return pieces if at == len(text) else None

    def of(self, ids: Sequence[int]) -> list[str]:
        """`[T]` texts that add up to that of the whole; a token that ends inside a character has an empty one, and its
        last token the character."""
        pieces = []
        context, done = 0, 0  # decoded from `context` on, because a first token loses its space; known up to `done`
        for end in range(1, len(ids) + 1):
            before, now = self._decoded(ids[context:done]), self._decoded(ids[context:end])
            if now.endswith("\ufffd") and end < len(ids) and end - done < _LONGEST_CHARACTER:
                pieces.append("")
                continue
            pieces.append(now[len(before) :])
            context, done = done, end
        return pieces

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self._backend.decode(list(ids), skip_special_tokens=False)
        return text
