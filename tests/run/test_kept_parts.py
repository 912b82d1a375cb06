"""Finished parts of an evaluation survive crashes whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.run.kept_parts import KeptParts, remove_kept_parts


def parts(directory: Path, identity: str = "a") -> KeptParts:
    return KeptParts(directory, identity, Ranks.alone())


@pytest.mark.parametrize("damage", ["cut", "changed", "half a header"])
def test_what_is_damaged_is_done_again(tmp_path: Path, damage: str) -> None:
    kept = parts(tmp_path)
    assert kept.read() == []
    for record in (b"one", b"", b"three" * 1000):
        kept.append(record)
    path = tmp_path / "a.part"
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-1], "changed": content[:-1] + b"x", "half a header": content[:-5030]}[damage])
    again = parts(tmp_path)
    assert again.read() == [b"one", b""]
    again.append(b"three")
    assert parts(tmp_path).read() == [b"one", b"", b"three"]
    assert parts(tmp_path, "b").read() == []
    remove_kept_parts(tmp_path)
    assert not list(tmp_path.iterdir())
