"""How much of the answers of a run a page carries: a page shall open in a moment, and a run has gigabytes of them."""

from __future__ import annotations

from prorl_mega.reporting.kit import embedded
from prorl_mega.run.console import printable


class AnswerBudget:
    """Characters that may still go onto a page, counted as they stand in it."""

    def __init__(self, characters: int, longest: int) -> None:
        self.left = characters
        self._longest = longest  # characters of one text

    def take(self, text: str) -> str:
        """The text, or its beginning and end; what it takes is off the budget. "" when nothing is left."""
        if self.left <= 0:
            return ""
        shown = printable(shortened_to(text, self._longest))
        self.left -= len(embedded(shown))
        return shown


def shortened_to(text: str, longest: int) -> str:
    """At most about `longest` characters, the middle left out."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"
