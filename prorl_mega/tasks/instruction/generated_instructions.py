"""Instructions about form that a program can check, several at once; the reward is the fraction that was followed.

Only what follows `</think>` is judged. Every problem has a worked solution: a text that follows all instructions, found
before the problem is posed, so that no problem contradicts itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random

from prorl_mega.data.canonical import Domain
from prorl_mega.tasks.instruction.check_registry import final_text, followed, judged
from prorl_mega.tasks.instruction.generated_checks import GENERATED_CHECKS, VOCABULARY
from prorl_mega.tasks.instruction.instruction_check import Constraint
from prorl_mega.tasks.instruction.wrapping import is_wrapped, unwrapped
from prorl_mega.tasks.registry import Style, Task, register
from prorl_mega.types import Problem, Verdict

ATTEMPTS = 200  # draws of a set of instructions before the options are called contradictory


@dataclass(kw_only=True, slots=True)
class GeneratedInstructionsOptions:
    """`kinds` are the names in `GENERATED_CHECKS`; difficulty is the number of them at once."""

    kinds: list[str] = field(default_factory=lambda: list(GENERATED_CHECKS))
    min_constraints: int = 1
    max_constraints: int = 3
    style: Style = Style.full

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in GENERATED_CHECKS]
        if unknown or not self.kinds:
            known = ", ".join(GENERATED_CHECKS)
            raise ValueError(f"kinds: unknown {', '.join(unknown) or 'empty list'}. Known: {known}")
        if not 1 <= self.min_constraints <= self.max_constraints <= len(self.kinds):
            raise ValueError(
                f"max_constraints: need 1 <= min_constraints <= max_constraints <= {len(self.kinds)} kinds, "
                f"not {self.min_constraints} and {self.max_constraints}"
            )


@register("instruction")
class GeneratedInstructions(Task):
    """Write a text that follows some instructions."""

    domain = Domain.instruction
    options_type = GeneratedInstructionsOptions
    options: GeneratedInstructionsOptions
    judges_form = True

    def problem(self, index: int, seed: int) -> Problem:
        constraints, solution = self._draw(self.generator(index, seed))
        if self.options.style is Style.short:
            prompt = ", ".join(GENERATED_CHECKS[each["kind"]].short.format(**each) for each in constraints) + ":"
        else:
            sentences = [GENERATED_CHECKS[each["kind"]].full.format(**each) for each in constraints]
            prompt = " ".join(["Write a short text.", *sentences])
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=prompt,
            entry={"constraints": constraints},
            solution=solution,
        )

    def score(self, problem: Problem, answer: str) -> Verdict:
        text = final_text(answer)
        verdict = judged(text, problem.entry["constraints"])
        return replace(verdict, found=not is_wrapped(text))

    def readings(self, problem: Problem, answer: str) -> list[str]:
        return unwrapped(final_text(answer))

    def _draw(self, random: Random) -> tuple[list[Constraint], str]:
        """Instructions that can be followed together, with a text that does."""
        options = self.options
        count = random.randint(options.min_constraints, options.max_constraints)
        for attempt in range(ATTEMPTS):
            # Fewer instructions when nothing fits, so that a list of kinds which exclude each other still works.
            kinds = random.sample(options.kinds, max(1, count - attempt * count // ATTEMPTS))
            constraints = [_constraint(kind, random) for kind in kinds]
            text = compose(constraints, random)
            if all(followed(text, constraints)):
                return constraints, text
        raise AssertionError(f"no text follows any single instruction of {options.kinds}")


def _constraint(kind: str, random: Random) -> Constraint:
    drawn = GENERATED_CHECKS[kind].drawn
    return {"kind": kind, **{name: random.choice(values) for name, values in drawn.items()}}


def compose(constraints: list[Constraint], random: Random) -> str:
    """A text that follows all instructions if they do not exclude each other; check it with `followed`."""
    wanted = {c["kind"]: c for c in constraints}
    if "only_repeat" in wanted:
        return _frame([wanted["only_repeat"]["word"]] * wanted["only_repeat"]["count"], wanted)
    return _frame(_choose_words(wanted, random), wanted)


def _choose_words(wanted: dict[str, Constraint], random: Random) -> list[str]:
    """First word, needed words, filler, last word; as many as asked for where the needed ones leave room."""
    first = [wanted["start_word"]["word"]] if "start_word" in wanted else []
    last = [wanted["end_word"]["word"]] if "end_word" in wanted else []
    needed: list[str] = []
    if "repeat_word" in wanted:
        word = wanted["repeat_word"]["word"]
        needed += [word] * (wanted["repeat_word"]["count"] - (first + last).count(word))
    if "include_word" in wanted and wanted["include_word"]["word"] not in first + last + needed:
        needed.append(wanted["include_word"]["word"])
    fixed = {kind["word"] for kind in wanted.values() if "word" in kind}
    filler = [word for word in VOCABULARY if word not in fixed]
    if "forbid_letter" in wanted:
        filler = [word for word in filler if wanted["forbid_letter"]["letter"] not in word]
    if "include_letter" in wanted:
        letter, count = wanted["include_letter"]["letter"], wanted["include_letter"]["count"]
        rich = [word for word in filler if letter in word]
        while rich and sum(word.count(letter) for word in first + needed + last) < count:
            needed.append(random.choice(rich))
    length = _length(wanted, len(first + needed + last), random)
    needed += random.sample(filler, max(0, length - len(first + needed + last)))
    if first == last and length == 1:
        last = []
    return first + needed + last


def _length(wanted: dict[str, Constraint], needed: int, random: Random) -> int:
    if "words" in wanted:
        return int(wanted["words"]["count"])
    least = max([needed, 1, *(wanted[kind]["count"] for kind in ("min_words", "bullets") if kind in wanted)])
    most = wanted["max_words"]["count"] if "max_words" in wanted else least + 1
    return random.randint(least, max(least, most))


def _frame(chosen: list[str], wanted: dict[str, Constraint]) -> str:
    """Words as text: list, quotation, JSON object, capitals."""
    text = " ".join(chosen)
    if "bullets" in wanted:
        lines = min(wanted["bullets"]["count"], len(chosen))
        cuts = [len(chosen) * i // lines for i in range(lines + 1)]
        text = "\n".join("* " + " ".join(chosen[a:b]) for a, b in pairwise(cuts))
    if "json" in wanted:
        text = json.dumps({wanted["json"]["word"]: text})
    if "quotes" in wanted:
        text = f'"{text}"'
    return text.upper() if "uppercase" in wanted else text
