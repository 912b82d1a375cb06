"""Files are parsed and never run; what is broken in them is named with its place, or counted."""

import datetime
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from prorl_mega.data.canonical import Domain
from prorl_mega.data.rows import Dataset
from prorl_mega.data.schemas import read
from prorl_mega.errors import DataError

GOOD = {"prompt": "1+1?", "answer": "2"}
LINE = json.dumps(GOOD).encode()


def load(path: Path | str, skip: float = 0.0, domain: Domain = Domain.math) -> Dataset:
    return read(str(path), domain, skip=skip)


BROKEN = [
    (b'{"prompt": "x", "answer": ', "not JSON", "not JSON"),
    (b'{"prompt": "x", "answer": NaN}', "NaN is not allowed", "not a number"),
    (b'{"prompt": "x", "answer": -Infinity}', "-Infinity is not allowed", "not a number"),
    (b'{"prompt": "\xff", "answer": "1"}', "invalid UTF-8 at byte 13", "invalid UTF-8"),
    (b'{"prompt": "x\0", "answer": "1"}', "NUL bytes", "NUL bytes"),
    (b'{"prompt": "x\\u0000", "answer": "1"}', "'prompt' must be text", "wrong prompt"),
    (b'{"prompt": "\\ud800", "answer": "1"}', "half of a surrogate pair", "invalid text"),
    (b"[1]", "must be a JSON object, not list", "not an object"),
    (b'{"answer": "1"}', "field 'prompt' is missing", "no prompt"),
    (b'{"prompt": "x"}', "field 'answer' is missing", "no answer"),
    (b'{"prompt": 1, "answer": "1"}', "'prompt' must be text", "wrong prompt"),
    (b'{"prompt": "x", "answer": [1]}', "'answer' must be text", "wrong answer"),
    (b'{"prompt": "x", "answer": true}', "'answer' must be text", "wrong answer"),
    (b'{"prompt": " ", "answer": "1"}', "'prompt' must be text", "wrong prompt"),
    (b'{"prompt": "x", "answer": "1", "id": "a"}', "'a' was used before, in .*:1", "duplicate id"),
    (b"[" * 100_000, "not JSON", "not JSON"),
    (b'{"prompt": "x", "answer": "\\ud800"}', "half of a surrogate pair", "invalid text"),
    (b'{"prompt": "x", "answer": 1e999}', "'answer' must be text", "wrong answer"),
    (b'{"prompt": "x", "answer": ' + b"9" * 5000 + b"}", "not JSON", "not JSON"),
]


@pytest.mark.parametrize(("line", "message", "reason"), BROKEN)
def test_a_broken_line_is_named_or_counted(tmp_path: Path, line: bytes, message: str, reason: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(json.dumps(GOOD | {"id": "a"}).encode() + b"\n\n" + line + b"\n" + LINE + b"\n")
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    table = load(path, skip=0.34)
    assert [row.place for row in table.rows] == [f"{path}:1", f"{path}:4"]
    assert dict(table.skipped) == {reason: 1}
    with pytest.raises(DataError, match=rf"1 of 3 rows are broken, more than the bound of 0\.3 \({reason}: 1\).*:3: "):
        load(path, skip=0.3)


def test_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINE + b"\n" + LINE)
    with pytest.raises(DataError, match=r"data\.jsonl:1: starts with a byte order mark"):
        load(path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(LINE + b"\n" + LINE[:-4])
    with pytest.raises(DataError, match=r"data\.jsonl:2: .*the file ends here: it may be truncated"):
        load(path)
    path.write_bytes(LINE + b"\n" + LINE)  # a last line without an end is whole when it can be read
    assert len(load(path).rows) == 2


def test_a_huge_line_does_not_hide_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prorl_mega.data.rows.LONGEST_ROW", 1000)
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"prompt": "' + b"x" * 3_000_000 + b'", "answer": "1"}\n' + LINE)
    with pytest.raises(DataError, match=r"data\.jsonl:1: the line is longer than 1000 bytes"):
        load(path)
    assert [row.place for row in load(path, skip=0.5).rows] == [f"{path}:2"]


def test_rows_of_a_json_array(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([GOOD, {"prompt": "x"}, 3]))
    with pytest.raises(DataError, match=r"data\.json, row 2: field 'answer' is missing"):
        load(path)
    table = load(path, skip=0.7)
    assert (len(table.rows), table.skipped.total()) == (1, 2)
    path.write_text("[1, NaN]")
    with pytest.raises(DataError, match=r"data\.json: not JSON: NaN"):
        load(path)
    path.write_bytes(LINE + b"\n" + LINE)  # lines under another name
    assert [row.place for row in load(path).rows] == [f"{path}:1", f"{path}:2"]


