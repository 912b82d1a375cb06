"""Every file of real checkpoints, damaged in every way: named, skipped, and never executed.

A line per layout and kind of damage is printed, with its counts; `pytest -rP` shows them.
"""

from __future__ import annotations

import io
import itertools
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import forged_checkpoints as forged
from helpers.programs import Finished, run_program

from prorl_mega.errors import CheckpointError, ExitCode
from prorl_mega.export import export
from prorl_mega.run import manifest

BESIDE = (".metadata", "common.pt", "__0_0.distcp", "policy.pt", "pytorch_model.bin", "model/pytorch_model.bin",
          "model/modeling_own.py", "conftest.py", "sitecustomize.py")  # fmt: skip
"""Files that other programs would unpickle or import."""


class Evil:
    """Whoever unpickles it creates the directory `canary`."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def pickled(canary: Path) -> bytes:
    return pickle.dumps(Evil(canary))


def archived(canary: Path) -> bytes:
    """As torch.save writes it."""
    buffer = io.BytesIO()
    torch.save({"state": Evil(canary)}, buffer)
    return buffer.getvalue()


class Pair:
    """Copies of the two newest checkpoints of a run."""

    def __init__(self, run: Path, place: Path) -> None:
        self.run, self.canary = place, place / "canary"
        (place / "checkpoints").mkdir(parents=True)
        shutil.copyfile(run / "config.yaml", place / "config.yaml")
        for checkpoint in sorted((run / "checkpoints").glob("step_*"))[-2:]:
            shutil.copytree(checkpoint, place / "checkpoints" / checkpoint.name)
        self.older, self.newest = sorted((place / "checkpoints").iterdir())

    def content(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.newest.rglob("*") if path.is_file()}

    def refusal(self) -> str:
        """The words in which the newest one is refused, by those who go on from it or by those who export it; an empty
        string where it is used. Checks that the older one is used in its place."""
        said: list[str] = []
        try:
            saved = forged.checkpoints(self.run, said).newest_valid()
            assert saved is not None
            assert saved.directory == (self.older if said else self.newest)
            if not said:
                export(self.newest, self.run / "exported")
        except CheckpointError as error:  # of both: two files were exchanged between them
            said.append(str(error))
        return "\n".join(said)


Damage = Callable[[Pair], None]


def truncate(name: str, part: float, pair: Pair) -> None:
    path = pair.newest / name
    os.truncate(path, int(part * path.stat().st_size))


def flip(name: str, place: float, pair: Pair) -> None:
    content = bytearray((pair.newest / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    (pair.newest / name).write_bytes(content)


def remove(name: str, pair: Pair) -> None:
    (pair.newest / name).unlink()


def replace(name: str, make: Callable[[Path], bytes], seal: bool, pair: Pair) -> None:
    (pair.newest / name).write_bytes(make(pair.canary))
    if seal:
        forged.seal(pair.newest, name)


def exchange(name: str, other: str | None, seal: bool, pair: Pair) -> None:
    """Let two files of the newest checkpoint swap their names, or one and that of the older checkpoint; `seal`: and the
    manifests their entries."""
    places = [(pair.newest, name), (pair.older, name) if other is None else (pair.newest, other)]
    contents = [(checkpoint / each).read_bytes() for checkpoint, each in places]
    if contents[0] == contents[1]:
        return
    for (checkpoint, each), content in zip(places, reversed(contents), strict=True):
        (checkpoint / each).write_bytes(content)
        if seal:
            forged.seal(checkpoint, each)


def with_one_file(pair: Pair) -> Iterator[tuple[str, str, Damage]]:
    """Kind, names of files, damage: to one file of the newest checkpoint."""
    for name in manifest.list_files(pair.newest):
        yield "empty", name, partial(truncate, name, 0.0)
        yield "missing", name, partial(remove, name)
        for part in (0.5, 0.99):
            yield "truncated", name, partial(truncate, name, part)
        for place in (0.0, 0.5, 1.0):
            yield "a bit flipped", name, partial(flip, name, place)
        for make in (pickled, archived):
            yield "a hostile pickle", name, partial(replace, name, make, False)
            if name != manifest.NAME:
                yield "a hostile pickle, listed", name, partial(replace, name, make, True)


def with_two_files(pair: Pair) -> Iterator[tuple[str, str, Damage]]:
    """Kind, names of files, damage: files exchanged, without the manifest and together with it."""
    files = [name for name in manifest.list_files(pair.newest) if name != manifest.NAME]
    for seal in (False, True):
        listed = ", listed" * seal
        for one, other in itertools.combinations(files, 2):
            of_ranks = re.sub(r"\d+", "", one) == re.sub(r"\d+", "", other)
            kind = f"exchanged with another {'rank' if of_ranks else 'file'}{listed}"
            yield kind, f"{one} {other}", partial(exchange, one, other, seal)
        for name in files:
            yield f"exchanged with another step{listed}", name, partial(exchange, name, None, seal)


@pytest.fixture(scope="module")
def runs(setup: Path, uninterrupted: tuple[Finished, Path], run_arguments: tuple[str, ...]) -> dict[str, Path]:
    """Finished runs by layout."""
    more = ("name=two", "schedule.steps=3", "parallel.tensor=2")
    two = run_program("prorl_mega.train", setup, *run_arguments, *more, ranks=2)
    assert (uninterrupted[0].code, two.code) == (0, 0), two.output
    return {"one rank": uninterrupted[1], "two ranks": setup / "runs" / "two"}


@pytest.mark.parametrize("damages", [with_one_file, with_two_files])
@pytest.mark.parametrize("layout", [pytest.param("one rank", marks=pytest.mark.slow), "two ranks"])
def test_whatever_is_damaged_is_named_and_skipped(
    runs: dict[str, Path], layout: str, damages: Callable[[Pair], Iterator[tuple[str, str, Damage]]], tmp_path: Path
) -> None:
    counts: dict[str, list[int]] = {}
    missed = []
    before = Pair(runs[layout], tmp_path / "whole")
    assert before.refusal() == "", "intact, both are used"
    for number, (kind, names, damage) in enumerate(damages(before)):
        pair = Pair(runs[layout], tmp_path / str(number))
        whole = pair.content()
        damage(pair)
        if pair.content() != whole:  # otherwise the two had the same content
            refusal = pair.refusal()
            is_named = "flipped" in kind or any(name in refusal for name in names.split())
            is_seen = refusal != "" and pair.newest.name in refusal and is_named and not pair.canary.exists()
            counts.setdefault(kind, [0, 0])
            counts[kind][0] += 1
            counts[kind][1] += is_seen
            missed += [] if is_seen else [f"{kind}: {names}: {refusal!r}"]
        shutil.rmtree(pair.run)
    print(f"\n{'layout':<10} {'damage':<40} {'cases':>6} {'refused':>8}")
    for kind, (cases, seen) in sorted(counts.items()):
        print(f"{layout:<10} {kind:<40} {cases:>6} {seen:>8}")
    assert not missed, "\n".join(missed)


def test_a_pickle_that_is_loaded_would_be_seen(tmp_path: Path) -> None:
    """Otherwise no test here could fail."""
    for name, make in (("a", pickled), ("b", archived)):
        canary = tmp_path / name
        if make is pickled:
            pickle.loads(make(canary))
        else:
            torch.load(io.BytesIO(make(canary)), weights_only=False)
        assert canary.exists()


def test_a_run_goes_on_among_pickles(
    runs: dict[str, Path], setup: Path, run_arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """The newest checkpoint is nothing but pickles, listed with their hashes; in the one before they lie between the
    files, listed or not."""
    pair = Pair(runs["one rank"], setup / "runs" / "hostile")
    for name in manifest.list_files(pair.newest):
        if name.endswith(".safetensors"):
            forged.rewrite(pair.newest, name, archived(pair.canary))
    for number, name in enumerate(BESIDE):
        content = f"import os; os.mkdir({str(pair.canary)!r})".encode() if name.endswith(".py") else b""
        (pair.older / name).write_bytes(content or (pickled, archived)[number % 2](pair.canary))
        if number % 3:
            forged.seal(pair.older, name)
    done = run_program("prorl_mega.train", setup, *run_arguments, "name=hostile")
    assert done.code == ExitCode.FINISHED, done.output
    assert re.search(r"step_000010: optimizer-tp00-pp00-dp00.safetensors is damaged: .*: not used", done.output)
    assert "resuming after step 9" in done.output
    rewritten = {path.name: path.read_bytes() for path in pair.newest.glob("policy-*")}
    assert rewritten == {name: (runs["one rank"] / "checkpoints/step_000010" / name).read_bytes() for name in rewritten}
    exported = export(pair.older, tmp_path / "exported")
    assert exported == pair.older.absolute()
    assert not pair.canary.exists()
