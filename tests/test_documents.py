"""Documents that anybody may have written: read if they are what they should be, else refused at once."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.documents import (
    DEEPEST,
    LARGEST_JSON,
    MOST_CONTAINERS,
    MOST_NODES,
    BrokenDocumentError,
    brief,
    parse_json,
    read_json,
    read_yaml,
)


def laughs(width: int, levels: int) -> str:
    lines = ["a0: &a0 x"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


MANY = "[" + ", ".join("x" * (MOST_NODES - 2)) + "]"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1", {"a": 1}),
        ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}\n", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("&x a: 1\nb: *x\n", {"a": 1, "b": "a"}),
        ("a: ünï", {"a": "ünï"}),
        ("a: '" + "1" * 5000 + "'", {"a": "1" * 5000}),
        ("a: " + "b" * 5000, {"a": "b" * 5000}),
        ("a: |\n  " + "1" * 5000, {"a": "1" * 5000}),
        ("a: " + "0f" * 64, {"a": "0f" * 64}),
        (nested(DEEPEST), None),
        (MANY, None),
        (laughs(3, 8), None),
    ],
    ids=itertools.count(),
)
def test_yaml_that_is_read(tmp_path: Path, text: str, value: Any) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    found = read_yaml(path)
    assert value is None or found == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (laughs(9, 12), f"more than {MOST_NODES} values once its aliases"),
        (laughs(2, 40), f"more than {MOST_NODES} values once its aliases"),
        (laughs(9, 12).replace("[", "{? ").replace(", ", " : 1, ? ").replace("]", " : 1}"), "more than|not valid YAML"),
        ("a: &a {b: 1}\nc:\n  <<: [" + "*a," * 20_000 + "]", f"more than {MOST_NODES} values"),
        ("&a [*a]", r"alias \*a stands for nothing, or for what it is a part of"),
        ("&a {b: [{c: *a}]}", r"alias \*a stands for nothing"),
        ("a: *nowhere", r"alias \*nowhere stands for nothing"),
        ("[" * 100_000, f"more than {DEEPEST} objects"),
        ("{a: " * 100_000, f"more than {DEEPEST} objects"),
        ("- " * 100_000, f"more than {DEEPEST} objects"),
        ("? " * 100_000, f"more than {DEEPEST} objects"),
        (nested(DEEPEST + 1), f"more than {DEEPEST} objects"),
        ("- a\n" * 100_000, f"more than {MOST_NODES} values"),
        ("x: 1" + ":1" * 100_000, "a number of 200001 characters"),
        ("x: 1" + ":1" * 100_000 + ".5", "a number of"),
        ("x: " + "9" * 5000, "a number of 5000 characters"),
        ("x: 0x" + "f" * 500_000, "a number of"),
        ("x: " + "a" * (2 << 20), "2097155 bytes, more than the 1048576"),
        (b"x: \xff", r"not UTF-8 \(byte 4\); save it as UTF-8"),
        ("x: ü".encode("latin-1"), "not UTF-8"),
        ("x: ü".encode("utf-16"), "not UTF-8"),
        (b"x: \0", "not valid YAML"),
        ("a: [", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("a: !!int x", "not valid YAML"),
        ("? [a]\n: 1", "not valid YAML"),
        ("a: 2024-99-99", "not valid YAML"),
    ],
    ids=itertools.count(),
)
def test_yaml_that_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    started = time.process_time()
    with pytest.raises(BrokenDocumentError, match=message) as error:
        read_yaml(path)
    assert time.process_time() - started < 10
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        ('"\\ud800"', "\ud800"),
        ("1e308", 1e308),
        (nested(DEEPEST), None),
        ('{"a": "' + "[" * 100_000 + '"}', {"a": "[" * 100_000}),
    ],
    ids=itertools.count(),
)
def test_json_that_is_read(text: str, value: Any) -> None:
    assert value is None or parse_json(text) == value
    assert value is None or parse_json(text.encode()) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, f"more than {DEEPEST} objects"),
        ('{"a":' * 100_000, f"more than {DEEPEST} objects"),
        (nested(DEEPEST + 1), f"more than {DEEPEST} objects"),
        ('{"a": [' * 300 + "1" + "]}" * 300, f"more than {DEEPEST} objects"),
        ("[" + "{}," * 5_000_000 + "{}]", "5000002 objects and lists"),
        ("NaN", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("1e999", "1e999 is beyond all numbers"),
        ("-1" + "0" * 400 + ".0", "beyond all numbers"),
        ("9" * 10_000, "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        ("", "not valid JSON"),
        ("{'a': 1}", "not valid JSON"),
    ],
    ids=itertools.count(),
)
def test_json_that_is_refused(content: str | bytes, message: str) -> None:
    with pytest.raises(BrokenDocumentError, match=message) as error:
        parse_json(content)
    assert len(str(error.value)) < 300


def test_numbers_that_json_lacks_where_they_are_expected() -> None:
    assert str(parse_json("[NaN, 1e999]", finite=False)) == "[nan, inf]"


def test_files_that_are_none(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(LARGEST_JSON + 1)  # holes: no disk, and no memory if it is not read
    with pytest.raises(BrokenDocumentError, match=r"67108865 bytes, more than the 67108864"):
        read_json(tmp_path / "large")
    os.mkfifo(tmp_path / "pipe")  # opening one waits for somebody who writes
    with pytest.raises(BrokenDocumentError, match="not a regular file"):
        read_json(tmp_path / "pipe")
    with pytest.raises(BrokenDocumentError, match="not a regular file"):
        read_json(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "missing")


@pytest.mark.parametrize("value", ["x" * 10**6, [1] * 10**5, 10**5000, b"\xff" * 1000], ids=itertools.count())
def test_values_in_messages_are_short(value: Any) -> None:
    assert len(brief(value)) < 100
    assert brief(0.5) == "0.5"


@pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "bytes"])
def test_brackets_in_strings_are_no_containers(kind: Any) -> None:
    formula = r"\\frac{1}{2} \" \\\" [" * (MOST_CONTAINERS // 2)
    assert len(parse_json(kind(f'["{formula}", [{{}}]]'))) == 2
    with pytest.raises(BrokenDocumentError, match="objects and lists"):
        parse_json(kind('["a", "' + "{" * 9 + '"' + ", []" * MOST_CONTAINERS + "]"))
    with pytest.raises(BrokenDocumentError, match="not valid JSON"):
        parse_json(kind('["' + r"\"{" * (MOST_CONTAINERS + 1)))  # a string that does not end is looked through once
