"""The settings and inputs that a checkpoint was saved with, and what has changed since: with the settings, or in files.

`settings.yaml` of a checkpoint says what was in force when it was saved. A run that goes on is compared with that, not
with the last start: so it is all the same whether the change was made now, or before a crash, or after a newer
checkpoint that is damaged. `prorl_mega.config.on_resume` decides what may change.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import msgspec
import yaml

from prorl_mega.config.keys import get_setting
from prorl_mega.config.on_resume import dotted, is_place, parsed, refusal
from prorl_mega.config.schema import RunConfig
from prorl_mega.config.stages import stage_settings
from prorl_mega.documents import read_yaml
from prorl_mega.errors import CheckpointError, ConfigError
from prorl_mega.run.decisions import SettingChange, shown
from prorl_mega.run.inputs import Contents, read_inputs
from prorl_mega.run.settings import CONFIG, checked_tree, read_tree, to_plain, with_defaults
from prorl_mega.run.storage import write_durably

NAME = "settings.yaml"
_AFTER = "after_step"
_OWN_PLACE = ("name", "root")  # not kept in checkpoints: a run may be moved, and equal runs have equal checkpoints

Key = tuple[str, ...]


@dataclass(kw_only=True, slots=True, frozen=True)
class InForce:
    """Nested plain settings, and the contents of the files that they name."""

    settings: dict[str, Any]
    inputs: Contents
    after_step: int | None = None  # of the checkpoint that they were read from, if it says so


def in_force(config: RunConfig) -> InForce:
    """Those of this process. Reads the model's directory; rank 0 only."""
    return InForce(settings=to_plain(config), inputs=read_inputs(config))


def write_in_force(directory: Path, now: InForce, step: int) -> None:
    """Write `settings.yaml` into the directory of the checkpoint after `step`."""
    settings = {key: value for key, value in now.settings.items() if key not in _OWN_PLACE}
    content = {"settings": settings, "inputs": now.inputs, _AFTER: step}
    write_durably(directory / NAME, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_in_force(checkpoint: Path) -> InForce:
    """Those of a verified checkpoint; of one of version 0.1 those of the run, whose inputs nobody knows.

    Raises ConfigError when neither has any, CheckpointError when they are broken.
    """
    of_run = checkpoint.parents[1] / CONFIG
    if not (checkpoint / NAME).exists():
        if not of_run.exists():
            raise ConfigError(
                f"{checkpoint} was saved by an earlier version, and {of_run}, which would say with which settings, is "
                "missing; put it back, or choose another name to start a new run"
            )
        return InForce(settings=read_tree(of_run), inputs={})
    try:
        content = read_yaml(checkpoint / NAME)
        settings = checked_tree(content["settings"], checkpoint / NAME)
        inputs = msgspec.convert(content["inputs"], Contents)
        saved = InForce(settings=settings, inputs=inputs, after_step=content.get(_AFTER))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint / NAME} cannot be read: {error}") from error
    with contextlib.suppress(ConfigError):  # missing or damaged, which hurts nobody: it is written anew
        own = read_tree(of_run)
        saved.settings.update({key: own[key] for key in _OWN_PLACE if key in own})
    return saved


def changes(before: InForce, now: InForce, *, stage: int, step: int, where: Path) -> list[SettingChange]:
    """The differences. `stage` (from 0) is the one that the checkpoint `where`, saved after `step`, is in.

    Raises ConfigError with every difference that would make the resumed run another run, and the reason.
    """
    differing = {path: (old, new) for path, old, new in _differing(with_defaults(before.settings), now.settings)}
    known = {parsed(key): _odd(before.inputs[key], now.inputs[key]) for key in before.inputs if key in now.inputs}
    for path, odd in known.items():  # contents count; where they lie is told, and is no reason to refuse
        if odd:
            old, new = _at(before.settings, path), _at(now.settings, path)
            differing[path] = (old, f"{new} (changed: {', '.join(odd)})")
    allowed: list[SettingChange] = []
    refused: list[str] = []
    for path, (old, new) in differing.items():
        if is_place(path) and _same_place(old, new):
            continue
        why = "" if path in known and not known[path] else refusal(path, old, stage=stage)
        if why:
            refused.append(f"  {dotted(path)}: {shown(old)} before, {shown(new)} now; {why}")
        else:
            allowed.append(SettingChange(step=step, key=dotted(path), before=old, after=new))
    if refused:
        raise ConfigError(
            f"{where.parents[1]} cannot go on after step {step} with these settings:\n" + "\n".join(refused) + "\nSet "
            "them back to go on, or choose another name to start a new run."
        )
    return allowed


def also_set(config: RunConfig, stage: int, key: str) -> str:
    """The end of a sentence on a change of `key`, where the stage that is going on has a value of its own."""
    stages = stage_settings(config)
    try:
        value, own = get_setting(config, key), get_setting(stages[min(stage, len(stages) - 1)], key)
    except AttributeError:  # an entry of the mixture, or a stage itself
        return ""
    return "" if own == value else f"; stage {stage + 1}, which is going on, sets it to {shown(own)}"


def before_changes(settings: dict[str, Any], undone: list[SettingChange]) -> dict[str, Any]:
    """A copy of nested settings as they were before these changes, the last of which is undone first."""
    settings = copy.deepcopy(settings)
    for change in reversed(undone):
        _put(settings, parsed(change.key), change.before)
    return settings


def _differing(before: Any, now: Any, path: Key = ()) -> Iterator[tuple[Key, Any, Any]]:
    """Dotted settings, entries and stages whose values differ; None where there is none."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _differing(before.get(name), now.get(name), (*path, str(name)))
    elif _are_stages(before) and _are_stages(now):
        for index, (old, new) in enumerate(zip_longest(before, now)):
            yield from _differing(old, new, (*path, f"[{index}]"))
    elif before != now:
        yield path, before, now


def _are_stages(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _odd(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The parts of an input that are not what they were."""
    return [part for part in {**before, **now} if before.get(part) != now.get(part)]


def _same_place(before: Any, now: Any) -> bool:
    """Whether two paths, or lists of them, are spellings of the same files."""
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_same_place, before, now))
    return isinstance(before, str) and isinstance(now, str) and os.path.realpath(before) == os.path.realpath(now)


def _at(tree: Any, path: Key) -> Any:
    for part in path:
        tree = tree[int(part[1:-1])] if part.startswith("[") else tree.get(part)
    return tree


def _put(tree: Any, path: Key, value: Any) -> None:
    """Set a value of nested settings; None takes it away, which leaves the default."""
    parts = [int(part[1:-1]) if part.startswith("[") else part for part in path]
    for part, following in pairwise(parts):
        tree = tree[part] if isinstance(part, int) else tree.setdefault(part, [] if isinstance(following, int) else {})
    last = parts[-1]
    if isinstance(last, str) and value is None:
        tree.pop(last, None)
    elif isinstance(last, str):
        tree[last] = value
    elif value is None:
        del tree[last:]  # changes are undone from the last to the first
    else:
        tree.extend({} for _ in range(last + 1 - len(tree)))
        tree[last] = value
