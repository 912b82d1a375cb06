r"""The value of a chain of equalities: `m+n = 256+37 = 293` answers 293, and `1 = 2` answers nothing.

Equations are no chains: on a left side stand names, their sums and products, and calculations without letters; `2x = 4`
and `x^2 = 4` say what x is only to those who solve them.
"""

from __future__ import annotations

import re

from prorl_mega.tasks.answers.equivalence import equivalent
from prorl_mega.tasks.answers.literal import EQUALS, LETTERS, MAX_LENGTH, number

_NAMES = re.compile(
    r"(?:[A-Za-z]|\\(?:text|mathrm)\{(?![^{}]*\bnot\b)[^{}]*\}|\\(?:angle|triangle|alpha|beta|gamma|theta|phi|lambda|mu)(?![A-Za-z]))"
    r"(?:[A-Za-z()+\-/' ]|\\(?:cdot|times)(?![A-Za-z])|_\{?[A-Za-z0-9]{1,4}\}?|\\(?:text|mathrm)\{[^{}]*\})*"
)


def value(answer: str) -> str:
    """The last number of a chain whose calculations all equal it; any other answer as it is."""
    if "=" not in answer or len(answer) > MAX_LENGTH:
        return answer
    links = [link.strip() for link in EQUALS.split(answer.strip().strip("$").removesuffix("."))]
    named = [link for link in links if LETTERS.search(link) or not link]
    numbers = [link for link in links if link not in named]
    if len(links) < 2 or not all(_NAMES.fullmatch(link) for link in named):
        return answer
    last = next((link for link in reversed(numbers) if number(link) is not None), None)
    if last is None or not all(equivalent(link, last) for link in numbers):
        return answer
    return last
