"""`python -m prorl_mega.data`: what the commands find, write and return to the shell."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.published import FILES
from tqdm import tqdm

from prorl_mega.data.__main__ import main
from prorl_mega.data.canonical import Domain
from prorl_mega.data.overlap import EvaluationSet
from prorl_mega.data.schemas import read
from prorl_mega.errors import ExitCode

RIVER = "A boat goes down a river at twelve kilometres per hour and comes back at eight. How fast is the water?"


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"prompt": prompt, "answer": answer} for prompt, answer in pairs]


def test_the_module_runs_and_explains_itself() -> None:
    command = [sys.executable, "-m", "prorl_mega.data"]
    text = subprocess.run([*command, "--help"], check=True, capture_output=True, text=True).stdout
    assert "hf:owner/name" in text
    assert all(name in text for name in ("inspect", "validate", "dedup", "decontaminate"))
    done = subprocess.run([*command, "inspect", "/nowhere.jsonl"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (21, "error: /nowhere.jsonl: no such file\n")


def test_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(FILES / "apps.jsonl"), str(FILES / "gpqa_diamond.csv")]) == 0
    out = capsys.readouterr().out
    assert "schema: tests (code, APPS, TACO, " in out
    assert "rows: 3, broken: 1 (no input_output: 1)" in out
    assert "schema: choices (stem, GPQA, MMLU, " in out
    assert "rows: 1, broken: 0" in out
    assert re.search(r"Explanation +100%  text +8 +8 +8 +8\n", out)
    assert "words of a prompt: least 3, half " in out
    assert "choices: ['B,\\nreally', 'A', 'C', 'D']" in out
    assert main(["inspect", str(FILES / "eurus.parquet"), "--domain", "code"]) == 0
    assert "rows: 3, broken: 0, of another domain: 1" in capsys.readouterr().out


def test_validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "p", "answer": "1"}\n{"prompt": "p"}\n{"prompt": "q", "answer": "1"}\n{"pro')
    assert main(["validate", str(path)]) == ExitCode.DATA
    out, error = capsys.readouterr()
    assert "4 rows as plain (math), 2 broken" in out
    assert f"  no answer: 1\n    {path}:2: field 'answer' is missing" in out
    assert f"  truncated: 1\n    {path}:4: not JSON" in out
    assert "2 of 4 rows are broken" in error
    assert main(["validate", str(path), "--skip", "0.5"]) == 0
    assert main(["validate", str(path), "--skip", "0.4"]) == ExitCode.DATA


def test_dedup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(
        tmp_path / "a.jsonl", rows(("What is $3+4$?", "7"), ("What is $3-4$?", "-1"), ("What is $3+4$?", "7"))
    )
    second = write(tmp_path / "b.jsonl", rows(("  what is 3 + 4", "7"), ("WHAT IS $3-4$", "1"), ("New", "1")))
    output = tmp_path / "c.jsonl"
    assert main(["dedup", first, second, "--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert f"6 rows, 3 repeat others, 3 kept in {output}" in out
    assert f"exact: 1\n    {first}:3 repeats {first}:1" in out
    assert f"normalised: 1\n    {second}:1 repeats {first}:1" in out
    assert f"contradicting: 1\n    {second}:2 repeats {first}:2" in out
    kept = read(str(output), Domain.math).rows
    assert [(row.fields["id"], row.fields["prompt"]) for row in kept] == [
        ("1-a/1", "What is $3+4$?"), ("1-a/2", "What is $3-4$?"), ("2-b/3", "New"),
    ]  # fmt: skip
    assert main(["dedup", first, "--output", str(output)]) == ExitCode.DATA
    assert "is there already" in capsys.readouterr().err


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = write(tmp_path / "a.jsonl", [*rows(("one", "1"), ("two", "2")), {"prompt": "three"}])
    assert main(["dedup", broken, "--output", str(tmp_path / "b.jsonl")]) == ExitCode.DATA
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    assert main(["dedup", broken, "--output", str(tmp_path / "b.jsonl"), "--skip", "0.4"]) == 0
    assert "left out no answer: 1" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]
    assert (
        main(["dedup", broken, "--output", str(tmp_path / "nowhere" / "b.jsonl"), "--skip", "0.4"]) == ExitCode.STORAGE
    )


def test_decontaminate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    longer = f"Here is an old riddle. {RIVER.upper()} Answer in words!"
    train = write(
        tmp_path / "a.jsonl", rows((longer, "2"), ("find $r$", "1"), ("Find $r$ and $s$.", "1"), ("1+1", "2"))
    )
    against = [str(FILES / "aime24_boxed.jsonl"), write(tmp_path / "e.jsonl", rows((RIVER, "2"), ("1-1", "0")))]
    output = tmp_path / "clean.jsonl"
    assert main(["decontaminate", train, "--against", *against, "--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert "4 rows, 2 overlap with 3 evaluation prompts, 2 kept" in out
    assert f"13 words in a row: 1\n    {train}:1 ~ {tmp_path / 'e.jsonl'}:1: a boat goes down" in out
    assert f"the whole prompt: 1\n    {train}:2 ~ {FILES / 'aime24_boxed.jsonl'}:1: find r" in out
    assert [row.fields["prompt"] for row in read(str(output), Domain.math).rows] == ["Find $r$ and $s$.", "1+1"]
    assert main(["decontaminate", train, "--against", *against, "--words", "1"]) == ExitCode.DATA
    minerva = str(FILES / "minerva.jsonl")
    assert main(["decontaminate", train, "--against", f"{minerva}=minerva", against[1]]) == 0
    assert "1 overlap with 3 evaluation prompts" in capsys.readouterr().out


def test_the_wording_of_evaluation_sets_is_no_overlap() -> None:
    wording = "read the text and answer the question with one of the four given letters only"
    for common, found in ((3, False), (4, True)):
        evaluation = EvaluationSet(common=common)
        for number in range(4):
            evaluation.add(f"{wording} {number}", f"e:{number}")
        assert (evaluation.find(f"{wording} again") is not None) is found
        assert evaluation.find(f"{wording} 2") is not None  # the same prompt, all of it


def test_prompts_without_blanks_between_words() -> None:
    evaluation = EvaluationSet()
    evaluation.add("一只船顺流而下每小时十二公里逆流每小时八公里", "e")
    assert evaluation.find("问题：一只船顺流而下每小时十二公里逆流每小时八公里，求水速。") is not None
    assert evaluation.find("一只船在湖上每小时走十公里") is None


def test_progress_is_shown_while_a_large_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "x.jsonl", rows(*((f"prompt {number}", "1") for number in range(1000))))
    assert main(["validate", path]) == 0
    assert capsys.readouterr().err == "", "nothing is shown for what takes less than two seconds"
    monkeypatch.setattr("prorl_mega.data.__main__.tqdm", lambda **given: tqdm(**given | {"delay": 0, "mininterval": 0}))
    assert main(["validate", path]) == 0
    assert re.search(rf"{path}: \d+%, 500 rows, .*B/s, 00:00 left", capsys.readouterr().err)
