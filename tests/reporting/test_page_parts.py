"""Parts of the page of a run: what is chosen of a long run, and what is said where something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.rich_run import TASKS, record_rich_run
from helpers.stores import header, sample, write_store

from prorl_mega.report import write_report
from prorl_mega.reporting.answer_budget import AnswerBudget
from prorl_mega.reporting.history import read_history
from prorl_mega.reporting.provenance_text import provenance_rows
from prorl_mega.reporting.step_panels import MOST_STEPS, KeptSamples, answer_lists, step_panels
from prorl_mega.reporting.stored_answers import few_answers
from prorl_mega.reporting.timeline import MOST_EVENTS, TimelineEntry, timeline
from prorl_mega.run.jsonl import to_lines
from prorl_mega.run.provenance import record_start
from prorl_mega.run.sample_store import StoredProblem, StoredVerdict


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "rich"
    record_rich_run(directory, 50, answers=10)
    return directory


def test_a_few_answers_of_a_problem_right_and_wrong(tmp_path: Path) -> None:
    problems = [StoredProblem(key=key, task="t", prompt="?") for key in ("a", "b", "c")]
    samples = [sample(number, each, f"{number}.{each}") for number in range(3) for each in range(9)]
    verdicts = [StoredVerdict(problem=0, sample=each, reward=float(each in (4, 5, 6))) for each in range(9)]
    verdicts += [StoredVerdict(problem=1, sample=each, reward=None) for each in range(9)]
    store = write_store(tmp_path / "store", problems, samples, verdicts, header(samples=9))
    with (store / "samples" / "0.jsonl").open("ab") as file:
        file.write(b'broken\n{"problem": 0, "sample": 4, "text": 5}\n')
    found = few_answers(store, ["a", "b", "c", "nowhere"])
    texts = {key: [each.text for each, _ in answers] for key, answers in found.items()}
    assert texts == {"a": ["0.4", "0.5", "0.0"], "b": ["1.0", "1.1", "1.2"], "c": ["2.0", "2.1"]}
    assert found["c"][0][1] is None
    assert few_answers(tmp_path / "nowhere", ["a"]) == {}


def test_resets_without_a_recorded_reason_are_on_the_time_line(rich: Path) -> None:
    history = read_history(rich)
    known = [each for each in timeline(history) if each.action == "reset"]
    assert len(known) == 4
    assert all("patience=8" in each.text for each in known)
    history.decisions = []
    assert [each.text for each in timeline(history) if each.action == "reset"] == ["reference reset"] * 4


def test_many_decisions_leave_room_for_resets(rich: Path) -> None:
    history = read_history(rich)
    event = next(event for _, event in history.decisions if event.action == "wait")
    history.decisions = [(step, event) for step in range(5000)] + history.decisions
    entries = timeline(history)
    assert len(entries) == MOST_EVENTS
    assert sum(each.action == "reset" for each in entries) == 4
    assert [each.step for each in entries] == sorted(each.step for each in entries)
    assert max(each.step for each in entries) == 4999


def test_steps_with_decisions_are_among_those_that_open(tmp_path: Path) -> None:
    row = {"key": "k", "task": "t", "prompt": "p", "completion": "c", "reward": 0.5}
    for step in range(1, 1001):
        (tmp_path / f"step_{step:06d}.jsonl").write_text(json.dumps(row) + "\n")
    panels = step_panels(KeptSamples(tmp_path), [TimelineEntry(333, "reset", "why"), TimelineEntry(5000, "stop", "x")])
    assert len(panels) == MOST_STEPS + 1  # the last has a decision and no answers
    assert {"step-1", "step-333", "step-501", "step-1000", "step-5000"} <= set(panels)
    assert [each["kind"] for each in panels["step-333"]["parts"]] == ["text", "pre", "pre"]
    solved, worst, _ = answer_lists(KeptSamples(tmp_path))
    assert (solved, [each.step for each in worst[:2]]) == ([], [1000, 999])


def test_a_page_stays_small_whatever_the_run_is(tmp_path: Path) -> None:
    """5,000 steps, 120 tasks, and answers of 100 kB that are escaped to six times their length."""
    record_rich_run(tmp_path / "run", 5000, answers=50)
    path = tmp_path / "run" / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    dice = np.random.default_rng(0)
    for row in rows:
        row |= {f"reward/task_{number}": value for number, value in enumerate(dice.random(120))}
    path.write_text(to_lines(rows))
    answer = {"key": "k", "task": TASKS[0], "prompt": "<" * 100_000, "completion": "&" * 100_000, "reward": 1.0}
    for path in (tmp_path / "run" / "samples").glob("*.jsonl"):
        path.write_text(to_lines([answer] * 8))
    assert write_report(tmp_path / "run").stat().st_size < 5_000_000


def test_the_page_says_where_the_run_came_from(rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dict(provenance_rows(read_history(rich)))["commit"] == "0123456789ab"  # of its evaluation's store
    record_rich_run(tmp_path / "run", 5, answers=1)
    monkeypatch.setattr("sys.argv", ["train", "seed=7", "logger.options.api_key=abc", "+x.token=abc"])
    record_start(tmp_path / "run")
    record_start(tmp_path / "run")
    found = dict(provenance_rows(read_history(tmp_path / "run")))
    assert "seed=7" in found["command"]
    assert "abc" not in found["command"]
    assert found["starts"].startswith("2: 20")
    assert "python" in found
    assert "abc" not in write_report(tmp_path / "run").read_text()


def test_answers_of_any_shape(rich: Path, tmp_path: Path) -> None:
    record_rich_run(tmp_path / "run", 5, answers=1)
    rows = [
        '{"prompt": [], "completion": {}, "reward": "x"}',
        f'{{"key": ["a"], "task": 7, "completion": "c", "reward": 1{"0" * 400}, "tokens": true, "truncated": 1}}',
        '{"key": null, "reward": true, "prompt": "\\ud800", "completion": "\\u0000"}',
        "{}",
        "[]",
        '{"key": "',
    ]
    for path in (tmp_path / "run" / "samples").glob("*.jsonl"):
        path.write_text("\n".join(rows))
    (tmp_path / "run" / "evaluation" / "final.json").unlink()
    (tmp_path / "run" / "starts.jsonl").write_text('{"time": [], "command": "a \'b", "x": {"y": 1}}\n')
    assert "['a']" in write_report(tmp_path / "run").read_text()


def test_a_budget_of_answers_shortens_and_ends() -> None:
    """Counted as they stand in the page, where < takes six characters."""
    budget = AnswerBudget(characters=1000, longest=40)
    assert budget.take("short") == "short"
    shown = budget.take("a" * 30 + "b" * 60 + "c" * 30)
    assert "characters …" in shown
    assert shown.startswith("a" * 20)
    assert "b" not in shown
    assert len(shown) < 80
    taken = 0
    while budget.take("<" * 30):
        taken += 1
    assert 4 <= taken <= 6
    assert budget.take("more") == ""
