"""All that can be said against a difference between the first and the last of several evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prorl_mega.evaluation.answer_evidence import AnswerEvidence, Sampled, read_answers
from prorl_mega.evaluation.boundary_study import BoundaryStudy
from prorl_mega.evaluation.comparison import Record
from prorl_mega.evaluation.conditions import Conditions, incomparable, remarks
from prorl_mega.evaluation.derivation_evidence import derivation, looked_at
from prorl_mega.evaluation.explanations import (
    BudgetCurves,
    Explanation,
    Side,
    budget_curves,
    form,
    truncation,
    unequal_tokens,
)
from prorl_mega.evaluation.sources import Evaluated

SHOWN = 20  # crossed problems whose answers are kept to be read, per list and model


@dataclass(kw_only=True, slots=True)
class Rivals:
    """The explanations, what the answers of each model say (where they were kept), and sentences on the answers.

    `budgets`: all models with the same tokens, if their lengths are known.
    """

    explanations: list[Explanation]
    budgets: BudgetCurves | None = None
    evidence: dict[str, AnswerEvidence] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def examine(
    evaluations: dict[str, Evaluated],
    study: BoundaryStudy,
    contaminated: Callable[[Sequence[Record]], Explanation],
) -> Rivals:
    """The rival explanations of the difference between the first and the last evaluation.

    `contaminated` looks for the problems it is given in training data. Reads all answers that were kept, once.
    """
    names = [study.models[0], study.models[-1]]
    overall = study.tasks[0]
    keys = study.curves.keys[overall.task]
    sides = {name: _side(name, each, keys) for name, each in evaluations.items()}
    base, last = (sides[name] for name in names)
    gained = [each.key for each in study.gained if each.solver == last.model]
    rivals = Rivals(explanations=[], budgets=budget_curves(list(sides.values()), overall.k))
    _read(evaluations, study, base, last, set(gained), rivals)
    base.evidence, last.evidence = (rivals.evidence.get(name) for name in names)
    records = {str(record["key"]): record for record in base.records}
    rivals.explanations = [
        _settings({name: each.content["settings"] for name, each in evaluations.items()}),
        form(base, last, gained, overall.k),
        truncation(base, last, overall.k),
        unequal_tokens(base, last, overall.k),
        contaminated([records[key] for key in gained]),
        derivation(base, last, set(gained)),
    ]
    return rivals


def _side(name: str, evaluated: Evaluated, keys: Sequence[str]) -> Side:
    records = {str(record["key"]): record for record in evaluated.content["problems"]}
    return Side(model=name, records=[records[key] for key in keys], metrics=evaluated.content["metrics"])


def _read(
    evaluations: dict[str, Evaluated], study: BoundaryStudy, base: Side, last: Side, gained: set[str], rivals: Rivals
) -> None:
    keys = [str(each["key"]) for each in base.records]
    signs = dict(zip((base.model, last.model), looked_at(base, last, gained), strict=True))
    for name, each in evaluations.items():
        if each.store is None:
            continue
        none: dict[str, Sampled] = {}
        found = read_answers(
            each.store,
            keys,
            looked_at=signs.get(name, none),
            voted=gained if name == last.model else set(),
            shown=_shown(study, name),
        )
        rivals.evidence[name] = found
        records = {str(record["key"]): record for record in each.content["problems"]}
        if other := [key for key in keys if found.solved.get(key, 0) != records[key]["solved"]]:
            rivals.notes.append(
                f"{name}: the answers that were kept add up to other counts than its file for {len(other)} problems "
                f"({', '.join(other[:3])}); evaluate it again to have one of them."
            )
        if found.damaged:
            rivals.notes.append(f"{name}: {found.damaged} lines of its answers cannot be read and do not count.")
    if without := [name for name, each in evaluations.items() if each.store is None]:
        rivals.notes.append(f"Answers were not kept of {', '.join(without)}: what needs them is left out.")


def _shown(study: BoundaryStudy, model: str) -> set[str]:
    """The crossed problems whose answers are shown for a model."""
    chosen: set[str] = set()
    for crossed in (study.gained, study.lost):
        for pair in {(each.never, each.solver) for each in crossed}:
            if model in pair:
                chosen.update([each.key for each in crossed if (each.never, each.solver) == pair][:SHOWN])
    return chosen


def _settings(of_models: dict[str, Conditions]) -> Explanation:
    """Whether a model was evaluated otherwise than the first one; not known where one has no record of it."""
    first, *later = of_models
    pairs = {model: (of_models[first], of_models[model]) for model in later}
    found = {model: incomparable(*pair) for model, pair in pairs.items()}
    differ = any(found.values())
    said = [
        f"{model}: {text}" if len(later) > 1 else text
        for model, pair in pairs.items()
        for text in (found[model] if differ else remarks(*pair))
    ]
    known = differ or all(of_models.values())
    return Explanation(name="settings", found=differ if known else None, text="; ".join(said) or "the same")
