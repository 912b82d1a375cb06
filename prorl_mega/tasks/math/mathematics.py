r"""Mathematics from data files: rows with a prompt and an answer, judged as mathematics.

The prompt is the row's text and `suffix`. The answer is the last box by default (`extract` has the rules). The reward
is 1 if every answer of the final statement is the reference (`answers/equivalence.py`), or if all of them together are
the list that the reference is; otherwise 0. A chain such as `m+n = 256+37 = 293` answers its value. A row with
`verifier: exact` needs the same text.

With `second: plain` it is enough that one of two verifiers accepts an answer, as in ProRL. The detail of a verdict says
when they differ; `python -m prorl_mega.tasks agreement` counts it.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from prorl_mega.data.canonical import Domain
from prorl_mega.tasks import extract, relaxed
from prorl_mega.tasks.answers import canonical, chain, equivalence, plain
from prorl_mega.tasks.registry import register
from prorl_mega.tasks.row_task import AnswerOptions, RowTask
from prorl_mega.types import Problem, Verdict


class Verifier(Enum):
    math = "math"  # equal as mathematics
    exact = "exact"  # equal as text, apart from blanks at both ends


class SecondVerifier(Enum):
    none = "none"
    plain = "plain"  # equal as text when the spellings of LaTeX are made one


class MathOptions(AnswerOptions, kw_only=True):
    verifier: Verifier = Verifier.math  # for rows that do not name their own
    second: SecondVerifier = SecondVerifier.none  # answers that it accepts are right as well


@register("math")
class Math(RowTask):
    """Mathematics from data files, judged as mathematics: rows with a prompt and an answer."""

    domain = Domain.math
    scored_fields = ("answer", "verifier")
    options_type = MathOptions
    options: MathOptions

    def check(self, fields: dict[str, Any]) -> dict[str, Any]:
        verifier = fields.setdefault("verifier", self.options.verifier.value)
        if verifier not in [member.value for member in Verifier]:
            raise ValueError(f"verifier must be math or exact, not {verifier!r}")
        if verifier == Verifier.math.value and (wrong := equivalence.complaint(fields["answer"])):
            raise ValueError(wrong)
        self.options.check_reference(fields["answer"])
        self.options.check_level(fields)
        return fields

    def own_answers(self, problem: Problem) -> dict[str, str]:
        return self.options.own_answers(problem)

    def warm_up(self) -> None:
        equivalence.prepare()

    def canonical(self, problem: Problem, answer: str) -> str:
        return canonical.mathematical(extract.statement(answer, self.options.answer))

    def readings(self, problem: Problem, answer: str) -> list[str]:
        return relaxed.short_answers(answer, self.options.answer, relaxed.Sought.number)

    def score(self, problem: Problem, answer: str) -> Verdict:
        found = extract.statement(answer, self.options.answer)
        if not found:
            return Verdict(reward=0.0, detail="no answer found", found=False)
        reference, detail = problem.entry["answer"], found[0][:64]
        in_form = extract.all_in_form(found, self.options.answer)
        if Verifier(problem.entry["verifier"]) is Verifier.exact:
            return Verdict(reward=float(found == [reference.strip()]), detail=detail, found=in_form)
        if "=" not in reference:
            found = [chain.value(each) for each in found]
        first = equivalence.all_equivalent(reference, found)
        if self.options.second is SecondVerifier.none:
            return Verdict(reward=float(first), detail=detail, found=in_form)
        second = all(plain.agrees(reference, each) for each in found)
        if first != second:
            detail = f"{detail} (verifiers differ: {'first' if first else 'second'} accepts)"
        return Verdict(reward=float(first or second), detail=detail, found=in_form)
