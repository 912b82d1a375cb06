"""Prompts from files with instructions about form that a program can check: the data of IFEval and its kind.

A row has a prompt, which contains the instructions in words, and the same instructions for the machine:
`{"kind": "punctuation:no_comma"}`, by the published names (`ifeval_kinds.py`, `ifeval_more.py`). Only what follows
`</think>` is judged, and it is judged as it is: there is no second look at the answer without its first line or without
its asterisks ("loose" in the paper), neither in training nor in evaluation.
"""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import Annotated, Any

from msgspec import Meta

from prorl_mega.data.canonical import Domain
from prorl_mega.tasks import extract
from prorl_mega.tasks.instruction import language, prose
from prorl_mega.tasks.instruction.ifeval_kinds import PUBLISHED
from prorl_mega.tasks.instruction.ifeval_more import GENERATED, LATER
from prorl_mega.tasks.instruction.requirement import Constraint, Requirement
from prorl_mega.tasks.registry import nearest, register
from prorl_mega.tasks.row_task import Posed, RowOptions, RowTask
from prorl_mega.types import Problem, Verdict

KINDS: dict[str, Requirement] = {**PUBLISHED, **LATER, **GENERATED}


class Reward(Enum):
    """What several instructions are worth together."""

    fraction = "fraction"  # the share of them that was followed
    all = "all"  # 1 if every one was followed, otherwise 0


class IFEvalOptions(RowOptions, kw_only=True):
    reward: Reward = Reward.fraction
    min_words: Annotated[int, Meta(ge=1)] = (
        1  # an answer with fewer words follows nothing: "do not use commas" is no reason to say nothing
    )


@register("ifeval")
class IFEval(RowTask):
    """Prompts with instructions about form, from files; judged strictly, after the thinking."""

    options_type = IFEvalOptions
    options: IFEvalOptions
    judges_form = True
    domain = Domain.instruction

    def warm_up(self) -> None:
        language.prepare()

    def describe(self) -> str:
        lines = [f"  {kind}({', '.join(KINDS[kind].parameters)})" for kind in KINDS]
        return "kinds of constraints and their parameters:\n" + "\n".join(lines)

    def check(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "constraints": [checked(constraint) for constraint in fields["constraints"]]}

    def pose(self, fields: dict[str, Any], random: Random) -> Posed:
        entry = {"constraints": fields["constraints"]}
        return Posed(prompt=fields["prompt"], entry=entry, solution=fields.get("solution"))

    def score(self, problem: Problem, answer: str) -> Verdict:
        constraints = problem.entry["constraints"]
        text = extract.after_thinking(extract.clean(answer)).strip()
        if len(prose.words(text)) < self.options.min_words:
            return Verdict(reward=0.0, detail=f"fewer than {self.options.min_words} words")
        kept = followed(text, constraints)
        broken = [each["kind"] for each, good in zip(constraints, kept, strict=True) if not good]
        share = sum(kept) / len(kept) if self.options.reward is Reward.fraction else float(all(kept))
        return Verdict(reward=share, detail=f"not followed: {', '.join(broken)}" if broken else "")


def followed(text: str, constraints: list[Constraint]) -> list[bool]:
    """One truth value per constraint (as `checked` returns them); a blank text follows none."""
    text = text.strip()
    if not text:
        return [False] * len(constraints)
    return [KINDS[constraint["kind"]].holds(text, constraint) for constraint in constraints]


def checked(constraint: Constraint) -> Constraint:
    """The constraint with its parameters as they are used. Raises ValueError for what cannot be checked."""
    kind = constraint.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(
            f"no instruction is called {kind!r}{nearest(str(kind), list(KINDS))}; an instruction that cannot be "
            "checked must not be in the data"
        )
    return KINDS[kind].check(constraint)
