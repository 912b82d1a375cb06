"""`data validate --solutions`: references and solutions of rows are scored as training would score answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.formats import HELPED, KNAVES, box
from helpers.sandboxes import tier_here

from prorl_mega.data.__main__ import main
from prorl_mega.errors import ExitCode
from prorl_mega.sandbox.isolation import IsolationTier

no_sandbox = all(tier_here(tier)[0] is None for tier in list(IsolationTier)[:2])
MATH: list[dict[str, Any]] = [
    {"problem": "1+1?", "answer": "2", "solution": box("2")},
    {"problem": "1+2?", "answer": "2", "solution": box("3")},
    {"problem": "1+3?", "answer": "4", "solution": "That is clear."},
]
STEM: list[dict[str, Any]] = [
    {"question": "Which?", "options": ["a", "b", "c"], "answer": "B"},
    {"question": "How far?", "answer": "3 km", "options": None, "solution": box("3000 m")},
]


def human_eval(name: str, head: str, body: str, test: str, entry: str) -> dict[str, Any]:
    return {"task_id": name, "prompt": head, "canonical_solution": body, "entry_point": entry, "test": test}


CYCLIC = '''\
def encode_cyclic(s: str):
    """ Groups of three, each moved by one. """
    groups = [s[i:i + 3] for i in range(0, len(s), 3)]
    return "".join(group[1:] + group[0] if len(group) == 3 else group for group in groups)


def decode_cyclic(s: str):
    """ The other way. """
'''
SHIFT = '''\
from typing import List


def encode_shift(s: str):
    return "".join(chr((ord(ch) + 5 - ord("a")) % 26 + ord("a")) for ch in s)


@cache
def decode_shift(s: str):
    """ The other way. """
'''
HUMAN_EVAL = [  # as the rows 32, 38 and 50: the tests call functions that the prompt defines
    human_eval("HumanEval/32", HELPED, "    return x * 2\n",
               "def check(candidate):\n    assert math.fabs(halved(candidate(3.0)) - 3) < 1e-4\n", "double"),
    human_eval("HumanEval/38", CYCLIC, "    return encode_cyclic(encode_cyclic(s))\n",
               "from random import choice\n\ndef check(candidate):\n    for text in ('abc', 'abcdefgh', ''):\n"
               "        assert candidate(encode_cyclic(text)) == text\n", "decode_cyclic"),
    human_eval("HumanEval/50", SHIFT, "    return ''.join(chr((ord(c) - 5 - ord('a')) % 26 + ord('a')) for c in s)\n",
               "def check(candidate):\n    assert candidate(encode_shift('xyz')) == 'xyz'\n", "decode_shift"),
]  # fmt: skip


def run(path: Path, rows: list[dict[str, Any]], *more: str) -> int:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return main(["validate", str(path), "--solutions", "--workers", "1", *more])


def test_references_and_solutions_of_short_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    assert run(path, MATH) == ExitCode.DATA
    out = capsys.readouterr().out
    assert f"{path}: judged 3 references and 2 solutions; rows that fail: 1\n" in out
    assert f"  the solution fails: 1\n    {path}:2: reward 0 (3) for '...So \\\\boxed{{3}}'\n" in out
    assert run(path, MATH, "--skip", "0.4") == 0
    assert run(path, STEM, "--domain", "stem", "--schema", "choices", "--skip", "0.5") == 0
    assert "judged 1 reference and 1 solution; rows that fail: 0" in capsys.readouterr().out
    assert run(path, [MATH[0], {"problem": "x?", "answer": "x>3 for all real x"}]) == ExitCode.DATA
    out = capsys.readouterr().out
    assert "refused: 1\n" in out, "a row that no judge takes is broken before anything is scored"
    assert "judged 1 reference and 1 solution" in out


@pytest.mark.skipif(no_sandbox, reason="NOT RUN: no sandbox on this machine")
def test_programs_and_tests_that_call_helpers_of_the_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "a.jsonl", HUMAN_EVAL) == 0
    assert "judged 3 solutions; rows that fail: 0" in capsys.readouterr().out
    wrong = HUMAN_EVAL[0] | {"task_id": "x", "canonical_solution": "    return x\n"}
    none = HUMAN_EVAL[0] | {"task_id": "y", "canonical_solution": ""}
    assert run(tmp_path / "a.jsonl", [*HUMAN_EVAL, wrong, none]) == ExitCode.DATA
    out, error = capsys.readouterr()
    assert "judged 4 solutions; rows that fail: 1, that bring nothing: 1" in out
    assert f"{tmp_path / 'a.jsonl'}:4: reward 0 (0/1 test 1: AssertionError" in out
    assert "1 of 5 rows are broken" in error


def test_puzzles_and_instructions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "a.jsonl", [KNAVES]) == 0
    assert "judged 1 solution; rows that fail: 0" in capsys.readouterr().out
    row = {"prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    assert run(tmp_path / "a.jsonl", [row]) == 0
    assert "judged nothing; rows that fail: 0, that bring nothing: 1" in capsys.readouterr().out
