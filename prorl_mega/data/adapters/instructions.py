"""Published sets of instructions that a program can check. The kinds are IFEval's instruction ids."""

from __future__ import annotations

from typing import Any

from prorl_mega.data.adapters.prompts import asked
from prorl_mega.data.adapters.schema import Schema, columns, decoded, first
from prorl_mega.data.canonical import Domain, Fields
from prorl_mega.data.rows import BadRowError


def _constraints(kinds: Any, parameters: Any) -> list[Fields]:
    """The constraints of kinds with their parameters; null parameters are left out."""
    if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise BadRowError("wrong constraints", "instruction_id_list must be a list of names")
    parameters = [{}] * len(kinds) if parameters is None else parameters
    if not isinstance(parameters, list) or len(parameters) != len(kinds):
        raise BadRowError("wrong constraints", f"there must be parameters for each of the {len(kinds)} instructions")
    rows = []
    for kind, given in zip(kinds, parameters, strict=True):
        given = decoded(given, "kwargs") or {}
        if not isinstance(given, dict):
            raise BadRowError("wrong constraints", f"the parameters of {kind} must be an object")
        rows.append({"kind": kind, **{name: _whole(value) for name, value in given.items() if value is not None}})
    return rows


def _whole(value: Any) -> Any:
    """`value` with 20.0 as 20: columns of counts with gaps are stored as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _ifeval(fields: Fields) -> Fields:
    kinds, parameters = (
        decoded(fields["instruction_id_list"], "instruction_id_list"),
        decoded(fields.get("kwargs"), "kwargs"),
    )
    row = asked(fields)
    if (key := first(fields, "key")) is not None:
        row["id"] = key
    return {**row, "constraints": _constraints(kinds, parameters)}


def _llama_nemotron(fields: Fields) -> Fields:
    """`input` is a conversation, `args` holds instruction_id_list and instruction_kwargs."""
    arguments = decoded(fields.get("args"), "args")
    if not isinstance(arguments, dict):
        raise BadRowError("wrong args", "field 'args' must be an object with instruction_id_list")
    kinds = decoded(arguments.get("instruction_id_list"), "instruction_id_list")
    parameters = decoded(first(arguments, "instruction_kwargs", "kwargs"), "instruction_kwargs")
    return {**asked(fields, "input"), "constraints": _constraints(kinds, parameters)}


SCHEMAS = (
    Schema("llama_nemotron_if", Domain.instruction,
           "nvidia/Llama-Nemotron-Post-Training-Dataset (RL/instruction_following)", columns("input args"),
           _llama_nemotron),
    Schema("ifeval", Domain.instruction, "google/IFEval", columns("prompt|messages|input instruction_id_list"),
           _ifeval),
)  # fmt: skip
