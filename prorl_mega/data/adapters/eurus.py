"""Eurus-2-RL-Data by its name, as version 0.1 read it: without the system turn, which names actions of another recipe.

By their columns these rows are of the schemas "answers" and "tests", with the system turn.
"""

from __future__ import annotations

from prorl_mega.data.adapters.answers import ANSWERED
from prorl_mega.data.adapters.programs import TESTED
from prorl_mega.data.adapters.schema import Schema, columns
from prorl_mega.data.canonical import Fields
from prorl_mega.data.rows import BadRowError, OtherDomainError


def _of(ability: str, schema: Schema) -> Schema:
    def convert(fields: Fields) -> Fields:
        if fields.get("ability") != ability:
            raise OtherDomainError(str(fields.get("ability")))
        if not isinstance(fields.get("reward_model"), dict):
            raise BadRowError("wrong reward_model", "field 'reward_model' must be an object with ground_truth")
        row = schema.convert(fields)
        row.pop("system", None)
        return row

    return Schema(f"eurus_{ability}", schema.domain, "PRIME-RL/Eurus-2-RL-Data", _NEEDS, convert, by_name_only=True)


_NEEDS = columns("data_source prompt ability reward_model")
EURUS = (_of("math", ANSWERED[0]), _of("code", TESTED))
