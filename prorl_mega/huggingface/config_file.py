"""config.json, whose values are checked as they are read. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prorl_mega.documents import BrokenDocumentError, brief, read_json
from prorl_mega.errors import ModelError

LARGEST_NUMBER = 1e30


class ConfigFile:
    """The fields of a JSON object. Every error is a `ModelError` that names the file."""

    def __init__(self, path: Path, fields: dict[str, Any]) -> None:
        self.path = path
        self.fields = fields

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Raises `ModelError` when the file is missing or is not a JSON object."""
        try:
            content = read_json(path, finite=False)  # Python's Infinity is common in fields that nobody reads
        except FileNotFoundError:
            raise ModelError(f"{path}: missing; the directory is not a complete Hugging Face checkpoint") from None
        except (OSError, BrokenDocumentError) as error:
            raise ModelError(f"{path}: {error}; the file is half-written or damaged") from None
        if not isinstance(content, dict):
            raise ModelError(f"{path}: must hold a JSON object")
        return cls(path, content)

    def error(self, message: str) -> ModelError:
        return ModelError(f"{self.path}: {message}")

    def inner(self, key: str) -> dict[str, Any]:
        """The JSON object of a field; empty without it."""
        value = self.fields.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(f"{key}={brief(value)} must be an object")
        return value or {}

    def integer(self, key: str, default: int | None = None, *, most: int = 2**31 - 1) -> int:
        """A positive integer up to `most`; null counts as absent; what is absent without a `default` is an error."""
        value = self._present(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(f"{key}={brief(value)} must be a positive integer")
        if value > most:
            raise self.error(f"{key}={brief(value)} is more than any model has; at most {most} works")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number; null counts as absent, and what is absent without a `default` is an error."""
        value = self._present(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST_NUMBER:
            raise self.error(f"{key}={brief(value)} must be a positive number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self._present(key, default)
        if not isinstance(value, bool):
            raise self.error(f"{key}={brief(value)} must be true or false")
        return value

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """`count` positive numbers."""
        values = self._present(key, None)
        if not isinstance(values, list) or len(values) != count:
            raise self.error(f"{key} must be a list of {count} numbers")
        entries = ConfigFile(self.path, {f"{key}[{index}]": value for index, value in enumerate(values)})
        return tuple(entries.number(entry) for entry in entries.fields)

    def names(self, key: str) -> list[str]:
        """A list of texts; empty without it."""
        value = self.fields.get(key)
        if value is not None and (not isinstance(value, list) or not all(isinstance(each, str) for each in value)):
            raise self.error(f"{key}={brief(value)} must be a list of names")
        return value or []

    def name(self, key: str) -> str | None:
        """A text; None without it."""
        value = self.fields.get(key)
        if value is not None and not isinstance(value, str):
            raise self.error(f"{key}={brief(value)} must be a name")
        return value

    def _present(self, key: str, default: Any) -> Any:
        value = self.fields.get(key)
        value = default if value is None else value
        if value is None:
            raise self.error(f"lacks {key}; the file is incomplete")
        return value
