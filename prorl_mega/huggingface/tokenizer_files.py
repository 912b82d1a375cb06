"""The files beside a model's `tokenizer.json`: which tokens have a role, which end a completion, the chat template.

They are read as transformers reads them, so that a directory means the same here as where it was made.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from prorl_mega.documents import BrokenDocumentError, read_content, read_json
from prorl_mega.errors import ModelError

_MOST_IDS = 1 << 24  # more than any vocabulary has
_LARGEST_TEMPLATE = 16 << 20  # bytes
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class TokenizerFiles:
    """The JSON and template files of a Hugging Face directory. ModelError names a file that is broken."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    @cached_property
    def special_tokens(self) -> dict[str, str]:
        """The tokens that have a role, by role: {"eos_token": "<|im_end|>"}.

        special_tokens_map.json counts for tokenizers that are older than `added_tokens_decoder` in
        tokenizer_config.json, and there it wins.
        """
        settings = self._read_json("tokenizer_config.json")
        if "added_tokens_decoder" not in settings:
            settings = settings | self._read_json("special_tokens_map.json")
        extra = settings.get("extra_special_tokens")
        named = settings | extra if isinstance(extra, dict) else settings
        contents = {role: _content(token) for role, token in named.items() if role in _ROLES or role.endswith("_token")}
        return {role: content for role, content in contents.items() if isinstance(content, str)}

    def end_ids(self, name: str) -> list[int]:
        """The ids of `eos_token_id`, a number or a list, in generation_config.json or config.json."""
        value = self._read_json(name).get("eos_token_id")
        listed = value if isinstance(value, list) else [value]
        return [each for each in listed if type(each) is int and 0 <= each < _MOST_IDS]

    def chat_template(self) -> str | None:
        """The source of the chat template: of the files if there are any, else of tokenizer_config.json.

        Raises ModelError where several have names and none is the default.
        """
        named = {path.stem: path for path in sorted((self.directory / "additional_chat_templates").glob("*.jinja"))}
        single = self.directory / "chat_template.jinja"
        if single.is_file():
            named.setdefault("default", single)
        source: Any = {name: self._read_text(path) for name, path in named.items()}
        source = source or self._read_json("tokenizer_config.json").get("chat_template")
        if isinstance(source, list):
            named_here = [each for each in source if isinstance(each, dict) and isinstance(each.get("name"), str)]
            source = {each["name"]: each.get("template") for each in named_here}
        if isinstance(source, dict):
            if source and "default" not in source:
                raise ModelError(
                    f"{self.directory}: has the chat templates {', '.join(sorted(source))} and none is the default; "
                    f"copy the one to train with to {single}"
                )
            source = source.get("default")
        if source is not None and not isinstance(source, str):
            raise ModelError(f"{self.directory}/tokenizer_config.json: chat_template must be text")
        return source or None

    def _read_text(self, path: Path) -> str:
        try:
            return read_content(path, _LARGEST_TEMPLATE).decode("utf-8")
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read: {error}") from None

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.directory / name
        if not path.is_file():
            return {}
        try:
            value = read_json(path, finite=False)
        except (OSError, BrokenDocumentError) as error:
            raise ModelError(f"{path}: {error}") from None
        if not isinstance(value, dict):
            raise ModelError(f"{path}: must hold a JSON object")
        return value


def _content(token: Any) -> Any:
    """The text of a special token, which is a string or an object with `content`."""
    return token.get("content") if isinstance(token, dict) else token
