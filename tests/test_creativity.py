"""`python -m prorl_mega.creativity`, from files to files."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.stores import header, sample, write_store

from prorl_mega.creativity import LINES, NUMBERS, PAGE, main
from prorl_mega.errors import ExitCode
from prorl_mega.evaluation.creativity import score
from prorl_mega.run.sample_store import PROBLEMS, SAMPLES, StoredProblem, StoredVerdict
from prorl_mega.run.signals import StopSignals

POEM = "Tyger Tyger, burning bright,\nIn the forests of the night;\nWhat immortal hand or eye,"
ATTACK = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "poem.txt").write_text(f"The Tyger\n\n{POEM}\nCould frame thy fearful symmetry?\n")
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps({"text": each}) + "\n" for each in ("one row", f"{ATTACK} five words to be copied", ""))
    )
    return folder


def evaluation(folder: Path, copied: int, *, problems: int = 4) -> Path:
    """Two answers per problem, a right one and a wrong one, with `copied` words of the poem in the right one."""
    words = POEM.replace(",", " ,").replace(";", " ;").split()
    texts = {
        (problem, number): " ".join([*words[: copied if number == 0 else 0], *(f"w{problem}_{k}" for k in range(20))])
        for problem in range(problems)
        for number in range(2)
    }
    texts[0, 1] = (
        f"{ATTACK} five words to be copied \x1b[31m\x00 and \ud83d".encode("utf-8", "replace").decode() + " x" * 9
    )
    return write_store(
        folder,
        [StoredProblem(key=f"p{number}", task="poems", prompt="Write a poem.") for number in range(problems)],
        [sample(*place, text) for place, text in texts.items()],
        [StoredVerdict(problem=problem, sample=number, reward=1.0 - number) for problem, number in texts],
        header(folder.name, identity=str(folder)),
    )


@pytest.fixture
def index(corpus: Path, tmp_path: Path) -> str:
    assert main(["index", str(corpus), "--output", str(tmp_path / "index")]) == 0
    return str(tmp_path / "index")


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / NUMBERS).read_text())


def test_one_evaluation(tmp_path: Path, index: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight words of 28 are copied: 1 − 8/28 for L = 5 … 8, 1 beyond; the other answers copy nothing."""
    folder = evaluation(tmp_path / "runs" / "evaluation" / "policy", 8)
    assert main(["score", f"{folder}.json", "--index", index]) == 0
    content = read(folder)
    (group,) = content["groups"]
    (row,) = group["rows"]
    assert row["right"]["mean"] == pytest.approx(4 * 20 / 28 + 4)
    assert (row["right"]["answers"], row["wrong"]["answers"]) == (4, 4)
    assert content["definition"]["L"] == [*range(5, 13)]
    assert len((folder / LINES).read_text().splitlines()) == 8
    said = capsys.readouterr().out
    assert re.search(r"policy +4 +8 +6\.\d\d \[", said)
    assert "three trillion" in said


def test_answers_of_a_few_words_are_compared_by_characters(tmp_path: Path, corpus: Path) -> None:
    """`Rdcba Lcbad` repeats nine characters of a text, `dcba` and `Lcbad`, across the border of its two words."""
    (corpus / "lines.txt").write_text("L dcba\nLcbad\n")
    assert main(["index", str(corpus), "--output", str(tmp_path / "characters"), "--characters"]) == 0
    folder = write_store(
        tmp_path / "policy",
        [StoredProblem(key="p0", task="chains", prompt="RLX abcd\n")],
        [sample(0, 0, "Rdcba\nLcbad\nXyyyy")],
        [StoredVerdict(problem=0, sample=0, reward=1.0)],
        header("policy", identity="p"),
    )
    assert main(["score", str(folder), "--index", str(tmp_path / "characters")]) == 0
    (group,) = read(folder)["groups"]
    assert group["rows"][0]["right"]["mean"] == pytest.approx(5 * 6 / 15 + 3)  # 9 of 15 for L = 5 … 9
    assert main(["index", str(corpus), "--output", str(tmp_path / "characters")]) == ExitCode.DATA  # another one


def test_nothing_is_scored_twice_and_half_a_line_is_scored_again(tmp_path: Path, index: str) -> None:
    folder = evaluation(tmp_path / "policy", 8)
    assert main(["score", str(folder), "--index", index]) == 0
    lines, numbers = (folder / LINES).read_bytes(), (folder / NUMBERS).read_bytes()
    assert main(["score", str(folder), "--index", index]) == 0
    assert ((folder / LINES).read_bytes(), (folder / NUMBERS).read_bytes()) == (lines, numbers)
    (folder / LINES).write_bytes(lines[:-30])
    assert main(["score", str(folder), "--index", index]) == 0
    assert ((folder / LINES).read_bytes(), (folder / NUMBERS).read_bytes()) == (lines, numbers)


