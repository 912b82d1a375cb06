"""Turns Hydra's and OmegaConf's errors into one message that names the key and what would work."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from enum import Enum

from hydra.errors import MissingConfigException, OverrideParseException

from prorl_mega.config.keys import setting_keys
from prorl_mega.config.renamed import RENAMED
from prorl_mega.config.schedule import StageConfig


def explain(error: BaseException, schema: type) -> str:
    """One message for an error raised while the settings of `schema` were composed."""
    text = "\n".join(str(link) for link in _chain(error))
    where = _where(text)
    if "object_type=StageConfig" in text and schema is not StageConfig:
        return where + f"schedule.stages: {explain(error, StageConfig).removeprefix(where)}"
    if (key := _full_key(text) or _assigned_group(text, schema)) in RENAMED:
        return where + unknown_key(key, schema)
    if isinstance(error, MissingConfigException):
        return where + _missing_option(error)
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: not a valid override ({text.splitlines()[0]}); values with spaces, commas, brackets or "
            "'=' need quotes that the shell leaves alone: 'key=\"a value\"'"
        )
    if match := re.search(r"^Multiple values for ([^.]+)\.", text, re.MULTILINE):
        return where + f"{match[1]} has a choice already; replace it with {match[1]}=<option>, without '+'"
    if match := re.search(r"^Key '(?P<key>[^']*)' (?:is )?not in ", text, re.MULTILINE):
        return where + unknown_key(_full_key(text) or match["key"], schema)
    if match := re.search(r"^Invalid value '(?P<value>.*)', expected one of \[(?P<options>.*)\]", text, re.MULTILINE):
        options = match["options"].split(", ")
        return where + f"{_full_key(text)}={match['value']}: {_choices(match['value'], options)}"
    if re.search(r"^field '[^']*' is not Optional", text, re.MULTILINE) or "NoneType is not a subclass of" in text:
        return where + f"{_full_key(text)}=null: {_not_empty(_full_key(text), schema)}"
    if "is not a subclass of TaskConfig" in text:  # an entry that only the command line knows
        return where + unknown_key(f"tasks.mixture.{_full_key(text).removeprefix('tasks.mixture.')}", schema)
    if match := re.search(r"^(?:Value|Invalid type|While dereferencing|Interpolation).*", text, re.MULTILINE):
        return where + f"{_full_key(text)}: {match[0]}{_expected(_full_key(text), schema)}"
    if "does not support sweep type" in text:
        return (
            "interval() is for a search: add hydra/sweeper=optuna. A sweep has single values: key=1,2 or key=range(1,9)"
        )
    if "does not support deletion" in text:
        return where + f"{_full_key(text)}: a setting cannot be taken away with '~'; give it another value"
    if "missing mandatory value" in text.lower():
        key = _full_key(text)
        return where + f"{key} is required and has no value; give it on the command line: {key}=..."
    return where + text.split("\nSee https://")[0].strip()


def unknown_key(key: str, schema: type) -> str:
    """Message for a setting that does not exist, with the nearest ones that do, or the name that it has now."""
    if key in RENAMED:
        return f"{key} is now {RENAMED[key]}"
    if re.match(r"tasks\.mixture\.[^.]+\.options\.", key):
        return (
            f"{key}: the entry does not set this option yet; one more is added with '+': +{key}=VALUE. Entries are "
            "those of the selected task file; new ones go into a file under configs/tasks/ (tasks=<file>)"
        )
    if key.startswith("tasks.mixture."):
        of_run = "; with run=, name the run's own as well" if "run" in setting_keys(schema) else ""
        return (
            f"{key}: the mixture has no such entry; only entries of the selected task file can be changed here, "
            f"new ones go into a file under configs/tasks/ (tasks=<file>{of_run})"
        )
    kinds = setting_keys(schema)
    for name in (key, key.rpartition(".")[0]):
        if typing.get_origin(kinds.get(name)) is dict:
            return f"{name} has no such entry yet; a new one is added with '+': +{name}.NAME=VALUE"
    keys = list(kinds)
    former = {old: new for old, new in RENAMED.items() if new in keys}
    near = [former.get(name, name) for name in difflib.get_close_matches(key, [*keys, *former], n=3, cutoff=0.6)]
    near = list(dict.fromkeys(near))
    last = key.rsplit(".", 1)[-1]
    near += [name for name in keys if name.rsplit(".", 1)[-1] == last and name not in near]
    if near:
        return f"{key}: no such setting; did you mean {' or '.join(near[:3])}?"
    parent = key.rpartition(".")[0]
    siblings = [name for name in keys if name.rpartition(".")[0] == parent] or keys
    return f"{key}: no such setting; these exist: {', '.join(siblings)}"


def _not_empty(key: str, schema: type) -> str:
    """The rest of a message about a setting that was given nothing: what it has to have."""
    expected = _expected(key, schema).removeprefix("; ")
    if expected:
        return f"it cannot be empty; {expected}"
    kind = setting_keys(schema).get(key)
    origin = typing.get_origin(kind)
    empty = "[]" if origin is list else "{}" if origin is dict else ""
    return f"it cannot be empty; {f'{key}={empty} has nothing in it' if empty else 'leave it out, or give it a value'}"


def _chain(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *_chain(error.__cause__)]


def _where(text: str) -> str:
    """The file, when the mistake is in one (`In 'experiment/demo': ...`) and not on the command line."""
    match = re.match(r"In '(?P<file>[^']+)': (?!Could not find)", text)
    return f"configs/{match['file']}.yaml: " if match else ""


def _full_key(text: str) -> str:
    matches = re.findall(r"^\s*full_key: (\S+)", text, re.MULTILINE)
    return str(matches[-1]) if matches else ""


def _assigned_group(text: str, schema: type) -> str:
    """The key of a group that a file gives one value; OmegaConf names only the class then."""
    match = re.search(r"is not a subclass of (\w+)\.", text)
    named = [key for key, kind in setting_keys(schema).items() if match and getattr(kind, "__name__", "") == match[1]]
    return named[0] if named else ""


def _choices(value: str, options: list[str]) -> str:
    near = difflib.get_close_matches(value, options, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}These work: {', '.join(options)}"


def _missing_option(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file or ""
    if not error.options:
        return str(error).split("\nConfig search path")[0].strip()
    group, _, option = missing.rpartition("/")
    options = [name for name in error.options if name]
    return f"{group}={option}: configs/{group}/{option}.yaml does not exist; {_choices(option, options)}"


def _expected(key: str, schema: type) -> str:
    kind = setting_keys(schema).get(key)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"; these work: {', '.join(member.name for member in kind)}"
    if isinstance(kind, type) and not dataclasses.is_dataclass(kind):
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        return f"; {key} is {names[kind]}" if kind in names else ""
    return ""
