"""Problems of any task, as a store keeps them: what is read back is what was written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.stores import write_store

from prorl_mega.errors import DataError
from prorl_mega.run.sample_store import SampleStore
from prorl_mega.stored import stored_problem, to_problem
from prorl_mega.types import Problem

LONE = "a\ud800b"


@pytest.mark.parametrize(
    "entry",
    [
        {"answer": ("a", (1, 2))},
        {"answer": {1: "one", None: 2}},
        {"answer": math.nan, "bound": -math.inf},
        {"answer": 10**30, "least": -(2**63) - 1},
        {LONE: LONE},
        {"answer": "\0\x1f\u2028\N{SNOWMAN}"},
    ],
    ids=["tuples", "keys that are no text", "not a number", "large", "lone surrogates", "control characters"],
)
def test_a_problem_is_read_back_as_it_was_written(tmp_path: Path, entry: dict[str, Any]) -> None:
    """Otherwise the next start takes it for a problem that has changed, and begins anew."""
    problem = stored_problem(Problem(key=f"key {LONE}", task=LONE, prompt=LONE, system=LONE, entry=entry), [1, 2])
    (read,) = SampleStore(write_store(tmp_path / "store", [problem], [])).problems()
    assert read == problem
    assert to_problem(read).entry == problem.entry
    assert "a?b" in read.prompt


def test_an_entry_that_is_not_json_is_named() -> None:
    inner: list[Any] = []
    inner.append(inner)
    for entry in ({"answer": np.float32(1)}, {"answer": {1, 2}}, {"answer": inner}):
        with pytest.raises(DataError, match="clock/7: the entry of this problem is not JSON"):
            stored_problem(Problem(key="clock/7", task="clock", prompt="", entry=entry))
