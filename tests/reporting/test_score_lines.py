"""The table that an evaluation ends with."""

import shlex
from pathlib import Path

from prorl_mega.regrade import FLAG
from prorl_mega.reporting.score_lines import score_lines

SCORES = {"evaluation/pass@1": 0.25, "evaluation/pass@4": 0.5, "evaluation/reward": 0.25}


def test_answers_without_a_verdict_are_told_with_the_command_that_judges_them() -> None:
    answers = Path("my runs/demo/evaluation/policy")
    last = score_lines(SCORES | {"evaluation/infra_errors": 1200.0}, answers)[-1]
    said, _, command = last.partition(": python ")
    assert said.startswith("1,200 answers have no verdict")
    assert shlex.split(command) == ["-m", "prorl_mega.evaluate", FLAG, str(answers), "--missing"]


def test_nothing_is_told_where_every_answer_has_a_verdict() -> None:
    lines = score_lines(SCORES | {"evaluation/infra_errors": 0.0}, Path("x"))
    assert [line.split() for line in lines] == [
        ["pass@1", "pass@4", "reward"],
        ["all", "tasks", "0.250", "0.500", "0.250"],
    ]