def test_rows_of_one_json_object(tmp_path: Path) -> None:
    """A problem per file, and rows below a key, as people print them."""
    path = tmp_path / "data.json"
    path.write_text(json.dumps(GOOD | {"tags": ["a"], "turns": [{"role": "user"}], "more": [{"a": 1}]}, indent=4))
    assert [row.fields["prompt"] for row in load(path).rows] == ["1+1?"]
    path.write_text(json.dumps({"version": 1, "names": ["x"], "data": [GOOD, {"prompt": "x"}]}, indent=1))
    with pytest.raises(DataError, match=r"data\.json, row 2: field 'answer' is missing"):
        load(path)
    path.write_text(json.dumps({"examples": [GOOD, GOOD]}) + "\n")
    assert len(load(path).rows) == 2
    path.write_text(json.dumps({"train": [GOOD], "test": [GOOD]}, indent=1))
    with pytest.raises(DataError, match=r"data\.json: has several lists of rows: train, test"):
        load(path)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def test_rows_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    write_parquet(path, [GOOD | {"id": str(i)} for i in range(700)] + [{"prompt": "x", "answer": None, "id": "y"}])
    with pytest.raises(DataError, match=r"data\.parquet, row 701: field 'answer' is missing"):
        load(path)
    assert len(load(path, skip=0.01).rows) == 700
    write_parquet(path, [{"prompt": "x", "answer": value} for value in (0.5, float("nan"))])
    with pytest.raises(DataError, match=r"data\.parquet, row 2: field 'answer' must be text"):
        load(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"data\.parquet: not a Parquet file that can be read"):
        load(path)


def test_parquet_with_invalid_text(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    broken = pyarrow.array([b"fine", b"\xff\xfe", b"good"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"prompt": broken, "answer": ["1", "2", "3"]}), path)
    with pytest.raises(DataError, match=r"row 2: invalid UTF-8"):
        load(path)
    assert [row.fields["answer"] for row in load(path, skip=0.5).rows] == ["1", "3"]


def test_rows_of_a_table_with_a_head(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('prompt,answer\n"two\nlines",1\nx\ny,2\n')
    with pytest.raises(DataError, match=r"data\.csv:4: must have 2 fields"):
        load(path)
    assert [row.fields["prompt"] for row in load(path, skip=0.4).rows] == ["two\nlines", "y"]
    path.write_bytes(b"prompt,answer\nx,\xff\n")
    with pytest.raises(DataError, match=r"data\.csv:2: invalid UTF-8"):
        load(path)


CALL = {"function": "f", "arguments": [1], "expected": 1}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1e999", "what JSON cannot express: Out of range float"),
        ("[" * 120 + "]" * 120, "has more than 100 levels"),
        ("[" * 900 + "]" * 900, "has more than 100 levels|cannot express|not JSON"),
        ('"\\udfff"', "half of a surrogate pair"),
    ],
)
def test_what_other_processes_could_not_be_told(tmp_path: Path, value: str, message: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"prompt": "x", "tests": [CALL]}).replace("[1]", f"[{value}]"))
    with pytest.raises(DataError, match=rf"data\.jsonl:1: .*({message})"):
        load(path, domain=Domain.code)
    path.write_text(json.dumps({"prompt": "x", "tests": [CALL]}).replace("[1]", "[" * 90 + "]" * 90))
    assert len(load(path, domain=Domain.code).rows) == 1


def test_dates_and_bytes_are_no_plain_data(tmp_path: Path) -> None:
    for value in (datetime.date(2026, 1, 1), b"x", float("inf")):
        write_parquet(tmp_path / "data.parquet", [{"prompt": "x", "tests": [CALL | {"expected": value}]}])
        with pytest.raises(DataError, match="row 1: holds what JSON cannot express"):
            load(tmp_path / "data.parquet", domain=Domain.code)


def test_an_arrow_stream(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist([GOOD])
    with pyarrow.ipc.new_stream(tmp_path / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "state.json").write_text("{}")
    assert load(tmp_path).rows[0].fields["prompt"] == "1+1?"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("/tmp/bomb-went-off"), "x"))


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".pt", ".npy", ".bin"])
def test_pickles_are_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"data{suffix}").write_bytes(pickle.dumps(Bomb()))
    for place in (tmp_path, tmp_path / f"data{suffix}", tmp_path / "*"):
        with pytest.raises(DataError, match="pickled objects"):
            load(place)


def test_a_loading_script_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("raise SystemExit")
    with pytest.raises(DataError, match="a program that would have to be run"):
        load(tmp_path)


def test_what_is_not_there_or_not_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="no such file matches"):
        load(tmp_path / "*.jsonl")
    with pytest.raises(DataError, match=r"has no \.jsonl"):
        load(tmp_path)
    (tmp_path / "data.xml").write_text("<a/>")
    with pytest.raises(DataError, match=r"must be a \.jsonl file"):
        load(tmp_path / "data.xml")
    (tmp_path / "empty.jsonl").write_text("\n \n")
    with pytest.raises(DataError, match=r"empty\.jsonl: has no problems"):
        load(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match="are written hf:owner/name"):
        load("hf:../../etc")


def test_files_of_a_directory_are_one_data_set(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(2):
        (tmp_path / "data" / f"train-{number}.jsonl").write_bytes(LINE + b"\n" + LINE)
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.jsonl").write_text("no")
    ids = [row.fields["id"] for row in load(tmp_path).rows]
    assert ids == [f"data/train-{i}.jsonl:{n}" for i in (0, 1) for n in (1, 2)]
    (tmp_path / "data" / "test-0.jsonl").write_bytes(LINE)
    with pytest.raises(DataError, match="has the splits test, train; name one"):
        load(tmp_path)
    assert len(load(tmp_path / "data" / "train-*.jsonl").rows) == 4


def test_the_digest_is_of_the_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_bytes(LINE)
    two.write_bytes(LINE)
    assert load(one).digest == load(two).digest
    two.write_bytes(LINE + b"\n")
    assert load(one).digest != load(two).digest
