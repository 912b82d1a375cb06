"""Text to token ids and back, from the files of a Hugging Face directory. Imports neither torch nor transformers.

Text of problems is data: a `<|im_start|>` inside it must not become the control token of that name, or a problem could
forge turns of the assistant. Only the chat template writes control tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as Backend

from prorl_mega.errors import DataError, ModelError

_MARK = "\ue000PROMPT\ue001"  # private-use characters: stands for the problem while a template is rendered


class Tokenizer:
    """`tokenizer.json` with the chat template and the end-of-sequence token that belong to it."""

    def __init__(self, directory: str | Path) -> None:
        """Load the files of `directory`. Raises ModelError that names the missing or broken file."""
        self._directory = Path(directory)
        path = self._directory / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{path}: no such file; a fast tokenizer (tokenizer.json) is needed")
        try:
            self._backend = Backend.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path}: not a tokenizer: {error}") from None
        self._backend.no_padding()
        self._backend.no_truncation()
        self._settings = self._read_json("tokenizer_config.json")
        self._template = self._read_template()
        self.eos_id = self._find_eos()
        self.end_ids = self._find_ends()
        added = self._backend.get_added_tokens_decoder()
        self._control = [(token.content, index) for index, token in added.items() if token.special]

    def __len__(self) -> int:
        """Number of ids, added tokens included: every id below it can be decoded."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, text: str) -> np.ndarray:
        """`[T]` int32. Plain text: names of control tokens in it are spelt out, and nothing is added around it."""
        return self._ids(text, control=False)

    def encode_prompt(self, prompt: str) -> np.ndarray:
        """`[P]` int32: what the model is given to answer a problem.

        With a chat template: the prompt as the user's message and the opening of the assistant's. Without: the prompt
        itself, after the beginning-of-sequence token when this tokenizer puts one. Raises DataError for text that the
        tokenizer cannot express.
        """
        if self._template is None:
            return np.concatenate([self._opening(), self.encode(prompt)])
        if not any(name in prompt for name, _ in self._control):
            return self._ids(self._render(prompt), control=True)
        before, mark, after = self._render(_MARK).partition(_MARK)
        if not mark or _MARK in after:
            raise DataError(
                f"{self._directory}: the chat template does not repeat a message as it is; prompt {prompt[:80]!r}"
            )
        return np.concatenate([self._ids(before, control=True), self.encode(prompt), self._ids(after, control=True)])

    def decode(self, ids: Sequence[int] | np.ndarray, skip_special: bool = True) -> str:
        return self._backend.decode(np.asarray(ids, dtype=np.int64).tolist(), skip_special_tokens=skip_special)

    def decode_batch(self, batch: Sequence[Sequence[int] | np.ndarray]) -> list[str]:
        """The texts of many sequences, without control tokens."""
        plain = [np.asarray(ids, dtype=np.int64).tolist() for ids in batch]
        return self._backend.decode_batch(plain, skip_special_tokens=True)

    def _ids(self, text: str, control: bool) -> np.ndarray:
        """The ids of `text`; `control`: whether names of control tokens become those tokens."""
        self._backend.encode_special_tokens = not control
        try:
            encoding = self._backend.encode(text, add_special_tokens=False)
        except Exception as error:
            unknown = sorted({letter for letter in text if self._backend.token_to_id(letter) is None})
            raise DataError(f"{self._directory}: cannot encode {text[:80]!r}: {error} {unknown[:10]}") from None
        return np.array(encoding.ids, dtype=np.int32)

    def _opening(self) -> np.ndarray:
        """Ids that the tokenizer puts in front of a plain text (beginning of sequence, or none)."""
        self._backend.encode_special_tokens = False
        around = self._backend.encode("", add_special_tokens=True).ids
        return np.array(around[:1] if around and around[0] != self.eos_id else [], dtype=np.int32)

    def _render(self, prompt: str) -> str:
        assert self._template is not None
        named = {
            key: self._content(self._settings.get(key))
            for key in ("bos_token", "eos_token", "pad_token", "unk_token")
            if self._settings.get(key) is not None
        }
        messages = [{"role": "user", "content": prompt}]
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **named)
        except TemplateError as error:
            raise ModelError(f"{self._directory}: the chat template cannot be rendered: {error}") from None

    def _read_template(self) -> Any:
        """The compiled chat template, or None. It comes with a model, so it is rendered in a sandbox."""
        path = self._directory / "chat_template.jinja"
        source = path.read_text("utf-8") if path.is_file() else self._settings.get("chat_template")
        if isinstance(source, list):  # several by name
            source = next((each["template"] for each in source if each.get("name") == "default"), None)
        if not source:
            return None
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda pattern: ""  # a prompt must not depend on the day
        environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
        try:
            return environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ModelError(f"{self._directory}: the chat template is broken, line {error.lineno}: {error}") from None

    def _find_eos(self) -> int:
        """The end token, by name in tokenizer_config.json, else by number in generation_config.json or config.json."""
        name = self._content(self._settings.get("eos_token"))
        if name is not None:
            index = self._backend.token_to_id(name)
            if index is None:
                raise ModelError(
                    f"{self._directory}/tokenizer_config.json: eos_token {name!r} is not in tokenizer.json"
                )
            return index
        for file in ("generation_config.json", "config.json"):
            value = self._read_json(file).get("eos_token_id")
            value = value[0] if isinstance(value, list) and value else value
            if isinstance(value, int):
                return value
        raise ModelError(
            f"{self._directory}: no end-of-sequence token: none of tokenizer_config.json (eos_token), "
            "generation_config.json and config.json (eos_token_id) names one"
        )

    def _find_ends(self) -> tuple[int, ...]:
        """All ids that end a completion: chat models have one token for a turn and another for a text."""
        value = self._read_json("generation_config.json").get("eos_token_id")
        others = value if isinstance(value, list) else [value]
        return tuple(dict.fromkeys([self.eos_id, *(each for each in others if isinstance(each, int))]))

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self._directory / name
        if not path.is_file():
            return {}
        try:
            value = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ModelError(f"{path}: not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ModelError(f"{path}: must hold a JSON object")
        return value

    @staticmethod
    def _content(token: Any) -> str | None:
        """The text of a special token, which is a string or an object with `content`."""
        return token.get("content") if isinstance(token, dict) else token


def _refuse(message: str) -> None:
    raise DataError(f"the chat template refuses the prompt: {message}")
