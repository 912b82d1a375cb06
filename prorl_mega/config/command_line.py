"""Command lines as people write them: flags between overrides or paths, and groups that are given no file's name."""

from __future__ import annotations

import argparse
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from prorl_mega.errors import ConfigError

_WITH_VALUE = {
    "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--package", "-p", "--cfg", "-c", "--info",
    "-i", "--experimental-rerun",
}  # fmt: skip
"""Hydra's flags that take the argument behind them as their value."""
BENCHMARKS = "evaluation.benchmarks"
_SHORT = "benchmarks="
PROMPT_TOKENS, ALL_PROBLEMS = 4096, 1_000_000


class IntermixedParser(argparse.ArgumentParser):
    """A parser of a subcommand that takes flags between several positional arguments: `show x --count 1 y=2`."""

    _is_parsing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._is_parsing:
            return super().parse_known_args(args, namespace)
        self._is_parsing = True  # the method below calls this one
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_parsing = False


def flags_first(arguments: list[str]) -> list[str]:
    """The arguments with flags before overrides, both in their order: Hydra refuses overrides that a flag divides."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        flags.append(argument)
        if argument in _WITH_VALUE:
            value = next(rest, None)
            is_override = argument in ("--info", "-i") and value is not None and "=" in value
            if value is not None:
                (overrides if is_override or value.startswith("-") else flags).append(value)
    return flags + overrides


def spelled_out(arguments: list[str]) -> list[str]:
    """The arguments with `benchmarks=aime24,amc=my.jsonl` as the setting that it means; for Hydra it is a sweep."""
    return [
        f"{BENCHMARKS}=[{','.join(map(_quoted, argument.removeprefix(_SHORT).split(',')))}]"
        if argument.startswith(_SHORT) and not argument.startswith(f"{_SHORT}[")
        else argument.replace(_SHORT, f"{BENCHMARKS}=", 1)
        if argument.startswith(_SHORT)
        else argument
        for argument in arguments
    ]


def with_paper_protocol(arguments: list[str]) -> list[str]:
    """The arguments of an evaluation, with the protocol of the paper for benchmarks that have no other one.

    It is `evaluation=paper`, all rows, and prompts of up to PROMPT_TOKENS: benchmarks are not evaluated in part.
    """
    given = {argument.partition("=")[0] for argument in arguments if "=" in argument}
    if not given & {_SHORT[:-1], BENCHMARKS}:
        return arguments
    protocol = {
        "evaluation": "paper",
        "evaluation.final_problems_per_task": ALL_PROBLEMS,
        "rollout.max_prompt_tokens": PROMPT_TOKENS,
    }
    return [*arguments, *(f"{key}={value}" for key, value in protocol.items() if key not in given)]


def _quoted(text: str) -> str:
    """A text in Hydra's quotes, in which a backslash means itself unless a quote follows."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text.strip())
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def refuse_odd_choices(arguments: list[str], configs: Path) -> None:
    """Raise ConfigError for a group that is given something else than the name of one of its files: `rollout=null`."""
    parser = OverridesParser.create()
    for argument in arguments:
        if "=" not in argument or argument.startswith("-"):
            continue
        with suppress(HydraException):  # Hydra reports what cannot be parsed
            override = parser.parse_override(argument)
            group = override.get_key_element()
            value = None if override.is_sweep_override() else override.value()
            if override.is_sweep_override() or isinstance(value, str | list) or not (configs / group).is_dir():
                continue
            options = sorted(file.stem for file in (configs / group).glob("*.yaml"))
            raise ConfigError(f"{argument}: {group} is chosen by the name of a file, or left out; {', '.join(options)}")