def test_a_stop_keeps_what_is_scored(
    tmp_path: Path, index: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, whole = evaluation(tmp_path / "policy", 8), evaluation(tmp_path / "other" / "policy", 8)
    assert main(["score", str(whole), "--index", index]) == 0
    monkeypatch.setattr(score, "BATCH", 40)
    with monkeypatch.context() as stopping:
        stopping.setattr(StopSignals, "install", lambda self: setattr(self, "received", signal.SIGTERM))
        assert main(["score", str(folder), "--index", index]) == ExitCode.SAVED_AFTER_SIGNAL
        assert "2 of 16 answers are scored and kept" in capsys.readouterr().err
        assert not (folder / NUMBERS).exists()
        assert main(["index", str(folder / SAMPLES), "--output", str(tmp_path / "i"), "--field", "text"]) == 10
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("i")) == ["index"]
    assert main(["score", str(folder), "--index", index]) == 0
    assert read(folder)["groups"] == read(whole)["groups"]


def test_several_evaluations(tmp_path: Path, index: str, capsys: pytest.CaptureFixture[str]) -> None:
    base, policy = evaluation(tmp_path / "a" / "policy", 12), evaluation(tmp_path / "b" / "policy", 6)
    arguments = ["score", f"base={base}", str(policy), "--index", index]
    assert main(arguments) == ExitCode.CONFIG
    assert "--output" in capsys.readouterr().err
    output = tmp_path / "both"
    assert main([*arguments, "--output", str(output)]) == 0
    (group,) = read(output)["groups"]
    first, second = group["rows"]
    assert [each["evaluation"] for each in group["rows"]] == ["base", "policy"]
    gains = second["right"]["mean"] - first["right"]["mean"]
    assert gains > 1
    assert second["difference"][0] == pytest.approx(gains / 2)  # half of the answers copied nothing either way
    lines = (output / LINES).read_bytes()
    assert main(["score", str(policy), "--index", index, "--output", str(output)]) == 0
    assert (output / LINES).read_bytes() == lines, "lines of others stay, and are not scored again"
    assert main(["score", str(base), str(policy), "--index", index, "--output", str(output)]) == ExitCode.CONFIG
    assert "name of its own" in capsys.readouterr().err


def test_a_store_that_is_still_written(tmp_path: Path, index: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = evaluation(tmp_path / "policy", 8)
    path = folder / SAMPLES / "0.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b'{"problem": "x"}\n', *lines[4:-1], lines[-1][:-9]]))
    assert main(["score", str(folder), "--index", index]) == 0
    assert read(folder)["groups"][0]["rows"][0]["index"]["answers"] == 6
    assert "policy: 1 damaged lines" in capsys.readouterr().out
    path.write_bytes(b"".join(lines))
    assert main(["score", str(folder), "--index", index]) == 0
    assert read(folder)["groups"][0]["rows"][0]["index"]["answers"] == 8
    (folder / PROBLEMS).write_bytes(b"{}\n" + (folder / PROBLEMS).read_bytes())
    assert main(["score", str(folder), "--index", index]) == ExitCode.DATA


def test_texts_are_shown_as_texts(tmp_path: Path, index: str) -> None:
    folder = evaluation(tmp_path / "policy", 8)
    assert main(["score", str(folder), "--index", index]) == 0
    page = (folder / PAGE).read_text()
    assert page.count("<script>") == 1
    assert "&lt;script&gt;" in page
    assert "<img" not in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", page)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["index", "{}/nowhere", "--output", "{}/new"], ExitCode.DATA, "nowhere: no such file"),
        (["index", "{}/binary.txt", "--output", "{}/new"], ExitCode.DATA, r"binary\.txt:1: has NUL bytes"),
        (["index", "{}/empty.txt", "--output", "{}/new"], ExitCode.DATA, "no words"),
        (["index", "{}/corpus", "--output", "{}/new", "--field", "body"], ExitCode.DATA, r"rows\.jsonl:1: .*--field"),
        (["index", "{}/corpus", "--output", "{}/new", "--shard-words", "7"], ExitCode.CONFIG, "--shard-words=7"),
        (["index", "{}/other.txt", "--output", "{}/index"], ExitCode.DATA, "exists already"),
        (["index", "{}/other.txt", "--output", "{}/corpus"], ExitCode.DATA, "exists already"),
        (["score", "{}/policy", "--index", "{}/corpus"], ExitCode.DATA, "holds no index"),
        (["score", "{}/policy", "--index", "{}/other.txt"], ExitCode.DATA, "holds no index"),
        (["score", "{}/corpus", "--index", "{}/index"], ExitCode.DATA, "keeps no answers"),
        (["score", "{}/nowhere.json", "--index", "{}/index"], ExitCode.CONFIG, "nowhere: is no folder"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, index: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    evaluation(tmp_path / "policy", 8)
    (tmp_path / "binary.txt").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "other.txt").write_text("other words")
    assert main([each.format(tmp_path) for each in arguments]) == code
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "new.building").exists()


def test_an_index_is_not_built_twice(corpus: Path, index: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(corpus), "--output", index]) == 0
    assert "already" in capsys.readouterr().out
    (corpus / "poem.txt").write_text("changed")
    assert main(["index", str(corpus), "--output", index]) == ExitCode.DATA
