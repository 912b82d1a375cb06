"""The folder of an evaluation when another one has left something there: answers of one policy to one set of problems,
whatever was killed or damaged before."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.stores import header, sample, write_store

from prorl_mega.config.schema import EvaluateConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError, DataError, StorageError
from prorl_mega.run import evaluation_run
from prorl_mega.run.evaluation_run import Block, EvaluationRun
from prorl_mega.run.lock import Holder
from prorl_mega.run.sample_store import LineWriter, SampleStore, StoredProblem, StoredVerdict, StoreHeader

PROBLEMS = [StoredProblem(key=f"task/{number}", task="task", prompt=f"prompt {number}") for number in range(3)]
IN_THE_WAY = {("verdicts/0.jsonl", "folder"), ("verdicts/0.jsonl", "pipe"), ("samples", "pipe"), ("samples", "text")}
"""Something in place of a file that ends an evaluation; other damage of a store is set aside with it."""
OTHERS = [StoredProblem(key=f"other/{number}", task="other", prompt=f"question {number}") for number in range(2)]


def begin(root: Path, about: StoreHeader, problems: list[StoredProblem]) -> list[Block]:
    config = EvaluateConfig(root=str(root), name="run")
    with EvaluationRun(config, Ranks.alone(), "policy") as run:
        return run.begin(about, problems)


def evaluated(root: Path, about: StoreHeader | None = None) -> Path:
    """Two samples of each of PROBLEMS, judged."""
    places = [(number, index) for number in range(len(PROBLEMS)) for index in range(2)]
    return write_store(
        root / "run" / "evaluation" / "policy",
        PROBLEMS,
        [sample(*place, text=f"{place}") for place in places],
        [StoredVerdict(problem=number, sample=index, reward=1.0) for number, index in places],
        about=about or header(samples=2),
    )


def kept(folder: Path) -> dict[str, set[int]]:
    """The samples of every problem of a store, by key."""
    store = SampleStore(folder)
    found: dict[str, set[int]] = {problem.key: set() for problem in store.problems()}
    keys = list(found)
    for answer in store.samples():
        found[keys[answer.problem]].add(answer.sample)
    return found


def test_answers_that_are_there_count_and_others_are_missing(tmp_path: Path) -> None:
    folder = evaluated(tmp_path)
    assert begin(tmp_path, header(samples=3), PROBLEMS) == [(0, [2]), (1, [2]), (2, [2])]
    assert begin(tmp_path, header(samples=2), [*OTHERS, PROBLEMS[1]]) == [(3, [0, 1]), (4, [0, 1]), (1, [])]
    assert len(kept(folder)) == 5
    assert SampleStore(folder).header.asked == [1, 3, 4]
    assert begin(tmp_path, header(samples=1), [*PROBLEMS, *OTHERS]) == [(0, []), (1, []), (2, []), (3, [0]), (4, [0])]
    assert SampleStore(folder).header.asked is None
    assert not list(folder.parent.glob("policy.*"))


@pytest.mark.parametrize("killed_after", range(4))
def test_a_kill_while_answers_of_another_policy_are_set_aside_mixes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    folder = evaluated(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation_run.os, "replace", _killed_after(killed_after))
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path, header(samples=2, identity="new", policy="new"), PROBLEMS)
    wanted = [(number, [0, 1]) for number in range(3)]
    assert begin(tmp_path, header(samples=2, identity="new", policy="new"), PROBLEMS) == wanted
    assert set().union(*kept(folder).values()) == set()
    assert kept(folder.with_name("policy.1")) == {problem.key: {0, 1} for problem in PROBLEMS}
    assert not folder.with_name("policy.2").exists()


@pytest.mark.parametrize("killed_after", range(4))
def test_a_kill_while_answers_are_set_aside_and_then_their_own_policy_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    folder = evaluated(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation_run.os, "replace", _killed_after(killed_after))
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path, header(samples=2, identity="new", policy="new"), PROBLEMS)
    missing = begin(tmp_path, header(samples=2), list(reversed(PROBLEMS)))
    have = kept(folder)
    assert len(have) == len(PROBLEMS)
    keys = list(have)
    assert all(have[keys[number]].isdisjoint(samples) for number, samples in missing)
    for answer in SampleStore(folder).samples():
        assert answer.text == f"({PROBLEMS.index(SampleStore(folder).problems()[answer.problem])}, {answer.sample})"


def test_problems_without_a_header_are_those_of_a_start_that_was_killed(tmp_path: Path) -> None:
    folder = evaluated(tmp_path)
    (folder / "header.json").unlink()
    assert begin(tmp_path, header(samples=2), OTHERS) == [(0, [0, 1]), (1, [0, 1])]
    assert list(kept(folder)) == [problem.key for problem in OTHERS]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0][:-9] + b"\n", *lines[1:]],
        lambda lines: [b"[" * 100_000 + b"\n", *lines[1:]],
        lambda lines: [lines[0].replace(b"task/0", b"task\xff0"), *lines[1:]],
        lambda lines: [lines[0].replace(b'"task/0"', b"7"), *lines[1:]],
        lambda lines: lines[:2],
        lambda lines: [],
        lambda lines: [*lines, lines[0]],
    ],
    ids=["cut", "deep", "not UTF-8", "of another type", "the last one gone", "empty", "one twice"],
)
def test_problems_that_are_damaged_give_no_answer_to_another_one(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]]
) -> None:
    """Answers name problems by their lines."""
    folder = evaluated(tmp_path)
    file = folder / "problems.jsonl"
    file.write_bytes(b"".join(damage(file.read_bytes().splitlines(keepends=True))))
    damaged = file.read_bytes()
    asked = [*OTHERS, *PROBLEMS]
    assert begin(tmp_path, header(samples=2), asked) == [(number, [0, 1]) for number in range(5)]
    assert kept(folder) == {problem.key: set() for problem in asked}
    assert (folder.with_name("policy.1") / "problems.jsonl").read_bytes() == damaged


@pytest.mark.parametrize(
    "line",
    [
        b'{"problem":1,"sample":0,"seed":1,"text":7,"finish":"stop","length":2}',
        b'{"problem":1,"sample":0,"seed":1,"text":"7","finish":"stop","length":2,"tokens":[1,"2"]}',
        b'{"problem":1,"sample":0,"seed":1,"text":"7","finish":"stop","length":2,"logprobs":[1e999]}',
        b'{"problem":1,"sample":0,"seed":1,"text":"\xff","finish":"stop","length":2}',
        b'{"problem":1,"sample":0,"seed":1,"text":"7","finish":"stop","len\0\0\0\0',
        b'{"problem":1,"sample":0}',
        b'{"problem":1,"sample":99999999999999999999999}',
        b"[" * 100_000,
        b"",
    ],
)
def test_an_answer_that_cannot_be_read_is_asked_for_again(tmp_path: Path, line: bytes) -> None:
    folder = evaluated(tmp_path)
    file = folder / "samples" / "0.jsonl"
    lines = file.read_bytes().splitlines()
    assert json.loads(lines[2])["problem"] == 1
    file.write_bytes(b"\n".join([*lines[:2], line, *lines[3:], b""]))
    assert begin(tmp_path, header(samples=2), PROBLEMS) == [(0, []), (1, [0]), (2, [])]


@pytest.mark.parametrize("name", ["problems.jsonl", "samples/0.jsonl", "verdicts/0.jsonl", "header.json", "samples"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "text"])
def test_something_else_in_place_of_a_file_is_named(tmp_path: Path, name: str, kind: str) -> None:
    folder = evaluated(tmp_path)
    os.replace(folder / name, folder / "elsewhere")
    if kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).write_text("no JSON")
    is_in_the_way = (name, kind) in IN_THE_WAY
    config = EvaluateConfig(root=str(tmp_path), name="run")
    message = rf"{name}: is not a regular file|{name}'\. Answers so far are kept"
    errors = pytest.raises((DataError, StorageError), match=message) if is_in_the_way else contextlib.nullcontext()
    with errors, EvaluationRun(config, Ranks.alone(), "policy") as run:
        run.begin(header(samples=2), PROBLEMS)
        with run.writers(0):
            list(SampleStore(folder).unjudged())


def _killed_after(count: int) -> Callable[[Path, Path], None]:
    """`os.replace` of files of a store that works so many times."""
    calls = 0
    replace = os.replace

    def limited(source: Path, target: Path) -> None:
        nonlocal calls
        if "policy." in str(target) and "header.json." not in str(source):
            calls += 1
            if calls > count:
                raise KeyboardInterrupt
        replace(source, target)

    return limited


def test_shares_of_answers_without_a_verdict_fit_together_while_verdicts_are_added(tmp_path: Path) -> None:
    folder = evaluated(tmp_path)
    shutil.rmtree(folder / "verdicts")
    first = list(SampleStore(folder).unjudged(0, 2))
    writer = LineWriter(folder / "verdicts" / "0.jsonl")
    writer.write(StoredVerdict(problem=each.problem, sample=each.sample, reward=0.0) for each in first)
    writer.close()
    second = list(SampleStore(folder).unjudged(1, 2))
    assert len(first) == len(second) == 3
    places = {(each.problem, each.sample) for each in (*first, *second)}
    assert places == {(number, index) for number in range(3) for index in range(2)}


def test_an_evaluation_that_another_process_has_taken_over_ends(tmp_path: Path) -> None:
    """A job that was suspended for long looks dead, and may wake up."""
    config = EvaluateConfig(root=str(tmp_path), name="run")
    with EvaluationRun(config, Ranks.alone(), "policy") as run:
        assert not run.is_stopping()
        run._lock.taken_by = Holder(host="elsewhere", pid=7, started=1, job="12")
        assert run.is_stopping()
        with pytest.raises(ConfigError, match=r"policy was taken over by process 7 on elsewhere \(job 12\)"):
            run.end_of_sampling()
