"""Published schemas, each turned into the canonical fields of its domain.

Rows are of the first schema whose columns they have and that converts them: sets of their own form come first, then
rows with the canonical names, then those that are told by the usual names of their columns.
"""

from prorl_mega.data.adapters import answers, choices, instructions, logic, programs
from prorl_mega.data.adapters.eurus import EURUS
from prorl_mega.data.adapters.schema import Schema

SPECIFIC: tuple[Schema, ...] = (
    *instructions.SCHEMAS, *logic.SCHEMAS, *programs.SPECIFIC, answers.MARKED, *answers.SCIENCE, *EURUS,
)  # fmt: skip
USUAL: tuple[Schema, ...] = (choices.CHOICE, choices.LETTERED, programs.TESTED, *answers.ANSWERED)
SCHEMAS: dict[str, Schema] = {schema.name: schema for schema in (*SPECIFIC, *USUAL)}
SAME = {
    "deepscaler": "answers", "aime": "answers", "amc": "answers", "math500": "answers", "minerva": "answers",
    "olympiadbench": "answers", "gpqa": "choices", "apps": "tests", "taco": "tests",
}  # fmt: skip
"""Names of version 0.1, when these sets had schemas of their own."""

__all__ = ["SAME", "SCHEMAS", "SPECIFIC", "USUAL", "Schema"]
