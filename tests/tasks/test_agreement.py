"""The report on verifiers that differ."""

import json
from pathlib import Path

import pytest
from helpers.answer_tables import read_table

from prorl_mega.tasks.__main__ import main
from prorl_mega.tasks.math.agreement import judge, table


def test_the_table_of_answers_by_three_judges() -> None:
    """math-verify alone accepts wrong answers of the table; our rules and the plain verifier accept none."""
    rows = [row for row in read_table("math.tsv") if row.sign in "+-"][::12]
    judged = judge((row.reference, row.answer) for row in rows)
    wrong = [each for each, row in zip(judged, rows, strict=True) if row.sign == "-"]
    assert [each for each in wrong if set(each.accepted) & {"rules", "plain"}] == []
    assert [each for each in wrong if "math-verify" in each.accepted] != []
    counts = table(judged, "rules", "plain")
    assert sum(counts.values()) == len(rows)
    assert counts["both"] > 0 < counts["rules"]
    assert counts["plain"] == 0


def test_pairs_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answers.jsonl"
    rows = [("4", "4"), (r"2\sqrt{2}", r"\sqrt{8}"), ("4", "5"), ("4", "1=2=3=4")]
    path.write_text("\n".join(json.dumps({"reference": r, "answer": a}) for r, a in rows))
    assert main(["agreement", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "4 answers" in shown
    assert "rules and plain: agree on 3 of 4 (75.0 %); both accept 1, only rules 1, only plain 0" in shown
    assert "only math-verify  '4'  '1=2=3=4'" in shown


def test_samples_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, samples = tmp_path / "data.jsonl", tmp_path / "step_000001.jsonl"
    data.write_text(json.dumps({"prompt": "?", "answer": "1/2", "id": "a"}))
    rows = [
        {"key": "file/a", "completion": r"\boxed{0.5}"},
        {"key": "file/a", "completion": "nothing"},
        {"key": "other/b", "completion": r"\boxed{7}"},
    ]
    samples.write_text("\n".join(map(json.dumps, rows)))
    assert main(["agreement", str(samples), "--data", str(data)]) == 0
    assert "1 answers" in capsys.readouterr().out


def test_a_broken_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"reference": "4"}')
    assert main(["agreement", str(path)]) == 21
    assert f"{path}:1: must be a JSON object with reference and answer" in capsys.readouterr().err
