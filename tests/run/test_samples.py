"""Answers that are kept for people: few, bounded, printable, from different tasks."""

import dataclasses
import json

import numpy as np

from prorl_mega.run.jsonl import to_lines
from prorl_mega.run.samples import GROUPS, LONGEST, sample_rows
from prorl_mega.types import Completion, FinishReason, Group, Outcome, Problem, Sample, Verdict


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
