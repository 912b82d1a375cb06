"""Settings by their dotted keys, as they are written on the command line."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, TypeVar

Branch = TypeVar("Branch")


def setting_keys(schema: type, prefix: str = "") -> dict[str, object]:
    """Every dotted key of a settings class with its type, branches included."""
    keys: dict[str, object] = {}
    for name, kind in typing.get_type_hints(schema).items():
        keys[prefix + name] = kind
        if dataclasses.is_dataclass(kind):
            keys |= setting_keys(typing.cast(type, kind), f"{prefix}{name}.")
    return keys


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys, as they are given on the command line."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def get_setting(settings: object, key: str) -> Any:
    """The value of a dotted key: `get_setting(config, "recipe.kl.coef")`."""
    return attrgetter(key)(settings)


def with_settings(settings: Branch, changes: Mapping[str, Any]) -> Branch:
    """A copy of a settings object in which these keys have these values: `{"recipe.kl.coef": 0.1}`."""
    for key, value in changes.items():
        settings = _with_setting(settings, *key.split("."), value=value)
    return settings


def _with_setting(settings: Any, name: str, *rest: str, value: Any) -> Any:
    below = _with_setting(getattr(settings, name), *rest, value=value) if rest else value
    return dataclasses.replace(settings, **{name: below})
