"""Flags stand where people put them."""

from __future__ import annotations

import argparse

import pytest

from prorl_mega.config.command_line import IntermixedParser, flags_first
from prorl_mega.data import __main__ as data
from prorl_mega.tasks import __main__ as tasks


def test_flags_come_before_overrides() -> None:
    for given, expected in {
        "seed=1 -m name=x": "-m seed=1 name=x",
        "a=1 --config-dir /x b=2 -cn y c=3": "--config-dir /x -cn y a=1 b=2 c=3",
        "a=1 --cfg job b=2": "--cfg job a=1 b=2",
        "a=1 --info b=2": "--info a=1 b=2",
        "a=1 --info plugins b=2": "--info plugins a=1 b=2",
        "a=1 --config-dir=/x --resolve b=2": "--config-dir=/x --resolve a=1 b=2",
        "a=-1 ~b +c=2 --config-dir": "--config-dir a=-1 ~b +c=2",
    }.items():
        assert flags_first(given.split()) == expected.split()


def test_a_parser_takes_flags_between_positional_arguments() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", parser_class=IntermixedParser)
    show = commands.add_parser("show")
    show.add_argument("name")
    show.add_argument("options", nargs="*")
    show.add_argument("--count", type=int, default=3)
    for line in ("show x a=1 b=2 --count 7", "show --count 7 x a=1 b=2", "show x --count 7 a=1 b=2"):
        found = parser.parse_args(line.split())
        assert (found.name, found.options, found.count) == ("x", ["a=1", "b=2"], 7), line
    with pytest.raises(SystemExit):
        parser.parse_args(["show", "--count", "7"])
    with pytest.raises(SystemExit):
        parser.parse_args(["show", "x", "--nope"])


def test_the_programs_with_lists_of_arguments_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert tasks.main(["show", "arithmetic", "--count", "1", "max_digits=2", "style=short"]) == 0
    assert data.main(["validate", "/nowhere/a.jsonl", "--show", "2", "/nowhere/b.jsonl"]) != 0
    assert "/nowhere/a.jsonl: no such file" in capsys.readouterr().err
