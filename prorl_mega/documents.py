"""JSON and YAML of files that anybody may have written, read within bounds.

A document is refused before it is parsed when it is too large, nested too deep, or would unfold into too much: YAML
aliases (`*name`) repeat what they stand for, so ten lines can describe a billion values. What a document takes is
therefore bounded by the constants here, a few seconds and less than a gigabyte, whatever is in it.
"""

from __future__ import annotations

import json
import math
import re
import stat
from pathlib import Path
from typing import Any, NoReturn

import yaml

LARGEST_JSON = 64 << 20  # bytes, unless a caller says otherwise
LARGEST_YAML = 1 << 20  # bytes; the settings of a mixture of a hundred entries have 30 kB
DEEPEST = 64  # objects and lists inside of each other
MOST_CONTAINERS = 1 << 22  # objects and lists of a JSON document
MOST_NODES = 30_000  # of a YAML document, aliases counted as what they stand for
LONGEST_NUMBER = 100  # characters of a number in YAML, which takes base 60 and time that grows with the square
_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)  # to the end if it is open: one pass, whatever comes
_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}


class BrokenDocumentError(ValueError):
    """The content of a file is no document that can be used. The message says why and does not name the file."""


def read_content(path: Path, largest: int = LARGEST_JSON) -> bytes:
    """The bytes of a regular file. Raises BrokenDocumentError for more than `largest`, OSError if there is none."""
    about = path.stat()  # first: opening a pipe waits for somebody who writes
    if not stat.S_ISREG(about.st_mode):
        raise BrokenDocumentError("not a regular file")
    if about.st_size > largest:
        raise BrokenDocumentError(f"{about.st_size} bytes, more than the {largest} that such a file may have")
    with path.open("rb") as file:
        return file.read(largest)


def read_json(path: Path, largest: int = LARGEST_JSON, *, finite: bool = True) -> Any:
    """The value in a JSON file; see `parse_json`. Raises BrokenDocumentError, and OSError if it cannot be read."""
    return parse_json(read_content(path, largest), finite=finite)


def parse_json(content: bytes | str, *, finite: bool = True) -> Any:
    """The value that a JSON text stands for. Raises BrokenDocumentError.

    `finite`: refuse NaN and infinity, which JSON does not have and Python writes.
    """
    opened = _opened(content)
    if opened > MOST_CONTAINERS:
        raise BrokenDocumentError(f"not a document of this kind: {opened} objects and lists, at most {MOST_CONTAINERS}")
    hooks: dict[str, Any] = {"parse_constant": _no_constant, "parse_float": _finite_float} if finite else {}
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(text, **hooks)
    except BrokenDocumentError:
        raise
    except RecursionError:
        raise BrokenDocumentError(_TOO_DEEP) from None
    except ValueError as error:
        raise BrokenDocumentError(f"not valid JSON ({error})") from None
    _refuse_deep(value)
    return value


def read_yaml(path: Path) -> Any:
    """The value in a YAML file of plain values. Raises BrokenDocumentError, and OSError if it cannot be read."""
    return parse_yaml(read_content(path, LARGEST_YAML))


def parse_yaml(content: bytes) -> Any:
    """The value that a YAML text of plain values stands for. Raises BrokenDocumentError."""
    text = _checked_yaml(content)
    loader = _YAML(text)
    try:
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BrokenDocumentError(f"not valid YAML: {error}") from None
    finally:
        loader.dispose()


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file, which is safe to parse, by whomever. Raises as `read_yaml`."""
    return _checked_yaml(read_content(path, LARGEST_YAML))


def _checked_yaml(content: bytes) -> str:
    if len(content) > LARGEST_YAML:
        raise BrokenDocumentError(f"{len(content)} bytes, more than the {LARGEST_YAML} that such a file may have")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BrokenDocumentError(f"not UTF-8 (byte {error.start + 1}); save it as UTF-8") from None
    try:
        _refuse_unfolding(text)
    except yaml.YAMLError as error:
        raise BrokenDocumentError(f"not valid YAML: {error}") from None
    return text


def brief(value: Any) -> str:
    """A value in a message: at most 80 characters, whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python prints
        text = f"({type(value).__name__})"
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


_TOO_DEEP = f"more than {DEEPEST} objects and lists inside of each other"


def _opened(content: bytes | str) -> int:
    """Objects and lists of a JSON text. Formulas have brackets as well, so many are counted outside of strings."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    opened = data.count(b"[") + data.count(b"{")
    if opened <= MOST_CONTAINERS:
        return opened
    data = _STRING.sub(b"", data)
    return data.count(b"[") + data.count(b"{")


def _no_constant(name: str) -> NoReturn:
    raise BrokenDocumentError(f"not valid JSON ({name} is no number)")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BrokenDocumentError(f"not valid JSON ({text[:20]} is beyond all numbers)")
    return value


def _refuse_deep(value: Any) -> None:
    """Raise BrokenDocumentError for a value that is nested too deep for those who walk through it."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [each for values in inner for each in values if isinstance(each, dict | list)]
        if not level:
            return
    raise BrokenDocumentError(_TOO_DEEP)


def _is_number(text: str) -> bool:
    """Whether a plain scalar of YAML stands for a number; a hash does not, although it may begin as one."""
    resolvers = _YAML.yaml_implicit_resolvers.get(text[:1], [])
    return any(tag in _NUMBERS and pattern.match(text) for tag, pattern in resolvers)


def _refuse_unfolding(text: str) -> None:
    """Raise BrokenDocumentError for a YAML text that unfolds into too much. Looks at its events, one after the other:
    nothing is built."""
    sizes: dict[str, int] = {}  # nodes of what an anchor stands for
    open_nodes: list[tuple[str | None, int]] = []  # anchor, nodes before it
    nodes = 0
    for event in yaml.parse(text, Loader=_YAML):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise BrokenDocumentError(f"the alias *{event.anchor} stands for nothing, or for what it is a part of")
            nodes += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if len(event.value) > LONGEST_NUMBER and not event.style and _is_number(event.value):
                raise BrokenDocumentError(f"a number of {len(event.value)} characters, at most {LONGEST_NUMBER} work")
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
        if len(open_nodes) > DEEPEST:
            raise BrokenDocumentError(_TOO_DEEP)
        if nodes > MOST_NODES:
            raise BrokenDocumentError(f"more than {MOST_NODES} values once its aliases (*name) are written out")
