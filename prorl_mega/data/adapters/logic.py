"""Entries that reasoning-gym has generated."""

from __future__ import annotations

from prorl_mega.data.adapters.schema import Schema, decoded, first, needed, with_known
from prorl_mega.data.canonical import Domain, Fields


def _reasoning_gym(fields: Fields) -> Fields:
    """The metadata, which scorers read, is an object or its JSON as text."""
    entry = {
        "question": needed(fields, "question"),
        "answer": fields.get("answer"),
        "metadata": decoded(fields["metadata"], "metadata"),
    }
    return with_known(prompt=entry["question"], entry=entry, id=first(fields, "id"))


SCHEMAS = (
    Schema("reasoning_gym", Domain.logic, "entries of reasoning-gym, one per row", "question answer? metadata id?",
           _reasoning_gym),
)  # fmt: skip
