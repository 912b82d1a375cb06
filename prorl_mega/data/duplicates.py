"""Prompts that occur more than once."""

from __future__ import annotations

from enum import StrEnum

from prorl_mega.data.rows import DataRow
from prorl_mega.data.words import normalised


class Likeness(StrEnum):
    exact = "exact"  # the same characters
    normalised = "normalised"  # the same but for case and layout
    contradicting = "contradicting"  # either, with another answer


class Duplicates:
    """Finds rows whose prompts were seen before. Keeps three 64-bit hashes and a place per different prompt."""

    def __init__(self) -> None:
        self._exact: set[int] = set()
        self._seen: dict[int, tuple[str, int]] = {}  # hash of the words: place and hash of the answer of the first

    def add(self, row: DataRow) -> tuple[Likeness, str] | None:
        """The likeness of the row to an earlier one, and the place of that; None for a new prompt."""
        prompt = row.fields["prompt"]
        same = hash(normalised(prompt))
        answer = hash(" ".join(str(row.fields.get("answer", "")).split()))
        exact = hash(prompt)
        is_exact = exact in self._exact
        self._exact.add(exact)
        if same not in self._seen:
            self._seen[same] = (row.place, answer)
            return None
        place, known = self._seen[same]
        if known != answer:
            return Likeness.contradicting, place
        return Likeness.exact if is_exact else Likeness.normalised, place
