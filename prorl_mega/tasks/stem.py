r"""Science and engineering from data files: short answers, numbers with units, multiple choice.

The prompt is the row's text, the options with letters in an order of the row's own if it has `choices`, and `suffix`.
The answer is the last box by default (`extract` has the rules). The reward is 1 if every answer of the final statement
is right, otherwise 0.

The reference decides how answers are compared: options by letter or text (`answers/choices.py`); numbers by value in
any unit (`quantities.py`, with `tolerance` of the row or the entry); chemical formulas by spelling and case
(`phrases.py`); electron configurations by their subshells (`electrons.py`); mathematics as in the task `math`;
everything else as words.
"""

from __future__ import annotations

import re
from random import Random
from typing import Any

from prorl_mega.data.canonical import Domain
from prorl_mega.tasks import extract, relaxed
from prorl_mega.tasks.answers import canonical, chain, equivalence
from prorl_mega.tasks.answers.choices import LETTERS, chosen, listed
from prorl_mega.tasks.answers.electrons import configuration
from prorl_mega.tasks.answers.phrases import MAX_LENGTH, formula, phrase, same_phrase
from prorl_mega.tasks.answers.quantities import matches, quantity, with_unit
from prorl_mega.tasks.registry import register
from prorl_mega.tasks.row_task import AnswerOptions, Posed, RowTask, Share
from prorl_mega.types import Problem, Verdict

_COMMAND, _LONG_WORD = re.compile(r"\\[A-Za-z]+"), re.compile(r"[A-Za-z]{3,}")
_FUNCTIONS = re.compile(r"\b(?:sin|cos|tan|log|exp|sqrt)\b")
_HYBRIDS = ("sp2", "sp3")  # orbitals, not powers
_MARKED = re.compile(
    r"(?<![\w'])[0-9]{1,2}\s?(?:['′’]|\^\{?\s?\\prime)|[^\W\d_]\s?(?:\^\s?\{?)?\s?[-+−]\s?\}?$"
    r"|\*\s?\}?$|(?<![\\A-Za-z])to\b"
)
"""Signs that are no mathematics: the ends 5' and 3' of a strand, charges, excited states, `n to π*`."""
_SIGNS = re.compile(r"[-+*/^=_<>0-9\\]|^[A-Za-z]$")


class StemOptions(AnswerOptions, kw_only=True):
    tolerance: Share = 0.0  # relative, of numbers in rows without their own; 0: from the digits of the reference
    units: bool = False  # whether a number must have a unit where the reference has one


