"""The text of every single token of an answer, for people who read it token by token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
