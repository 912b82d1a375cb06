"""Short wordings and worked solutions for some reasoning-gym data sets; scoring stays reasoning-gym's own.

reasoning-gym asks in paragraphs. A model of a few million parameters, trained from nothing in minutes, reads
characters: it gets `sort up: tie,bad,old:` and answers `bad,old,tie`. Steps are short enough to imitate and long enough
to help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prorl_mega.tasks.logic.gym_rules import Item


@dataclass(kw_only=True, slots=True, frozen=True)
class ShortPrompt:
    """The prompt and the steps of a solution for an item; the scorer has to read the short answer."""

    prompt: Callable[[Item], str]
    steps: Callable[[Item], str]
    shorten: Callable[[str], str] = str  # turns the reference answer into a short one


def _running_sums(item: Item) -> str:
    """`3 + 4 - 5` as `3+4=7,7-5=2`."""
    first, *rest = item["metadata"]["expression"].split()
    total, steps = int(first), []
    for sign, number in zip(rest[::2], rest[1::2], strict=True):
        value = total + int(number) if sign == "+" else total - int(number)
        steps.append(f"{total}{sign}{number}={value}")
        total = value
    return ",".join(steps)


def _letter_counts(item: Item) -> str:
    """The counts of the letter in each word: `tree 2,the 1`."""
    letter = item["metadata"]["target_letter"]
    return ",".join(f"{word} {word.lower().count(letter)}" for word in item["metadata"]["span"])


def _remainders(item: Item) -> str:
    """Repeated division by the target base, `13:2=6 r1,6:2=3 r0,...`; first the decimal value when it is not given."""
    data = item["metadata"]
    value, base = data["decimal_value"], data["target_base"]
    steps = [] if data["source_base"] == 10 else [f"{value}"]
    while base != 10 and value:
        steps.append(f"{value}:{base}={value // base} r{value % base}")
        value //= base
    return ",".join(steps)


def _euclid(item: Item) -> str:
    """Remainders until zero, number by number: `12%18=12,18%12=6,12%6=0`."""
    first, *rest = item["metadata"]["numbers"]
    steps, divisor = [], first
    for number in rest:
        a, b = divisor, number
        while b:
            steps.append(f"{a}%{b}={a % b}")
            a, b = b, a % b
        divisor = a
    return ",".join(steps)


def _base_prompt(item: Item) -> str:
    data = item["metadata"]
    return f"{data['source_repr']} base {data['source_base']} to {data['target_base']}:"


def _sorting_prompt(item: Item) -> str:
    data = item["metadata"]
    return f"sort {'up' if data['direction'] == 'ascending' else 'down'}: {','.join(data['transformed_words'])}:"


SHORT_PROMPTS: dict[str, ShortPrompt] = {
    "base_conversion": ShortPrompt(prompt=_base_prompt, steps=_remainders),
    "chain_sum": ShortPrompt(
        prompt=lambda item: item["metadata"]["expression"].replace(" ", "") + "=", steps=_running_sums
    ),
    "count_bits": ShortPrompt(
        prompt=lambda item: f"ones in binary {item['metadata']['number']}:",
        steps=lambda item: str(item["metadata"]["binary"]),
    ),
    "gcd": ShortPrompt(prompt=lambda item: f"gcd {','.join(map(str, item['metadata']['numbers']))}:", steps=_euclid),
    "letter_counting": ShortPrompt(
        prompt=lambda item: f"count {item['metadata']['target_letter']}: {' '.join(item['metadata']['span'])}:",
        steps=_letter_counts,
    ),
    "spell_backward": ShortPrompt(
        prompt=lambda item: f"reverse: {item['metadata']['word']}:",
        steps=lambda item: " ".join(item["metadata"]["word"]),
    ),
    "word_sorting": ShortPrompt(
        prompt=_sorting_prompt,
        steps=lambda item: " ".join(word[0] for word in item["metadata"]["sorted_words"]),
        shorten=lambda answer: answer.replace(", ", ","),
    ),
}
