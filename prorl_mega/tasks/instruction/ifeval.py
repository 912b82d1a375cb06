"""Prompts from files with instructions about form that a program can check: the data of IFEval and its kind.

A row has a prompt, which contains the instructions in words, and the same instructions for the machine:
`{"kind": "punctuation:no_comma"}`, by the names in `check_registry.py`. Only what follows `</think>` is judged.

`checker` says by which rules. Ours, for training, are strict: never a second time without the first line or the
asterisks. Those of the published checker of IFEval give numbers that can be compared with others: `official_strict`
and `official_loose` (in the paper: "strict" and "loose"), in which the mean reward of an evaluation is the accuracy of
prompts. Do not train on them: they let pass what no reader would (`official_checks.py`).
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Annotated, Any

from msgspec import Meta

from prorl_mega.data.canonical import Domain
from prorl_mega.tasks import extract
from prorl_mega.tasks.instruction import language, official_checks, prose
from prorl_mega.tasks.instruction.check_registry import CHECKS, checked, final_text, judged, verdict
from prorl_mega.tasks.instruction.instruction_check import Constraint
from prorl_mega.tasks.instruction.official_checks import OFFICIAL_CHECKS
from prorl_mega.tasks.instruction.wrapping import is_wrapped, unwrapped
from prorl_mega.tasks.registry import register
from prorl_mega.tasks.row_task import RowOptions, RowTask
from prorl_mega.types import Problem, Verdict


class InstructionReward(Enum):
    """The reward for several instructions together."""

    fraction = "fraction"  # the share of them that was followed
    all = "all"  # 1 if every one was followed, otherwise 0


class Checker(Enum):
    """The rules by which an answer is judged."""

    ours = "ours"  # strict, and closed where a policy in training would find a way around
    official_strict = "official_strict"  # the verdicts of the published checker
    official_loose = "official_loose"  # ... which also looks at the text without its ends and its asterisks


class IFEvalOptions(RowOptions, kw_only=True):
    checker: Checker = Checker.ours
    # null: `fraction` for our checker; `all` for the published one, whose numbers are accuracies of prompts
    reward: Annotated[InstructionReward | None, Meta(description="one of fraction, all, null")] = None
    # An answer with fewer words follows nothing: an empty text would satisfy "do not use commas".
    min_words: Annotated[int, Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        if self.official and self.min_words != 1:
            raise ValueError("min_words: the published checker has no such bound; leave it out, or set checker: ours")
        if self.reward is None:
            self.reward = InstructionReward.all if self.official else InstructionReward.fraction

    @property
    def official(self) -> bool:
        return self.checker is not Checker.ours


@register("ifeval")
class IFEval(RowTask):
    """Prompts with instructions about form, from files; judged strictly, after the thinking."""

    options_type = IFEvalOptions
    options: IFEvalOptions
    judges_form = True
    domain = Domain.instruction
    scored_fields = ("constraints",)

    def __init__(self, entry: str, options: IFEvalOptions) -> None:
        super().__init__(entry, options)
        self._checks = OFFICIAL_CHECKS if options.official else CHECKS

    def warm_up(self) -> None:
        (official_checks if self.options.official else language).prepare()

    def describe(self) -> str:
        lines = [f"  {kind}({', '.join(check.parameters)})" for kind, check in self._checks.items()]
        return "kinds of constraints and their parameters:\n" + "\n".join(lines)

    def check(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "constraints": [checked(each, self._checks) for each in fields["constraints"]]}

    def score(self, problem: Problem, answer: str) -> Verdict:
        return replace(self._judged(answer, problem.entry["constraints"]), found=not is_wrapped(final_text(answer)))

    def readings(self, problem: Problem, answer: str) -> list[str]:
        return unwrapped(final_text(answer))

    def _judged(self, answer: str, constraints: list[Constraint]) -> Verdict:
        all_or_nothing = self.options.reward is InstructionReward.all
        if self.options.official:
            kept = self._officially_kept(answer, constraints)
            return verdict(kept, constraints, all_or_nothing=all_or_nothing)
        text = final_text(answer)
        if len(prose.words(text)) < self.options.min_words:
            return Verdict(reward=0.0, detail=f"fewer than {self.options.min_words} words")
        return judged(text, constraints, all_or_nothing=all_or_nothing)

    def _officially_kept(self, answer: str, constraints: list[Constraint]) -> list[bool]:
        """The published checker knows no thinking; without it, it gets the answer to the letter, blanks included."""
        shown = extract.after_thinking(answer)
        text = answer if shown == answer else shown.lstrip()
        readings = official_checks.readings(text, loose=self.options.checker is Checker.official_loose)
        return [official_checks.followed(readings, each) for each in constraints]
