"""The contents of the files that a run's settings name, known by hashes.

Data files and the files of `tasks.modules` are not among them: the mixture keeps their hashes.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prorl_mega.config.schema import RunConfig, WeightSource
from prorl_mega.huggingface import identity

Contents = dict[str, dict[str, str]]
"""Setting -> what it names ("tokenizer.json", "loss in my_loss.py") -> hash."""

_PLUGINS = (
    ("model", "family"),
    ("optimizer", "kind"),
    ("recipe", "policy_loss", "kind"),
    ("recipe", "advantage", "estimator"),
)
"""Settings that may name code of a user's own; those of `recipe` also in a stage."""


def read_inputs(config: RunConfig) -> Contents:
    """The contents of the model's directory, the reference's, and of the code that the settings name."""
    found = {
        "model.path": identity.contents(config.model.path, weights=config.model.weights is WeightSource.pretrained)
    }
    if config.reference.path is not None:
        found["reference.path"] = identity.contents(config.reference.path, weights=True)
    for key, value in _references(config):
        source, _, name = value.rpartition(":")
        file = _file(source)
        if source and file is not None and file.is_file():
            digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
            found[key] = {f"{name} in {file.name}": digest}
    return {key: each for key, each in found.items() if each}


def _references(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Setting and value of everything that may name code."""
    places: list[tuple[str, Any]] = [("", config)]
    places += [(f"schedule.stages[{index}].", stage) for index, stage in enumerate(config.schedule.stages)]
    for prefix, place in places:
        for path in _PLUGINS:
            value = place
            for part in path:
                value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
            if isinstance(value, str):
                yield prefix + ".".join(path), value


def _file(source: str) -> Path | None:
    """The file of "path/to/file.py" or of "package.module", which is not imported."""
    if source.endswith(".py"):
        return Path(source)
    try:
        found = importlib.util.find_spec(source) if source else None
    except (ImportError, ValueError):
        return None
    return None if found is None or found.origin is None else Path(found.origin)
