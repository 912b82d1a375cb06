"""Results on held-out problems on disk: `evaluation/<label>.json`.

    {"label": "base", "step": 0, "settings": {"evaluation.temperature": 0.6, …},
     "metrics": {"evaluation/pass@1": 0.31, …},
     "problems": [{"key": "gsm/17", "task": "gsm", "samples": 16, "solved": 5, "mean_reward": 0.33}, …]}

A problem may also carry "prompt" and "completion", one of its answers; the report shows them before and after training;
"relaxed", solved if the form of an answer does not matter; "answers", where some have no verdict; "tokens" of all of
them; "truncated", answers that hit the token limit; "majority", the reward of the most common answer; "posterior" of
its solve rate: mean, low and high end.
"settings" are those that decide the result (`evaluation/conditions.py`); files of version 0.1 have none.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec

from prorl_mega.documents import parse_json, read_json
from prorl_mega.run.samples import shortened
from prorl_mega.run.storage import remove_tree, write_durably
from prorl_mega.types import Metrics

BASE, FINAL = "base", "final"  # labels of the comparison at the end of a run
POLICY = "policy"  # label of what `python -m prorl_mega.evaluate` has evaluated
REQUIRED = ("key", "task", "samples", "solved", "mean_reward")
LARGEST = 1 << 30  # bytes; ten thousand problems with their answers have a tenth of it
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_Total = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Problem(msgspec.Struct, omit_defaults=True):
    key: str
    task: str
    samples: _Count  # with a verdict
    solved: _Count
    mean_reward: float | None
    relaxed: _Count | msgspec.UnsetType = msgspec.UNSET
    answers: _Count | msgspec.UnsetType = msgspec.UNSET
    tokens: _Total | msgspec.UnsetType = msgspec.UNSET
    truncated: _Count | msgspec.UnsetType = msgspec.UNSET
    majority: float | msgspec.UnsetType | None = msgspec.UNSET
    posterior: tuple[_Rate, _Rate, _Rate] | msgspec.UnsetType = msgspec.UNSET
    prompt: str | msgspec.UnsetType = msgspec.UNSET
    completion: str | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.solved > self.samples:
            raise ValueError(f"{self.solved} of {self.samples} samples solved")
        if self.relaxed is not msgspec.UNSET and not self.solved <= self.relaxed <= self.samples:
            raise ValueError(
                f"{self.relaxed} of {self.samples} samples solved in any form, {self.solved} in the right one"
            )


class _Content(msgspec.Struct):
    label: str
    step: _Count
    metrics: dict[str, float | None]
    problems: list[_Problem]
    settings: dict[str, Any] = {}


def write_evaluation(
    directory: Path,
    *,
    label: str,
    step: int,
    settings: dict[str, Any],
    metrics: Metrics,
    problems: list[dict[str, Any]],
) -> None:
    assert _LABEL.fullmatch(label), label
    assert all(name in problem for problem in problems for name in REQUIRED), REQUIRED
    directory.mkdir(exist_ok=True)
    content = {
        "label": label,
        "step": step,
        "settings": settings,
        "metrics": {name: value if math.isfinite(value) else None for name, value in metrics.items()},
        "problems": [
            {name: shortened(value) if isinstance(value, str) else value for name, value in problem.items()}
            for problem in problems
        ],
    }
    write_durably(
        directory / f"{label}.json", json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    )


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """The content that `write_evaluation` wrote; None when the file is missing or damaged."""
    try:
        return load_evaluation(path)
    except (OSError, ValueError):
        return None


def final_scores(run: Path) -> dict[str, float]:
    """The numbers of the final evaluation in a run directory that are finite; {} without one."""
    found = read_evaluation(run / "evaluation" / f"{FINAL}.json") or {"metrics": {}}
    return {name: float(value) for name, value in found["metrics"].items() if value is not None}


def load_evaluation(path: Path) -> dict[str, Any]:
    """The content that `write_evaluation` wrote. Raises OSError, and ValueError that says what is wrong with it."""
    return _checked(read_json(path, LARGEST))


def parse_evaluation(content: bytes) -> dict[str, Any]:
    """The same from the bytes of such a file. Raises ValueError."""
    return _checked(parse_json(content))


def _checked(value: Any) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins(msgspec.convert(value, _Content))
    return content


def remove_after(directory: Path, step: int, *, is_last: bool) -> None:
    """Delete training's own results of steps that a resumed run still has to do, and a final one if there are some."""
    for path in (directory / f"{label}.json" for label in (BASE, FINAL)):
        if not path.exists():
            continue
        content = read_evaluation(path)
        if content is None or content["step"] > step or (path.stem == FINAL and not is_last):
            path.unlink()
            if (directory / path.stem).is_dir():
                remove_tree(directory / path.stem)
