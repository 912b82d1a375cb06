"""Text to token ids and back, from the files of a Hugging Face directory. Imports no torch, and transformers only to
render a chat template.

Text of problems is data: a `<|im_start|>` inside it must not become the control token of that name, or a problem could
forge turns of the assistant. Only the chat template writes control tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Backend

from prorl_mega.errors import ConfigError, DataError, ModelError
from prorl_mega.huggingface.chat_template import messages, read_chat_template
from prorl_mega.huggingface.tokenizer_files import TokenizerFiles

_MARKS = ("\ue000SYSTEM\ue001", "\ue000PROMPT\ue001")
"""Private-use characters that stand for the texts of the two turns while a template is rendered."""
_MARK = re.compile(f"({'|'.join(_MARKS)})")
_MARKER = re.compile(r"think|thought|reason|answer|solution|channel|^<\|message\|>$", re.IGNORECASE)
"""Names of tokens around a thought or an answer: <think>, [THINK], <|begin_of_solution|>, <answer>, <|channel|>."""


class Tokenizer:
    """`tokenizer.json` with the chat template and the end-of-sequence token that belong to it."""

    def __init__(self, directory: str | Path, *, keep_special: Sequence[str] | None = None, **chat: Any) -> None:
        """Load the files of `directory`. Raises ModelError that names the missing or broken file.

        `keep_special` is `model.keep_special_tokens`, and `chat` the settings of `model.chat`: `system`, `arguments`,
        `today`. Raises ConfigError if the directory does not fit them.
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
        self.end_ids = self._find_ends()
        added = self._backend.get_added_tokens_decoder()
        self._control = {token.content: index for index, token in added.items() if token.special}
        self.markers = self._find_markers()
        self.kept = self.markers if keep_special is None else self._checked(keep_special)
        self._hidden = {*self._control.values(), *self.end_ids} - {self._control[name] for name in self.kept}
        self._template = read_chat_template(self._files, **chat)
        self._system: str | None = chat.get("system")

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
        if system and (refusal := self._system_refusal):
            raise DataError(f"a problem brings a system turn, {system[:80]!r}, but {refusal}; put it into the prompt")
        if self._template is None:
            return np.concatenate([self._opening(), self.encode(prompt)])
        turns = [prompt] if not system and self._system is None else [system or self._system or "", prompt]
        marked, texts = [], dict[str, str]()
        for turn, mark in zip(turns, _MARKS[-len(turns) :], strict=True):
            if any(name in turn for name in self._control):
                texts[mark] = turn.strip()  # templates may remove the white space around it
                turn = turn.replace(texts[mark], mark)
            marked.append(turn)
        rendered = self._template.render(messages(*marked))
        if lost := [text for mark, text in texts.items() if rendered.count(mark) != 1]:
            raise DataError(
                f"{self._files.directory}: the chat template does not repeat a message as it is; {lost[0][:80]!r}"
            )
        pieces = _MARK.split(rendered) if texts else [rendered]
        return np.concatenate(
            [self.encode(texts[each]) if each in texts else self._ids(each, control=True) for each in pieces]
        )

    def decode(self, ids: Sequence[int] | np.ndarray, skip_special: bool = True) -> str:
        """The text of one sequence; `skip_special`: as `decode_batch` gives it, or with every control token."""
        if skip_special:
            return self.decode_batch([ids])[0]
        return self._backend.decode(np.asarray(ids, dtype=np.int64).tolist(), skip_special_tokens=False)

    def decode_batch(self, batch: Sequence[Sequence[int] | np.ndarray]) -> list[str]:
        """The texts of many sequences, for verifiers and for people: of the control tokens only those of `kept`."""
        hidden = self._hidden  # a set: np.isin takes ten times as long for an answer of a few tokens
        shown = [[each for each in np.asarray(ids, dtype=np.int64).tolist() if each not in hidden] for ids in batch]
        return self._backend.decode_batch(shown, skip_special_tokens=False)

    def notes(self) -> list[str]:
        """Lines for people about the control tokens of answers that verifiers see, or do not and might look for."""
        hidden = [name for name in self.markers if name not in self.kept]
        seen = f"verifiers see these control tokens of an answer: {', '.join(self.kept)}"
        unseen = f"verifiers do not see these control tokens of an answer: {', '.join(hidden)}"
        return [f"{line} (model.keep_special_tokens)" for line, names in ((seen, self.kept), (unseen, hidden)) if names]

    def _find_markers(self) -> list[str]:
        """The control tokens that mark thoughts or answers, by their names; none that pads or ends."""
        roles = {self._files.special_tokens.get(role) for role in ("bos_token", "eos_token", "pad_token", "unk_token")}
        return [
            name
            for name, index in self._control.items()
            if _MARKER.search(name) and name not in roles and index not in self.end_ids
        ]

    def _checked(self, names: Sequence[str]) -> list[str]:
        for name in names:
            if name not in self._control:
                raise ConfigError(
                    f"model.keep_special_tokens: {name!r} is not a special token of {self._files.directory}; "
                    f"it has {', '.join(self._control)}"
                )
        return list(names)

    @cached_property
    def _system_refusal(self) -> str:
        """Why a prompt of this model cannot have a system turn; empty if it can."""
        if self._template is None:
            return f"{self._files.directory} has no chat template that could show one"
        return self._template.system_refusal()

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
        for file in ("generation_config.json", "config.json"):
            if ids := self._files.end_ids(file):
                return ids[0]
        raise ModelError(
            f"{self._files.directory}: no end-of-sequence token: none of tokenizer_config.json (eos_token), "
            "generation_config.json and config.json (eos_token_id) names one"
        )

    def _find_ends(self) -> tuple[int, ...]:
        """All ids that end a completion: chat models have one token for a turn and another for a text.

        A list in config.json stands in for those of generation_config.json. A single number there does not: it is often
        the default of a model class and not a token of this tokenizer.
        """
        others = self._files.end_ids("generation_config.json")
        if not others and len(listed := self._files.end_ids("config.json")) > 1:
            others = listed
        return tuple(dict.fromkeys([self.eos_id, *others]))
