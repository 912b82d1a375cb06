"""Code of the user's own that settings name: found, or refused with the key, the place and what would work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prorl_mega.errors import ConfigError
from prorl_mega.plugins import load, resolve

CODE = "def double(x):\n    return 2 * x\n\n\nLIMIT = 3\n"


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The working directory is a fresh one; modules and the path are taken back afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(name: str, text: str, mode: int = 0o644) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def test_a_file_is_found_from_the_working_directory_and_a_module_by_its_name() -> None:
    write("mine/doubling.py", CODE)
    assert load("mine/doubling.py:double", what="loss", key="recipe.loss")(4) == 8
    assert load(f"{Path.cwd()}/mine/doubling.py:double", what="loss", key="x") is sys.modules["doubling"].double
    assert load("pathlib:Path", what="loss", key="x") is Path


def test_a_known_name_needs_no_import() -> None:
    write("mine/doubling.py", CODE)
    known = {"plain": max}
    assert resolve("plain", known, what="loss", key="x") is max
    assert resolve("mine/doubling.py:double", known, what="loss", key="x")(1) == 2


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "plian",
            r"recipe\.loss=plian: no such loss; did you mean plain\?; it is one of plain, or yours: pack",
        ),
        ("mine/doubling.py", r"recipe\.loss=mine/doubling\.py: no such loss.*path/to/file\.py:name"),
        (":double", r"recipe\.loss=:double: does not name a loss; write package\.module:name or path"),
        ("mine/doubling.py:", r"does not name a loss"),
        ("nowhere/at_all.py:x", r"recipe\.loss: .*/nowhere/at_all\.py: no such file"),
        ("no.such.module:x", r"recipe\.loss: no\.such\.module cannot be imported: ModuleNotFoundError"),
        ("mine/doubling.py:duoble", r"mine/doubling\.py has no 'duoble'; did you mean double\?; it has double"),
        ("mine/doubling.py:LIMIT", r"LIMIT has the type int; a loss has to be a function or a class"),
        ("mine/broken.py:x", r"broken cannot be imported: JSONDecodeError: .*/mine/broken\.py:3\)"),
        ("mine/syntax.py:x", r"syntax cannot be imported: SyntaxError: .*line 2"),
        ("mine/open.py:x", r"everybody may change it; take that right away \(chmod o-w\)"),
        ("mine/json.py:x", r"there is another module called 'json'"),
        ("mine/my-loss.py:x", r"letters, digits and underscores"),
    ],
)
def test_what_cannot_work_is_refused(reference: str, message: str) -> None:
    write("mine/doubling.py", CODE)
    write("mine/broken.py", "import json\n\njson.loads('{')\n")
    write("mine/syntax.py", "x = 1\ndef (\n")
    write("mine/open.py", "raise SystemExit('it ran')\n", mode=0o666)
    write("mine/json.py", "x = 1\n")
    write("mine/my-loss.py", "x = 1\n")
    with pytest.raises(ConfigError, match=message):
        resolve(reference, {"plain": max}, what="loss", key="recipe.loss")
