"""The answers of `tables/relaxed.yaml`, in all five domains: in the form that was asked for and in others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from helpers.sandboxes import tier_here

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.types import Problem

TABLE: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).resolve().parents[1] / "tasks" / "tables" / "relaxed.yaml").read_text()
)
SIGNS = ("right", "wrong", "formed")
ROWS = {"path": "none.jsonl"}  # of tasks whose problems are here and not in a file
MIXTURE = {
    "math": TaskConfig(name="math", options=ROWS),
    "tags": TaskConfig(name="arithmetic", options={"answer": "tags"}),
    "line": TaskConfig(name="arithmetic", options={"answer": "line"}),
    "stem": TaskConfig(name="stem", options=ROWS),
    "logic": TaskConfig(name="logic", options=ROWS),
    "code": TaskConfig(name="code", options=ROWS),
    "instruction": TaskConfig(name="instruction"),
    "ifeval": TaskConfig(name="ifeval", options=ROWS),
}


@dataclass(frozen=True, slots=True)
class LooseAnswer:
    problem: Problem
    sign: str
    text: str


def tasks(*entries: str, **changes: Any) -> TasksConfig:
    """Settings with all entries, or with these."""
    return TasksConfig(mixture={name: MIXTURE[name] for name in entries or MIXTURE}, workers=2, **changes)


def loose_answers() -> list[LooseAnswer]:
    """All rows that this machine can judge: programs need a sandbox."""
    return [
        LooseAnswer(
            Problem(key=f"{group['task']}/{number}", task=group["task"], prompt="p", entry=group["entry"]), sign, text
        )
        for number, group in enumerate(TABLE)
        if _can_be_judged(group["task"], group["entry"])
        for sign in SIGNS
        for text in group.get(sign, ())
    ]


def _can_be_judged(task: str, entry: dict[str, Any]) -> bool:
    if task != "code":
        return True
    tiers = list(IsolationTier)[: 1 if entry["language"] == "cpp" else 2]
    return any(tier_here(tier)[0] is not None for tier in tiers)
