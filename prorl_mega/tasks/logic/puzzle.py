"""Puzzles of reasoning-gym from data files: a prompt and the entry that its scorer reads.

Scorers and rules are those of puzzles that are generated here (`gym.py`). Some scorers evaluate parts of the entry, and
a file may hold anything, so these parts are checked when the file is read.
"""

from __future__ import annotations

import re
from functools import cache
from random import Random
from typing import Any

from prorl_mega.data.canonical import Domain
from prorl_mega.tasks import extract
from prorl_mega.tasks.logic import gym, gym_rules
from prorl_mega.tasks.registry import nearest, register
from prorl_mega.tasks.row_task import Posed, RowOptions, RowTask
from prorl_mega.types import Problem, Verdict

EVALUATED = {
    "bitwise_arithmetic": ("metadata", "problem", r"[0-9a-fA-FxX+\-*/()<>&|^~ ]{1,400}"),
    "intermediate_integration": ("metadata", "integrand", r"[0-9A-Za-z+\-*/() .]{1,400}"),
    "number_sorting": ("answer", "", r"[\[\]0-9eE+\-.,'\" ]{1,4000}"),
    "polynomial_multiplication": ("answer", "", r"[0-9A-Za-z+\-*/() ]{1,4000}"),
    "simple_integration": ("metadata", "integrand", r"[0-9A-Za-z+\-*/() .]{1,400}"),
}
"""The part of an entry that its scorer evaluates, and the characters that it may have."""
TUPLES = ("arc_agi", "rearc")
"""Data sets whose scorers compare with tuples of tuples, which JSON turns into lists."""


class LogicOptions(RowOptions, kw_only=True):
    credit: gym_rules.Credit = gym_rules.Credit.progress  # the reward of partial solutions
    answer: extract.Form = extract.Form.tags
    request: bool = True  # whether to append the sentence that asks for the answer in this form


@register("logic")
class Logic(RowTask):
    """Entries of reasoning-gym from files, scored as the puzzles that are generated here."""

    options_type = LogicOptions
    options: LogicOptions
    domain = Domain.logic

    def check(self, fields: dict[str, Any]) -> dict[str, Any]:
        entry = fields["entry"]
        name = entry["metadata"]["source_dataset"]
        if name in gym_rules.EXCLUDED:
            raise ValueError(f"entries of {name!r} cannot be used: it {gym_rules.EXCLUDED[name]}")
        if name not in gym.datasets():
            raise ValueError(f"reasoning-gym has no {name!r}{nearest(name, list(gym.datasets()))}")
        if not isinstance(entry.get("question"), str) or not isinstance(entry.get("answer"), str | None):
            raise ValueError("the entry must have a question and an answer, which may be null")
        if name in EVALUATED:
            part, key, pattern = EVALUATED[name]
            text = entry[part].get(key) if key else entry[part]
            if not isinstance(text, str) or not re.fullmatch(pattern, text) or not gym_rules.allowed(name, text):
                raise ValueError(f"the {key or part} of a {name} entry must be a formula, not {text!r:.80}")
        return fields

    def warm_up(self) -> None:
        gym.datasets()

    def pose(self, fields: dict[str, Any], random: Random) -> Posed:
        entry, form = fields["entry"], self.options.answer
        answer = gym_rules.reference(entry["metadata"]["source_dataset"], entry)
        solution = fields.get("solution") or (extract.mark("", answer, form) if answer else None)
        wanted = f"\n\n{extract.request(form)}" if self.options.request else ""
        return Posed(prompt=fields["prompt"].rstrip() + wanted, entry={"entry": entry}, solution=solution)

    def canonical(self, problem: Problem, answer: str) -> str:
        item = problem.entry["entry"]
        return gym.named(item["metadata"]["source_dataset"], item, extract.answer(answer, self.options.answer))

    def readings(self, problem: Problem, answer: str) -> list[str]:
        return gym.other_readings(answer, self.options.answer)

    def score(self, problem: Problem, answer: str) -> Verdict:
        item = problem.entry["entry"]
        found = extract.answer(answer, self.options.answer)
        if found is None:
            return Verdict(reward=0.0, detail="no answer found", found=False)
        name = item["metadata"]["source_dataset"]
        if name in TUPLES:
            item = {**item, "metadata": {**item["metadata"], "output": tuple(map(tuple, item["metadata"]["output"]))}}
        return gym.judge(name, _scorer(name), item, found, self.options.credit)


@cache
def _scorer(name: str) -> Any:
    """A data set object with default settings: scoring reads the entry, and little else."""
    from reasoning_gym import create_dataset

    return create_dataset(name, seed=0, size=1)
