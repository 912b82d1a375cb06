"""Entries that reasoning-gym has generated, and puzzles that its scorers judge."""

from __future__ import annotations

from prorl_mega.data.adapters.prompts import asked
from prorl_mega.data.adapters.schema import Schema, columns, decoded, first, needed
from prorl_mega.data.canonical import Domain, Fields


def _reasoning_gym(fields: Fields) -> Fields:
    """The metadata, which scorers read, is an object or its JSON as text."""
    entry = {
        "question": needed(fields, "question"),
        "answer": fields.get("answer"),
        "metadata": decoded(fields["metadata"], "metadata"),
    }
    turn = first(fields, "responses_create_params.input")
    row = asked(fields, "question") if turn is None else asked(fields)
    return {**row, "entry": entry}


def _knights_and_knaves(fields: Fields) -> Fields:
    """Who is which, as text; the prompt asks for the form that the scorer reads."""
    row = asked(fields, "quiz")
    names = needed(fields, "names")
    example = ", and ".join(f"{name} is a knight/knave" for name in names) if isinstance(names, list) else ""
    row["prompt"] = f'{row["prompt"].rstrip()} (Format your answer like: "{example}")'
    metadata = {"source_dataset": "knights_knaves", "names": names, "solution": fields.get("solution")}
    return {
        **row,
        "entry": {"question": row["prompt"], "answer": needed(fields, "solution_text"), "metadata": metadata},
    }


SCHEMAS = (
    Schema("knights_and_knaves", Domain.logic, "K-and-K/knights-and-knaves, and Logic-RL",
           columns("quiz names solution_text"), _knights_and_knaves),
    Schema("reasoning_gym", Domain.logic, "entries of reasoning-gym, one per row", columns("question metadata"),
           _reasoning_gym),
)  # fmt: skip
