"""Whether right answers to gained problems look derived: signs in their texts, and how they compare with guessing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prorl_mega.evaluation.answer_evidence import AnswerEvidence, Sampled, SignShares, Votes
from prorl_mega.evaluation.explanations import Explanation, Side
from prorl_mega.evaluation.solve_rate import clopper_pearson

BASE_RIGHT, BOTH_RIGHT, GAINED_RIGHT = "right answers of the base", "answers to problems both solve", "gained problems"
NOTABLE_SIGNS = 0.1  # how much more often signs occur in the right answers to gained problems
NOTABLE_GUESSES = 0.5  # share of gained problems that a guess would explain
FEW, MANY = 4, 16  # right answers that are looked at per problem: to compare with, and of the gained ones


def looked_at(base: Side, last: Side, gained: set[str]) -> tuple[dict[str, Sampled], dict[str, Sampled]]:
    """The right answers of both models that are looked at, by problem."""
    of_base = {str(each["key"]): Sampled(BASE_RIGHT, FEW) for each in base.records if each["solved"]}
    of_last = {
        str(two["key"]): Sampled(GAINED_RIGHT, MANY) if two["key"] in gained else Sampled(BOTH_RIGHT, FEW)
        for one, two in zip(base.records, last.records, strict=True)
        if two["solved"] and (one["solved"] or two["key"] in gained)
    }
    return of_base, of_last


def is_like_guessing(votes: Votes) -> bool:
    """Whether guessing among the answers that were given explains the right ones: nothing speaks (at 95 %) for their
    being more common than the most common wrong answer, nor than one in as many as there are different answers."""
    if not votes.right or votes.distinct < 2:
        return False
    beats_wrong = clopper_pearson(votes.right + votes.common, votes.right).low > 1 / 2
    beats_chance = clopper_pearson(votes.samples, votes.right).low > 1 / votes.distinct
    return not beats_wrong and not beats_chance


def derivation(base: Side, last: Side, gained: set[str]) -> Explanation:
    """The shares of right answers with signs, for the base and for gained problems, and what guessing would explain."""
    if last.evidence is None:
        return Explanation(
            name="derivation",
            found=None,
            text="the answers were not kept, so nothing can be said on how they were found",
        )
    of_gained = last.evidence.signs.get(GAINED_RIGHT, SignShares())
    of_both = last.evidence.signs.get(BOTH_RIGHT, SignShares())
    of_base = base.evidence.signs.get(BASE_RIGHT, SignShares()) if base.evidence else SignShares()
    guessed = sorted(key for key in gained & last.evidence.votes.keys() if is_like_guessing(last.evidence.votes[key]))
    voted = sum(bool(last.evidence.votes[key].distinct) for key in gained & last.evidence.votes.keys())
    if not of_gained.problems:
        return Explanation(name="derivation", found=False, text="no problem was gained")
    more = {sign: share - of_base.shares.get(sign, 0.0) for sign, share in of_gained.shares.items()}
    notable = [sign for sign, extra in more.items() if sign != "any" and extra >= NOTABLE_SIGNS]
    columns = {
        f"{base.model}: right answers": of_base,
        f"{last.model}: {BOTH_RIGHT}": of_both,
        f"{last.model}: {GAINED_RIGHT}": of_gained,
    }
    text = (
        f"signs of no derivation in {of_gained.shares['any']:.0%} of {of_gained.answers} right answers to gained "
        f"problems, in {_share(of_base)} of {base.model}'s right answers"
    )
    if notable:
        text += "; more often there: " + ", ".join(
            f"{sign} {of_gained.shares[sign]:.0%} against {of_base.shares.get(sign, 0.0):.0%}" for sign in notable
        )
    text += f"; guessing would explain {len(guessed)} of {voted} gained problems"
    return Explanation(
        name="derivation",
        found=bool(notable) or (voted > 0 and len(guessed) / voted >= NOTABLE_GUESSES),
        text=text,
        numbers=_numbers(columns) | {"gained problems that guessing explains": len(guessed), "of": voted},
        examples=[*_examples(of_gained), *(_guess(key, last.evidence) for key in guessed[:3])],
    )


def _share(signs: SignShares) -> str:
    return f"{signs.shares['any']:.0%} of {signs.answers}" if signs.problems else "none"


def _numbers(columns: Mapping[str, SignShares]) -> dict[str, Any]:
    return {
        f"{name}, {sign}": share
        for name, each in columns.items()
        if each.problems
        for sign, share in each.shares.items()
    }


def _examples(signs: SignShares) -> list[str]:
    return [
        f"{each['key']}, sample {each['sample']}: "
        + "; ".join(f"{sign} ({detail})" for sign, detail in each["signs"].items())
        for each in signs.examples[:5]
    ]


def _guess(key: str, evidence: AnswerEvidence) -> str:
    votes = evidence.votes[key]
    return (
        f"{key}: {votes.right} right, {votes.common} times {votes.wrong[:40]!r}, {votes.distinct} different answers: "
        f"chance {1 / votes.distinct:.0%}"
    )
