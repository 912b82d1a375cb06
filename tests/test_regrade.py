"""An evaluation judged again: by real verifiers, by those that have changed their mind, and after kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import stores
from helpers.loose_answers import MIXTURE, loose_answers, tasks

from prorl_mega.config.schema import RunConfig, TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError, DataError, ExitCode
from prorl_mega.regrade import regrade
from prorl_mega.run import verdict_folders
from prorl_mega.run.sample_store import SampleStore, StoredProblem, StoredVerdict, write_header
from prorl_mega.run.settings import to_plain
from prorl_mega.run.verdict_folders import VerdictFolders
from prorl_mega.stored import stored_problem
from prorl_mega.verifiers.pool import VerifierPool

JUDGE = """
import time
from dataclasses import dataclass
from prorl_mega.tasks import Task, register
from prorl_mega.types import Problem, Verdict

@dataclass(kw_only=True)
class Options:
    pass

@register("moody")
class Moody(Task):
    options_type = Options

    def problem(self, index, seed):
        return Problem(key=f"moody/{index}", task=self.entry, prompt="p")

    def score(self, problem, answer):
        time.sleep(PAUSE)
        return Verdict(reward=float(answer in RIGHT), detail=f"of RIGHT: {answer}")
"""


def judge(folder: Path, right: str, pause: float = 0.0) -> Path:
    """A task module to which the characters of `right` are right."""
    path = folder / "moody_judge.py"
    path.write_text(JUDGE.replace("RIGHT", repr(right)).replace("PAUSE", repr(pause)))
    return path


def moody_store(folder: Path, texts: list[str], verdicts: list[StoredVerdict], samples: int = 4) -> Path:
    """An evaluation with these answers, `samples` for each problem."""
    mixture = TasksConfig(mixture={"moody": TaskConfig(name="moody")}, modules=[str(folder / "moody_judge.py")])
    config = to_plain(RunConfig(name="run", tasks=mixture))
    problems = [StoredProblem(key=f"moody/{n}", task="moody", prompt="p") for n in range(-(-len(texts) // samples))]
    answers = [stores.sample(*divmod(number, samples), text) for number, text in enumerate(texts)]
    about = stores.header("policy", samples, config=config)
    return stores.write_store(folder / "evaluation" / "policy", problems, answers, verdicts, about)


def started(directory: Path, **options: Any) -> subprocess.Popen[str]:
    """`regrade` in a process of its own, which knows no earlier version of the test's task."""
    call = (
        "from pathlib import Path; from prorl_mega.regrade import regrade; "
        f"raise SystemExit(regrade(Path({str(directory)!r}), **{options!r}))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-c", call], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def said(directory: Path, **options: Any) -> str:
    process = started(directory, **options)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == ExitCode.FINISHED, output
    return output


def rewards(directory: Path, folder: str = "verdicts") -> dict[tuple[int, int], float | None]:
    return {(each.problem, each.sample): each.reward for each in SampleStore(directory).verdicts(folder)}


