"""Prompts from files with instructions about form that a program can check: the data of IFEval and its kind.

A row has a prompt, which contains the instructions in words, and the same instructions for the machine:
`{"kind": "punctuation:no_comma"}`, by the names in `check_registry.py`. Only what follows `</think>` is judged, and
only strictly: never a second time without its first line or its asterisks ("loose" in the paper), neither in training
nor in evaluation.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from msgspec import Meta

from prorl_mega.data.canonical import Domain
from prorl_mega.tasks.instruction import language, prose
from prorl_mega.tasks.instruction.check_registry import CHECKS, checked, final_text, judged
from prorl_mega.tasks.registry import register
from prorl_mega.tasks.row_task import RowOptions, RowTask
from prorl_mega.types import Problem, Verdict


class InstructionReward(Enum):
    """The reward for several instructions together."""

    fraction = "fraction"  # the share of them that was followed
    all = "all"  # 1 if every one was followed, otherwise 0


class IFEvalOptions(RowOptions, kw_only=True):
    reward: InstructionReward = InstructionReward.fraction
    # An answer with fewer words follows nothing: an empty text would satisfy "do not use commas".
    min_words: Annotated[int, Meta(ge=1)] = 1


@register("ifeval")
class IFEval(RowTask):
    """Prompts with instructions about form, from files; judged strictly, after the thinking."""

    options_type = IFEvalOptions
    options: IFEvalOptions
    judges_form = True
    domain = Domain.instruction
    scored_fields = ("constraints",)

    def warm_up(self) -> None:
        language.prepare()

    def describe(self) -> str:
        lines = [f"  {kind}({', '.join(check.parameters)})" for kind, check in CHECKS.items()]
        return "kinds of constraints and their parameters:\n" + "\n".join(lines)

    def check(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "constraints": [checked(constraint) for constraint in fields["constraints"]]}

    def score(self, problem: Problem, answer: str) -> Verdict:
        text = final_text(answer)
        if len(prose.words(text)) < self.options.min_words:
            return Verdict(reward=0.0, detail=f"fewer than {self.options.min_words} words")
        all_or_nothing = self.options.reward is InstructionReward.all
        return judged(text, problem.entry["constraints"], all_or_nothing=all_or_nothing)
