"""The resolved settings of a run on disk, and which of them may change when it is resumed."""

from __future__ import annotations

import dataclasses
import re
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from blake3 import blake3

from prorl_mega.config.keys import flatten
from prorl_mega.config.renamed import translated
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ConfigError
from prorl_mega.run.storage import write_durably

MAY_CHANGE = (
    "name",
    "root",
    "resume",
    "loggers",
    "model.recompute",
    "parallel.max_tokens_per_microbatch",
    "rollout.max_concurrent",
    "rollout.gpu_memory_fraction",
    "rollout.cpu_kv_cache_gib",
    "rollout.enforce_eager",
    "rollout.sync_bucket_mib",
    "schedule.steps",
    "schedule.reset.futile",  # so that a run can go on that the controller has stopped
    "schedule.entropy.on_low",
    "schedule.entropy.on_high",
    "schedule.evaluate_every",
    "schedule.save_every",
    "schedule.keep_checkpoints",
    "schedule.keep_every",
    "schedule.keep_best",
    "schedule.time_limit_minutes",
    "tasks.workers",
    "tasks.memory_mib",
    "tasks.timeout_s",
    "tasks.retries",
    "tasks.report_failures",
    "tasks.servers",
    "tasks.token_file",
    "tasks.serve",
    "evaluation",
    "cluster",
)
"""Settings, or whole groups, that may change on resume: length of the run, logging, placement."""

_SECRET = re.compile(
    r"token|password|passwd|secret|credentials?|(.*_)?(api_key|access_key|auth_token|access_token)", re.I
)
_ABSENT = "(absent)"


def to_plain(config: RunConfig) -> dict[str, Any]:
    """Nested dicts of plain values, enums by name; values of options that look like secrets are hidden."""
    return _plain(dataclasses.asdict(config))


def fingerprint(config: RunConfig) -> str:
    """A hash of everything that must stay as it is, kept with every checkpoint."""
    fixed = {key: value for key, value in flatten(to_plain(config)).items() if not _may_change(key)}
    return blake3(yaml.safe_dump(fixed, sort_keys=True).encode()).hexdigest()


def write_settings(path: Path, config: RunConfig) -> None:
    header = "# The settings of this run, as they were resolved. Written by the program; changing it has no effect.\n"
    write_durably(path, header + yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True))


def read_settings(path: Path) -> dict[str, Any]:
    """Dotted settings of a run directory; see `read_tree`."""
    return flatten(read_tree(path))


def read_tree(path: Path) -> dict[str, Any]:
    """Nested settings of a run directory, those of version 0.1 under their current names.

    Raises ConfigError when the file is not what `write_settings` writes.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} does not contain settings")
    return translated(tree)


def changes_on_resume(path: Path, config: RunConfig) -> list[str]:
    """The allowed differences from the stored settings: "schedule.steps: 40 -> 80".

    Raises ConfigError with every difference that would make the resumed run another run.
    """
    stored, wanted = read_settings(path), flatten(to_plain(config))
    defaults = flatten(to_plain(RunConfig()))
    stored |= {key: defaults[key] for key in wanted if key in defaults and key not in stored}  # settings added since
    keys = [key for key in {**stored, **wanted} if stored.get(key, _ABSENT) != wanted.get(key, _ABSENT)]
    forbidden = [key for key in keys if not _may_change(key)]
    if forbidden:
        lines = [f"  {key}: {stored.get(key, _ABSENT)} before, {wanted.get(key, _ABSENT)} now" for key in forbidden]
        raise ConfigError(
            f"{path.parent} was started with other settings:\n" + "\n".join(lines) + "\nSet them back to go on with "
            "that run, or choose another name to start a new one. What may change on resume: " + ", ".join(MAY_CHANGE)
        )
    return [f"{key}: {stored.get(key, _ABSENT)} -> {wanted.get(key, _ABSENT)}" for key in keys]


def _may_change(key: str) -> bool:
    return any(key == free or key.startswith(free + ".") for free in MAY_CHANGE)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {
            str(key): "(hidden)" if _SECRET.fullmatch(str(key)) and isinstance(each, str) else _plain(each)
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