@register("stem")
class Stem(RowTask):
    """Science and engineering from data files: short answers, numbers with units, multiple choice."""

    domain = Domain.stem
    options_type = StemOptions
    options: StemOptions

    def check(self, fields: dict[str, Any]) -> dict[str, Any]:
        if choices := fields.get("choices"):
            if len(choices) > len(LETTERS):
                raise ValueError(f"field 'choices' must have at most {len(LETTERS)} texts, not {len(choices)}")
            if any(not choice.strip() for choice in choices):
                raise ValueError("field 'choices' must not have a blank text")
        elif len(fields["answer"]) > MAX_LENGTH or not _says_something(fields["answer"]):
            raise ValueError(f"the answer must say something in at most {MAX_LENGTH} characters")
        elif "unit" in fields and quantity(with_unit(fields["answer"], fields["unit"])) is None:
            raise ValueError(f"unit {fields['unit']!r} is not known, or the answer is no number")
        else:
            self._check_reference(fields["answer"])
        self.options.check_level(fields)
        return fields

    def _check_reference(self, reference: str) -> None:
        """Raise ValueError for a reference that nobody could judge others by."""
        self.options.check_reference(reference)
        if _as_mathematics(reference) and (wrong := equivalence.complaint(reference)):
            raise ValueError(wrong)
        if not correct(reference, reference, 0.0, False):
            raise ValueError(f"the answer {reference[:80]!r} would not be accepted itself")

    def pose(self, fields: dict[str, Any], random: Random) -> Posed:
        if not (choices := fields.get("choices")):
            answer = with_unit(fields["answer"], fields["unit"]) if "unit" in fields else fields["answer"]
            entry = {"answer": answer, "tolerance": fields.get("tolerance", self.options.tolerance)}
            return Posed(prompt=fields["prompt"], entry=entry, solution=fields.get("solution"))
        options = random.sample(choices, len(choices))
        letter = LETTERS[options.index(fields["answer"])]
        return Posed(
            prompt=f"{fields['prompt']}\n\n{listed(options)}",
            entry={"answer": letter, "options": options},
            # A solution that is in the file names the letter of another order.
            solution=extract.mark("", letter, self.options.answer),
        )

    def own_answers(self, problem: Problem) -> dict[str, str]:
        return self.options.own_answers(problem)

    def warm_up(self) -> None:
        equivalence.prepare()

    def canonical(self, problem: Problem, answer: str) -> str:
        found = extract.statement(answer, self.options.answer)
        if not (options := problem.entry.get("options")):
            return canonical.bounded("; ".join(sorted(set(map(_canonical, found)))))
        places = {chosen(each, options) for each in found}
        place = places.pop() if len(places) == 1 else None
        return "" if place is None else LETTERS[place]

    def readings(self, problem: Problem, answer: str) -> list[str]:
        sought = relaxed.Sought.letter if problem.entry.get("options") else relaxed.Sought.number
        return relaxed.short_answers(answer, self.options.answer, sought)

    def score(self, problem: Problem, answer: str) -> Verdict:
        found = extract.statement(answer, self.options.answer)
        if not found:
            return Verdict(reward=0.0, detail="no answer found", found=False)
        entry = problem.entry
        if options := entry.get("options"):
            right = {chosen(each, options) for each in found} == {LETTERS.index(entry["answer"])}
        else:
            right = all(correct(entry["answer"], each, entry["tolerance"], self.options.units) for each in found)
        return Verdict(reward=float(right), detail=found[0][:64], found=extract.all_in_form(found, self.options.answer))


def _canonical(answer: str) -> str:
    """An answer in a form that equal ones share, read as if it were the reference."""
    answer = chain.value(answer)
    if (measured := quantity(answer)) is not None:
        return canonical.measured(measured)
    if (chemical := formula(answer)) is not None:
        return chemical
    if (electrons := configuration(answer)) is not None:
        return " ".join(electrons).strip()
    if _mathematical(answer) and phrase(answer) not in _HYBRIDS:
        return canonical.mathematical([answer])
    return phrase(answer)


def correct(reference: str, answer: str, tolerance: float, units: bool) -> bool:
    """Whether a short answer is the reference.

    `tolerance` is relative; 0: the digits of the reference decide. With `units` an answer needs a unit if the reference
    has one.
    """
    if len(answer) > MAX_LENGTH or not answer.strip():
        return False
    answer = chain.value(answer) if "=" not in reference else answer
    gold = quantity(reference)
    if gold is not None:
        given = quantity(answer)
        if given is None or (units and gold.unit is not None and given.unit is None):
            return False
        return matches(gold, given, tolerance)
    chemical = formula(reference)
    if chemical is not None:
        return formula(answer) == chemical
    electrons = configuration(reference)
    if electrons is not None:
        return configuration(answer) == electrons
    if _mathematical(reference) and phrase(reference) not in _HYBRIDS:
        return equivalence.equivalent(reference, answer)
    return same_phrase(reference, answer)


def _as_mathematics(reference: str) -> bool:
    """Whether answers are compared with a reference as mathematics."""
    if any(reads(reference) is not None for reads in (quantity, formula, configuration)):
        return False
    return _mathematical(reference) and phrase(reference) not in _HYBRIDS


def _mathematical(text: str) -> bool:
    """Whether a reference is mathematics: it has signs and no words."""
    letters = _FUNCTIONS.sub(" ", _COMMAND.sub(" ", text))
    if _MARKED.search(text.strip("$ .")):
        return False
    return bool(_SIGNS.search(text.strip("$ "))) and not _LONG_WORD.search(letters) and r"\text" not in text


def _says_something(reference: str) -> bool:
    return bool(phrase(reference)) or bool(re.search(r"[\w\\]", reference))
