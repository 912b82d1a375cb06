"""Answers that are kept for people: few, bounded, printable, from different tasks."""

import dataclasses
import json

import numpy as np

from prorl_mega.run.console import Console
from prorl_mega.run.jsonl import to_lines
from prorl_mega.run.samples import GROUPS, LONGEST, sample_row, sample_rows, with_evidence
from prorl_mega.run.step import StepLog, read_unfinished
from prorl_mega.types import Completion, Decision, Event, FinishReason, Group, Outcome, Problem, Sample, Verdict


def group(key: str, task: str, texts: list[str], verdicts: list[Verdict | None]) -> Group:
    samples = [
        Sample(
            completion=Completion(
                tokens=np.zeros(3, np.int32),
                logprobs=np.zeros(3, np.float32),
                finish=FinishReason.LENGTH,
                version=1,
            ),
            text=text,
            verdict=verdict,
        )
        for text, verdict in zip(texts, verdicts, strict=True)
    ]
    return Group(
        problem=Problem(key=key, task=task, prompt="1+1?"), prompt_tokens=np.zeros(2, np.int32), samples=samples
    )


def test_best_and_worst_of_different_tasks() -> None:
    groups = [
        group(f"{task}/{i}", task, ["a", "b", "c"], [Verdict(reward=r) for r in (0.5, 1.0, 0.0)])
        for task in ("sums", "words")
        for i in range(5)
    ]
    rows = sample_rows(groups)
    assert len(rows) == 2 * GROUPS
    assert [row["key"] for row in rows[::2]] == ["sums/0", "words/0", "sums/1", "words/1"]
    assert [(row["completion"], row["reward"]) for row in rows[:2]] == [("b", 1.0), ("c", 0.0)]
    assert rows[0]["truncated"] is True
    assert "system" not in rows[0]


def test_the_system_turn_is_shown_where_a_problem_has_one() -> None:
    asked = group("k", "t", ["a"], [Verdict(reward=1.0)])
    asked.problem = dataclasses.replace(asked.problem, system="Answer in one word.")
    assert sample_rows([asked])[0]["system"] == "Answer in one word."


def test_hostile_answers_are_harmless() -> None:
    verdicts: list[Verdict | None] = [None, Verdict(reward=0.0, outcome=Outcome.INFRA_ERROR), None]
    rows = sample_rows([group("k\ud800", "t", ["\x1b]0;x\x07" + "é" * 50_000, "\ud800\u202e", "z"], verdicts)])
    (line,) = to_lines(rows, readable=True).encode().splitlines()
    row = json.loads(line)
    assert row["outcome"] == "infra_error"
    assert row["key"] == "k"
    rows = sample_rows([group("k", "t", ["\x1b]0;x\x07" + "é" * 50_000], [None])])
    assert rows[0]["completion"].startswith("]0;xé")
    assert len(rows[0]["completion"]) < LONGEST + 50


def test_the_answers_behind_alarms_come_first_and_once() -> None:
    ordinary, both, one = ({"key": key, "completion": "x"} for key in ("a", "b", "c"))
    rows = with_evidence([both, ordinary], {"identical": [both, one], "disputed": [both]})
    assert rows == [both | {"behind": ["identical", "disputed"]}, one | {"behind": ["identical"]}, ordinary]
    assert with_evidence([both, ordinary], {}) == [both, ordinary]


def step_log(earlier: str = "") -> StepLog:
    return StepLog(heading="step 1/1", console=Console(None), resets=0, earlier=earlier)


def test_answers_are_kept_for_an_alarm_that_is_raised_and_no_other() -> None:
    groups = [group(f"k/{i}", "t", [f"a{i}", f"b{i}"], [Verdict(reward=1.0), Verdict(reward=0.0)]) for i in range(9)]
    copied, other = (groups[7], groups[7].samples[1]), (groups[8], groups[8].samples[1])
    log = step_log()
    log.samples(groups)
    log.suspects({"identical": [copied], "unscorable": [other], "reward_jump": []})
    log.suspects({"disputed": [copied]})
    ordinary = list(log.rows)
    for interrupted in (log.to_json(), step_log(log.to_json()).to_json()):
        assert read_unfinished(interrupted).suspects.keys() == {"identical", "unscorable", "disputed"}
        again = step_log(interrupted)
        again.decide(
            Decision(events=(Event(trigger="identical", action="warn"), Event(trigger="disputed", action="stop")))
        )
        assert again.rows == [sample_row(*copied) | {"behind": ["identical", "disputed"]}, *ordinary]
    log.decide(
        Decision(events=(Event(trigger="identical", action="over"), Event(trigger="entropy_low", action="warn")))
    )
    assert log.rows == ordinary
