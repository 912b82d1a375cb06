"""All kinds of instruction by name, and the judgement of a text by the constraints of its prompt."""

from __future__ import annotations

from collections.abc import Mapping

from prorl_mega.tasks import extract
from prorl_mega.tasks.instruction.generated_checks import GENERATED_CHECKS
from prorl_mega.tasks.instruction.ifeval_checks import IFEVAL_CHECKS
from prorl_mega.tasks.instruction.instruction_check import Constraint, InstructionCheck
from prorl_mega.tasks.instruction.later_checks import LATER_CHECKS
from prorl_mega.tasks.registry import nearest
from prorl_mega.types import Verdict

CHECKS: dict[str, InstructionCheck] = {**IFEVAL_CHECKS, **LATER_CHECKS, **GENERATED_CHECKS}


def checked(constraint: Constraint, checks: Mapping[str, InstructionCheck] = CHECKS) -> Constraint:
    """The constraint with its parameters as `checks` use them; one without a value (null) does not count as given.

    Raises ValueError for an unknown kind and for a missing, unknown, wrong or contradictory parameter.
    """
    kind = constraint.get("kind")
    if not isinstance(kind, str) or kind not in checks:
        known = "the published checker has no instruction" if kind in CHECKS else "no instruction is called"
        raise ValueError(
            f"{known} {kind!r}{nearest(str(kind), list(checks))}; an instruction that cannot be "
            "checked must not be in the data"
        )
    rules, values = checks[kind].parameters, {}
    given = {name: value for name, value in _parameters(constraint).items() if value is not None}
    for name in given:
        if name not in rules:
            raise ValueError(f"{kind}: has no parameter {name!r}; it has: {', '.join(rules) or 'none'}")
    for name, rule in rules.items():
        if name not in given:
            raise ValueError(f"{kind}: parameter {name!r} is missing")
        try:
            values[name] = rule(given[name])
        except ValueError as error:
            raise ValueError(f"{kind}: {name}={given[name]!r:.80} {error}") from None
    if contradiction := checks[kind].contradiction(**values):
        raise ValueError(f"{kind}: {contradiction}")
    return {"kind": kind, **values}


def followed(text: str, constraints: list[Constraint]) -> list[bool]:
    """One truth value per constraint (as `checked` returns it); a blank text follows none."""
    text = text.strip()
    return [bool(text) and CHECKS[each["kind"]].follows(text, **_parameters(each)) for each in constraints]


def judged(text: str, constraints: list[Constraint], *, all_or_nothing: bool = False) -> Verdict:
    """The share of the constraints that the text follows, or 1 for all and 0 for fewer; names the others."""
    return verdict(followed(text, constraints), constraints, all_or_nothing=all_or_nothing)


def verdict(kept: list[bool], constraints: list[Constraint], *, all_or_nothing: bool) -> Verdict:
    """The share of the constraints that was kept, or 1 for all and 0 for fewer; names the others."""
    missed = [each["kind"] for each, good in zip(constraints, kept, strict=True) if not good]
    reward = float(not missed) if all_or_nothing else sum(kept) / len(kept)
    return Verdict(reward=reward, detail=f"not followed: {', '.join(missed)}" if missed else "")


def final_text(answer: str) -> str:
    """The part of an answer that is judged: what follows its thinking."""
    return extract.after_thinking(extract.clean(answer)).strip()


def _parameters(constraint: Constraint) -> dict[str, object]:
    return {name: value for name, value in constraint.items() if name != "kind"}
