"""Text to token ids and back, from the files of a Hugging Face directory. Imports no torch, and transformers only to
render a chat template.

Text of problems is data: a `<|im_start|>` inside it must not become the control token of that name, or a problem could
forge turns of the assistant. Only the chat template writes control tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Backend

from prorl_mega.errors import ConfigError, DataError, ModelError
from prorl_mega.huggingface.chat_template import TODAY, read_chat_template
from prorl_mega.huggingface.tokenizer_files import TokenizerFiles

_MARKS = ("\ue000SYSTEM\ue001", "\ue000PROMPT\ue001")
"""Private-use characters that stand for the texts of the two turns while a template is rendered."""
_MARK = re.compile(f"({'|'.join(_MARKS)})")


class Tokenizer:
    """`tokenizer.json` with the chat template and the end-of-sequence token that belong to it."""

    def __init__(
        self,
        directory: str | Path,
        *,
        system: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        today: str = TODAY,
    ) -> None:
        """Load the files of `directory`. Raises ModelError that names the missing or broken file.

        `system` is the system turn of prompts that come without one (None: no such turn), `arguments` and `today` are
        those of the chat template. Raises ConfigError if the template cannot take them.
        """
        self._files = TokenizerFiles(directory)
        path = self._files.directory / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{path}: no such file; a fast tokenizer (tokenizer.json) is needed")
        try:
            self._backend = Backend.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path}: not a tokenizer: {error}") from None
        self._backend.no_padding()
        self._backend.no_truncation()
        self.eos_id = self._find_eos()
        self.end_ids = tuple(dict.fromkeys([self.eos_id, *self._files.end_ids()]))
        added = self._backend.get_added_tokens_decoder()
        self._control = [(token.content, index) for index, token in added.items() if token.special]
        self._template = read_chat_template(self._files, arguments or {}, today)
        self._system = system
        if system is not None and (refusal := self._system_refusal()):
            raise ConfigError(f"model.chat.system: {refusal}; leave the setting out")

    def __len__(self) -> int:
        """Number of ids, added tokens included: every id below it can be decoded."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, text: str) -> np.ndarray:
        """`[T]` int32. Plain text: names of control tokens in it are spelt out, and nothing is added around it."""
        return self._ids(text, control=False)

    def encode_prompt(self, prompt: str, system: str = "") -> np.ndarray:
        """`[P]` int32: what the model is given to answer a problem.

        With a chat template: `system` (or else that of the settings) as the system's message, the prompt as the user's
        and the opening of the assistant's. Without: the prompt itself, after the beginning-of-sequence token when this
        tokenizer puts one. Raises DataError for text that the tokenizer cannot express, and for a system text where
        there is no place for one.
        """
        if system and (refusal := self._system_refusal()):
            raise DataError(f"a problem brings a system turn, {system[:80]!r}, but {refusal}; put it into the prompt")
        if self._template is None:
            return np.concatenate([self._opening(), self.encode(prompt)])
        turns = [prompt] if not system and self._system is None else [system or self._system or "", prompt]
        marked, texts = [], dict[str, str]()
        for turn, mark in zip(turns, _MARKS[-len(turns) :], strict=True):
            if any(name in turn for name, _ in self._control):
                texts[mark] = turn.strip()  # templates may remove the white space around it
                turn = turn.replace(texts[mark], mark)
            marked.append(turn)
        rendered = self._template.render(_messages(*marked))
        if lost := [text for mark, text in texts.items() if rendered.count(mark) != 1]:
            raise DataError(
                f"{self._files.directory}: the chat template does not repeat a message as it is; {lost[0][:80]!r}"
            )
        pieces = _MARK.split(rendered) if texts else [rendered]
        return np.concatenate(
            [self.encode(texts[each]) if each in texts else self._ids(each, control=True) for each in pieces]
        )

    def decode(self, ids: Sequence[int] | np.ndarray, skip_special: bool = True) -> str:
        return self._backend.decode(np.asarray(ids, dtype=np.int64).tolist(), skip_special_tokens=skip_special)

    def decode_batch(self, batch: Sequence[Sequence[int] | np.ndarray]) -> list[str]:
        """The texts of many sequences, without control tokens."""
        plain = [np.asarray(ids, dtype=np.int64).tolist() for ids in batch]
        return self._backend.decode_batch(plain, skip_special_tokens=True)

    def _system_refusal(self) -> str:
        """Why a prompt of this model cannot have a system turn; empty if it can."""
        if self._template is None:
            return f"{self._files.directory} has no chat template that could show one"
        try:
            shown = _MARKS[0] in self._template.render(_messages(*_MARKS))
        except DataError as error:
            return f"{error} (it is asked for a system turn and one of the user)"
        return "" if shown else f"the chat template of {self._files.directory} leaves system turns out"

    def _ids(self, text: str, control: bool) -> np.ndarray:
        """The ids of `text`; `control`: whether names of control tokens become those tokens."""
        self._backend.encode_special_tokens = not control
        try:
            encoding = self._backend.encode(text, add_special_tokens=False)
        except Exception as error:
            unknown = sorted({letter for letter in text if self._backend.token_to_id(letter) is None})
            raise DataError(f"{self._files.directory}: cannot encode {text[:80]!r}: {error} {unknown[:10]}") from None
        return np.array(encoding.ids, dtype=np.int32)

    def _opening(self) -> np.ndarray:
        """Ids that the tokenizer puts in front of a plain text (beginning of sequence, or none)."""
        self._backend.encode_special_tokens = False
        around = self._backend.encode("", add_special_tokens=True).ids
        return np.array(around[:1] if around and around[0] != self.eos_id else [], dtype=np.int32)

    def _find_eos(self) -> int:
        """The end token, by name beside the tokenizer, else by number in generation_config.json or config.json."""
        name = self._files.special_tokens.get("eos_token")
        if name is not None:
            index = self._backend.token_to_id(name)
            if index is None:
                raise ModelError(
                    f"{self._files.directory}/tokenizer_config.json: eos_token {name!r} is not in tokenizer.json"
                )
            return index
        if ids := self._files.end_ids():
            return ids[0]
        raise ModelError(
            f"{self._files.directory}: no end-of-sequence token: none of tokenizer_config.json (eos_token), "
            "generation_config.json and config.json (eos_token_id) names one"
        )


def _messages(*turns: str) -> list[dict[str, str]]:
    """The turns with their roles: the user's, or the system's and the user's."""
    return [
        {"role": role, "content": text} for role, text in zip(("system", "user")[-len(turns) :], turns, strict=True)
    ]