def test_answers_in_all_domains_get_the_verdicts_of_the_pool(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = loose_answers()
    with VerifierPool(tasks()) as pool:
        expected = pool.score([(row.problem, row.text) for row in rows])
    problems = [stored_problem(row.problem) for row in rows]
    about = stores.header("policy", 1, config=to_plain(RunConfig(name="run", tasks=TasksConfig(mixture=dict(MIXTURE)))))
    answers = [stores.sample(number, 0, row.text) for number, row in enumerate(rows)]
    directory = stores.write_store(tmp_path / "evaluation" / "policy", problems, answers, (), about)
    assert regrade(directory, workers=2) is ExitCode.FINISHED
    assert rewards(directory) == {(number, 0): verdict.reward for number, verdict in enumerate(expected)}
    assert not (directory / "verdicts.2").exists()
    metrics = json.loads((tmp_path / "evaluation" / "policy.json").read_text())["metrics"]
    assert metrics["evaluation/pass@1"] == pytest.approx(sum(each.reward >= 1 for each in expected) / len(expected))
    relaxed = sum(row.sign == "right" or each.reward >= 1 for row, each in zip(rows, expected, strict=True))
    assert metrics["evaluation/relaxed_pass@1"] == pytest.approx(relaxed / len(rows))
    assert "relaxed" not in capsys.readouterr().err


def test_a_newer_verifier_flips_verdicts_and_the_old_ones_are_kept(tmp_path: Path) -> None:
    judge(tmp_path, "ab")
    directory = moody_store(tmp_path, list("abcd" * 3), [])
    said(directory, workers=1)
    before = rewards(directory)
    assert [before[0, sample] for sample in range(4)] == [1.0, 1.0, 0.0, 0.0]
    judge(tmp_path, "bcd")
    output = said(directory, workers=1)
    after = rewards(directory)
    assert [after[0, sample] for sample in range(4)] == [0.0, 1.0, 1.0, 1.0]
    assert rewards(directory, "verdicts.2") == before
    assert "moody: 12 answers: 6 wrong → right, 3 right → wrong, 3 the same" in output
    assert "wrong → right: moody/0 sample 2: 0 (of 'ab': c) → 1 (of 'bcd': c)" in output
    assert "right → wrong: moody/0 sample 0: 1 (of 'ab': a) → 0 (of 'bcd': a)" in output
    metrics = json.loads((directory.parent / "policy.json").read_text())["metrics"]
    assert metrics["evaluation/pass@1"] == 0.75


def test_answers_that_were_not_asked_for_are_judged_and_not_told(tmp_path: Path) -> None:
    """A larger evaluation that comes back finds their verdicts, of the same judges."""
    judge(tmp_path, "ab")
    directory = moody_store(tmp_path, list("abcd" * 3), [])
    said(directory, workers=1)
    store = SampleStore(directory)
    store.header.samples, store.header.asked = 2, [0, 2]
    write_header(directory, store.header)
    judge(tmp_path, "bcd")
    output = said(directory, workers=1)
    assert "moody: 4 answers: 2 right → wrong, 2 the same" in output
    assert rewards(directory) == {(problem, sample): float(sample) for problem in (0, 2) for sample in (0, 1)}
    everything = {
        (each.problem, each.sample): each.reward for each in SampleStore(directory, everything=True).verdicts()
    }
    assert everything == {(problem, sample): float(sample > 0) for problem in range(3) for sample in range(4)}


def test_missing_judges_what_has_no_reward_and_nothing_else(tmp_path: Path) -> None:
    judge(tmp_path, "ab")
    known = [
        StoredVerdict(problem=0, sample=0, reward=0.25, detail="by hand"),
        StoredVerdict(problem=0, sample=1, reward=None, detail="the verifier hung"),
    ]
    directory = moody_store(tmp_path, list("abcd"), known)
    output = said(directory, workers=1, missing=True)
    assert rewards(directory) == {(0, 0): 0.25, (0, 1): 1.0, (0, 2): 0.0, (0, 3): 0.0}
    assert rewards(directory, "verdicts.1") == {(0, 0): 0.25, (0, 1): None}
    assert "moody: 4 answers: 3 first verdict, 1 the same" in output
    assert "every answer has a verdict" in said(directory, workers=1, missing=True)
    assert not (directory / "verdicts.2").exists()


def test_a_regrade_that_is_killed_goes_on(tmp_path: Path) -> None:
    judge(tmp_path, "ab", pause=0.01)
    texts = list("abcd" * 150)
    old = [StoredVerdict(problem=number // 4, sample=number % 4, reward=0.5) for number in range(len(texts))]
    directory = moody_store(tmp_path, texts, old)
    process = started(directory, workers=1)
    new = directory / "verdicts.new" / "0.jsonl"
    while not new.exists() or new.read_bytes().count(b"\n") < 100:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = new.read_bytes().count(b"\n")
    assert 100 <= done < len(texts)
    assert set(rewards(directory).values()) == {0.5}, "readers see the old verdicts until all new ones are there"
    with new.open("ab") as file:
        file.write(b'{"problem": 3')  # a line that was being written
    output = said(directory, workers=2)
    assert f"{len(texts)} answers to 150 problems, {done:,} of them judged already" in output
    assert rewards(directory) == {divmod(n, 4): float(text in "ab") for n, text in enumerate(texts)}
    assert set(rewards(directory, "verdicts.1").values()) == {0.5}
    lines = (directory / "verdicts" / "0.jsonl").read_bytes().count(b"\n")
    assert lines == len(texts), "nothing was judged twice"


def test_verdicts_of_other_judges_are_not_gone_on_with(tmp_path: Path) -> None:
    judge(tmp_path, "ab", pause=0.01)
    texts = list("abcd" * 100)
    directory = moody_store(tmp_path, texts, [])
    process = started(directory, workers=1)
    new = directory / "verdicts.new" / "0.jsonl"
    while not new.exists() or new.read_bytes().count(b"\n") < 40:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.SAVED_AFTER_SIGNAL, output
    assert "the same command goes on" in output
    judge(tmp_path, "cd")
    assert "judged already" not in said(directory, workers=2)
    assert rewards(directory) == {divmod(n, 4): float(text in "cd") for n, text in enumerate(texts)}


def test_damaged_lines_are_left_out_and_told(tmp_path: Path) -> None:
    judge(tmp_path, "ab")
    directory = moody_store(tmp_path, list("abcd" * 2), [])
    samples = directory / "samples" / "0.jsonl"
    lines = samples.read_bytes().splitlines(keepends=True)
    stray = lines[0].replace(b'"problem":0', b'"problem":999')
    samples.write_bytes(b"".join([lines[0], b"\x00\xff{]\n", *lines[2:], stray, lines[0], b'{"problem":0,"sam']))
    output = said(directory, workers=1)
    assert "damaged lines that were left out: 1" in output
    places = {(0, 0), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)}
    assert rewards(directory).keys() == places


def test_a_damaged_problem_is_an_error_because_the_others_would_get_its_number(tmp_path: Path) -> None:
    judge(tmp_path, "ab")
    directory = moody_store(tmp_path, list("abcd" * 2), [])
    problems = directory / "problems.jsonl"
    problems.write_bytes(b"{]\n" + problems.read_bytes().partition(b"\n")[2])
    with pytest.raises(DataError, match="has a damaged line"):
        regrade(directory)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "config.tasks must be a group of settings"),
        ({"tasks": {"mixture": {"moody": {"name": "none"}}}}, "no task is called 'none'"),
        ({"tasks": {"mixture": {"other": {"name": "arithmetic"}}}}, "tasks.mixture has no moody"),
        ({"tasks": {"mixture": {"moody": {"name": "arithmetic", "colour": 1}}}}, "colour"),
        ({"tasks": {"mixture": "moody"}}, "mixture"),
    ],
)
def test_settings_that_cannot_be_used_are_told_by_name(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    directory = stores.write_store(
        tmp_path / "evaluation" / "policy",
        [StoredProblem(key="moody/0", task="moody", prompt="p")],
        [stores.sample(0, 0)],
        about=stores.header(config=config),
    )
    with pytest.raises((ConfigError, DataError), match=message):
        regrade(directory)
    assert not (directory / "verdicts.new").exists()


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("stops_at", range(6))
def test_a_replacement_that_stops_anywhere_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool, stops_at: int
) -> None:
    """Killed before any of its renames, whether or not the file system can exchange directories."""
    directory = tmp_path / "policy"
    (directory / "verdicts").mkdir(parents=True)
    (directory / "verdicts" / "0.jsonl").write_text("old")
    left = stops_at

    def rename(source: Path, target: Path) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        os.rename(source, target)

    def swap(one: Path, other: Path) -> bool:
        if left == 0:
            raise KeyboardInterrupt
        return real(one, other) if can_exchange else False

    real = verdict_folders.exchange
    folders = VerdictFolders(directory)
    assert not folders.begin("judges")
    (directory / "verdicts.new" / "0.jsonl").write_text("new")
    monkeypatch.setattr(verdict_folders.os, "replace", rename)
    monkeypatch.setattr(verdict_folders, "exchange", swap)
    with_luck = True
    try:
        folders.publish()
    except KeyboardInterrupt:
        with_luck = False
    monkeypatch.undo()
    monkeypatch.setattr(verdict_folders, "exchange", real if can_exchange else lambda one, other: False)
    found = VerdictFolders(directory)
    if not with_luck and (directory / "verdicts.new").exists():
        assert found.begin("judges"), "what was done is still there"
        found.publish()
    assert (directory / "verdicts" / "0.jsonl").read_text() == "new"
    assert (directory / "verdicts.1" / "0.jsonl").read_text() == "old"
    assert sorted(path.name for path in directory.iterdir()) == ["verdicts", "verdicts.1"]
