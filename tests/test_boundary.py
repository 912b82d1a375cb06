"""`prorl_mega.boundary`: evaluations and tables in, what can and what cannot be said out."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.boundary import main
from prorl_mega.errors import ExitCode
from prorl_mega.run.evaluations import write_evaluation

SETTINGS = {"evaluation.temperature": 0.6, "rollout.max_response_tokens": 256, "evaluation.samples": 64}


Boundary = Callable[..., tuple[int, str]]


@pytest.fixture
def boundary(capsys: pytest.CaptureFixture[str]) -> Boundary:
    """The program: exit code, and all that it says."""

    def call(*arguments: str | Path) -> tuple[int, str]:
        code = main(list(map(str, arguments)))
        return code, "".join(capsys.readouterr())

    return call


def write(
    run: Path, label: str, counts: dict[str, list[int]], *, truncated: float = 0.0, length: float = 40.0, **other: Any
) -> Path:
    """An evaluation with 64 samples for every problem, `counts` of them solved, by task."""
    problems = [
        {
            "key": f"{task}/{i}", "task": task, "samples": 64, "solved": solved, "mean_reward": solved / 64,
            "prompt": f"Problem {i} of {task}: how many ways lead from one end of the garden to the other, step {i}?",
        }
        for task, of_task in counts.items()
        for i, solved in enumerate(of_task)
    ]  # fmt: skip
    metrics = {"evaluation/truncated": truncated, "evaluation/length": length}
    run.mkdir(exist_ok=True)
    settings = SETTINGS | other
    write_evaluation(run / "evaluation", label=label, step=0, settings=settings, metrics=metrics, problems=problems)
    return run / "evaluation" / f"{label}.json"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write(tmp_path / "demo", "base", {"maze": [0, 0, 1, 0], "sums": [64, 60, 0, 9], "words": [1, 1, 2, 0]})
    write(tmp_path / "demo", "final", {"maze": [50, 1, 64, 0], "sums": [64, 64, 0, 9], "words": [60, 0, 64, 64]})
    return tmp_path / "demo"


def test_a_run_is_compared_with_its_base(boundary: Boundary, run: Path, tmp_path: Path) -> None:
    code, said = boundary(run, "--output", tmp_path / "out")
    assert code == 0, said
    assert "# Boundary: demo/base → demo/final" in said
    assert "| maze | 4 | 64 |" in said
    assert "3, of which 2 cannot be luck" in said
    assert (tmp_path / "out" / "boundary.md").read_text() == said
    plain = json.loads((tmp_path / "out" / "boundary.json").read_text())
    assert [each["key"] for each in plain["gained"]] == ["words/3", "maze/0", "maze/1"]
    assert [each["certain"] for each in plain["gained"]] == [True, True, False]
    assert [each["key"] for each in plain["lost"]] == ["words/1"]
    assert [each["regime"]["regime"] for each in plain["tasks"]] == ["Sustained", "Sustained", "Diminish", "Diminish"]
    assert {each["name"]: each["found"] for each in plain["explanations"]} == {
        "settings": False, "truncation": False, "tokens": False, "contamination": None, "format": None,
        "derivation": None,
    }  # fmt: skip


def test_problems_that_are_mastered_are_counted(boundary: Boundary, run: Path, tmp_path: Path) -> None:
    further = write(tmp_path / "more", "more", {"maze": [0, 9], "words": [0, 0, 0, 0]}, seed=2)
    code, said = boundary(run, "--further", further, "--reliably", "0.75", "--output", tmp_path / "out")
    assert code == 0, said
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if "demo/final |" in line]
    table = {row[0]: row[2:] for row in rows if len(row) == 10}
    assert table["maze"][:3] == ["4", "3 (0 of 64)", "1"]  # 50 of 64; the one with 64 was solved by the base
    assert table["words"][:3] == ["4", "1 (0 of 64)", "1"]
    assert table["sums"][:3] == ["4", "1 (0 of 64)", "0"]
    assert table["all tasks"][:3] == ["12", "5 (0 of 64)", "2"]
    assert table["words"][5:7] == ["1 × 64", "1"]  # the one that is mastered was not solved in 64 more either
    assert table["sums"][5:7] == ["–", "–"]
    plain = json.loads((tmp_path / "out" / "boundary.json").read_text())
    assert [each["mastered"] for each in plain["mastered"]] == [1, 0, 1, 2]
    page = (tmp_path / "out" / "boundary.html").read_text()
    assert "From never to reliably" in page
    assert "<td>5 (0 of 64)</td><td>2</td>" in page

    same = write(tmp_path / "same", "same", {"maze": [0]}, seed=1)
    base = write(tmp_path / "seeded", "base", {"maze": [0]}, seed=1)
    code, said = boundary(base, same, "--further", same)
    assert code == ExitCode.CONFIG
    assert "has the seed of the base's evaluation: the same samples" in said


def test_creativity_stands_beside_the_boundary(boundary: Boundary, run: Path, tmp_path: Path) -> None:
    mean = {"answers": 7, "mean": 4.25, "low": 4.0, "high": 4.5}
    row = {
        "evaluation": "demo/final", "problems": 4, "index": mean, "difference": None, "right": mean,
        "wrong": {"answers": 0}, "uniqueness": [0.5] * 8, "words": 20.0, "quoted": 0.0, "longest": 9.5, "left_out": {},
    }  # fmt: skip
    groups = [
        {"name": name, "kind": kind, "rows": [row], "compared": None}
        for name, kind in (("all tasks", "all"), ("logic", "domain"), ("maze", "task"))
    ]
    path = tmp_path / "creativity.json"
    path.write_text(json.dumps({"groups": groups}))
    code, said = boundary(run, "--creativity", path, "--output", tmp_path / "out")
    assert code == 0, said
    assert "| maze | demo/final | 7 | 4.25 [4.00, 4.50] | – | 9.5 |" in said
    assert "| logic |" not in said
    assert "<td>4.25 [4.00, 4.50]</td>" in (tmp_path / "out" / "boundary.html").read_text()
    path.write_text(json.dumps({"groups": [{"name": "maze"}]}))
    code, said = boundary(run, "--creativity", path)
    assert code == ExitCode.DATA
    assert f"error: {path}: is no result of `python -m prorl_mega.creativity score`" in said


def test_what_was_planted_is_named(boundary: Boundary, tmp_path: Path) -> None:
    base = write(tmp_path / "a", "base", {"maze": [0, 0, 1]}, truncated=0.4, length=100)
    other = {"evaluation.temperature": 1.0}
    last = write(tmp_path / "b", "final", {"maze": [64, 64, 1]}, truncated=0.1, length=400, **other)
    row = {"prompt": "Problem 0 of maze: how many ways lead from one end of the garden to the other, step 0?"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row | {"answer": "3"}) + "\n")
    code, said = boundary(base, last, "--training", tmp_path / "train.jsonl")
    assert code == 0, said
    assert "- settings: **yes**, evaluation.temperature: 0.6 and 1.0" in said
    assert "- truncation: **yes**, answers that hit the token limit: base 40.0%, final 10.0%" in said
    assert (
        "- tokens: **yes**, base 100 per sample, final 400; pass@64 +0.667 with equal samples, and with equal tokens, "
        "6,400 per problem, 0.333 and 0.750: +0.417" in said
    )
    assert "- contamination: **yes**, 2 of 2 gained problems share text with 1 training prompts: maze/0" in said


def test_settings_of_every_model_are_compared(boundary: Boundary, run: Path, tmp_path: Path) -> None:
    base, last = (run / "evaluation" / f"{label}.json" for label in ("base", "final"))
    hot = write(tmp_path / "hot", "hot", {"maze": [3], "sums": [4]}, **{"evaluation.temperature": 1.0})
    assert "- settings: **yes**, hot: evaluation.temperature: 0.6 and 1.0" in boundary(base, hot, last)[1]
    old = json.loads(hot.read_text())
    del old["settings"]  # as version 0.1 wrote it
    hot.write_text(json.dumps(old))
    assert (
        "- settings: not known, hot: The settings of these evaluations were not recorded"
        in boundary(base, hot, last)[1]
    )
    assert "- settings: not known, The settings of these" in boundary(base, hot)[1]


def test_a_table_has_the_models_in_order_of_appearance(boundary: Boundary, tmp_path: Path) -> None:
    rows = [
        ("maze", "base", 0.1, 0.3), ("maze", "mid", 0.2, 0.6), ("maze", "rl", 0.3, 0.9),
        ("math", "base", 0.5, 0.9), ("math", "mid", 0.6, 0.9), ("math", "rl", 0.7, 0.85),
        ("gpqa", "base", 0.2, 0.6), ("gpqa", "mid", 0.3, 0.8), ("gpqa", "rl", 0.4, 0.75),
    ]  # fmt: skip
    lines = [
        f"{task},{model},{k},{value}" for task, model, *both in rows for k, value in zip((1, 128), both, strict=True)
    ]
    (tmp_path / "table.csv").write_text("\n".join(["task,model,k,pass", *lines]) + "\n")
    code, said = boundary(tmp_path / "table.csv", "--output", tmp_path)
    assert code == 0, said
    plain = json.loads((tmp_path / "boundary.json").read_text())
    assert plain["models"] == ["base", "mid", "rl"]
    regimes = {each["task"]: each["regime"] for each in plain["tasks"]}
    assert {task: each["regime"] for task, each in regimes.items()} == {
        "maze": "Sustained", "math": "Diminish", "gpqa": "Plateau",
    }  # fmt: skip
    assert all(each["shares"] is None for each in regimes.values())
    assert plain["fit"] is None
    assert (
        "Nothing can be fitted: a line needs at least 5 tasks with 4 different base boundaries; here are 3 with 3"
        in said
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("task,model,k\na,b,1\n", r"has no column pass; the columns must be task, model, k, pass"),
        ("task,model,k,pass\na,b,1,0.5\na,c,x,0.5\n", r"table.csv:3: k must be a whole number"),
        ("task,model,k,pass\na,b,1,1.5\n", r"table.csv:2: .*pass between 0 and 1; they are 1 and 1.5"),
        ("task,model,k,pass\na,b,1,nan\n", r"pass between 0 and 1"),
        ("task,model,k,pass\na,b,1,0.5\na,b,1,0.6\n", r"table.csv:3: pass@1 of b on a is 0.6 here and 0.5 above"),
        ("task,model,k,pass\na,b,1,0.5\n", r"has 1 model; at least two"),
        ("task,model,k,pass\na,b,1,0.5\na,c,1,0.5\nd,b,1,0.5\n", r"d has no rows of c"),
        ("task,model,k,pass\na,b,1,0.5\na,c,2,0.5\n", r"no task has a k of at most 128 for all models"),
        ("task,model,k,pass\n,b,1,0.5\n", r"table.csv:2: task and model must not be empty"),
        ("task,model,k,pass\na,b,1,0,5\na,c,1,0,6\n", r"table.csv:2: has more or fewer values .* decimal point"),
        ("task,model,k,pass\na,b,1\na,c,1,0.5\n", r"table.csv:2: has more or fewer values"),
        ("task;model;k;pass\na;b;1;0,5\n", r"has no column .* commas between them, .* 'task;model;k;pass'"),
        ("task,model,k,pass,pass\na,b,1,0.5,0.6\n", r"has two columns pass"),
        ("task,model,k,pass\na,b,1_0,0.5\n", r"table.csv:2: k must be a whole number"),
        ("task,model,k,pass\na,b,1,50\n", r"table.csv:2: .*are 1 and 50 \(percent: divide by 100\)"),
    ],
)
def test_tables_that_cannot_be_read(boundary: Boundary, tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "table.csv").write_text(table)
    code, said = boundary(tmp_path / "table.csv")
    assert code == ExitCode.DATA, said
    assert re.search(message, said), said


def test_a_table_with_spaces_more_columns_and_odd_names(boundary: Boundary, tmp_path: Path) -> None:
    rows = ["a|b, base, 2, 0.5, x", "a|b, rl, 2, 0.7, y", '"c\nd", base, 4, 0.2,', '"c\nd", rl, 4, 0.1']
    (tmp_path / "table.csv").write_text("\ufefftask, model, k, pass, note\n" + "\n".join(rows) + "\n", encoding="utf-8")
    code, said = boundary(tmp_path / "table.csv")
    assert code == 0, said
    assert "| a\\|b | – | 2 | – | 0.500 | – | 0.700 | +0.200 | 0.700 | Sustained |" in said
    assert "| c d | – | 4 |" in said
    assert "boundaries at different k" in said


def test_k_is_the_one_that_was_asked_for(boundary: Boundary, run: Path, tmp_path: Path) -> None:
    for asked, k in ((50, 50), (64, 64), (128, 64)):
        code, said = boundary(run, "--k", str(asked), "--output", tmp_path / "out")
        assert code == 0, said
        task = json.loads((tmp_path / "out" / "boundary.json").read_text())["tasks"][1]
        assert (task["k"], task["problems"]) == (k, 4)
        assert task["boundary"][0]["mean"] == pytest.approx(k / 64 / 4, abs=1e-12)  # one of four, solved once in 64


def test_one_problem_has_no_interval(boundary: Boundary, tmp_path: Path) -> None:
    base, last = (write(tmp_path / "one", label, {"maze": [solved]}) for label, solved in (("base", 0), ("final", 32)))
    code, said = boundary(base, last)
    assert (code, "| maze | 1 | 64 | 0.000 | 0.000 | 0.500 | 1.000 | +1.000 | 1.000 | Sustained |" in said) == (0, True)


def test_runs_of_the_same_name_get_other_ones(boundary: Boundary, run: Path) -> None:
    code, said = boundary(run, f"again={run}")
    assert (code, "# Boundary: demo/base → demo/final → again/base → again/final" in said) == (0, True), said


def test_a_confidence_is_not_rounded(boundary: Boundary, run: Path) -> None:
    for confidence, said in (("0.95", "at 95% for all"), ("0.999", "at 99.9% for all"), ("0.57", "at 57% for all")):
        assert said in boundary(run, "--confidence", confidence)[1]


def test_a_terminal_that_lacks_characters_gets_escapes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", bare)
    assert main([str(run)]) == 0
    bare.seek(0)
    assert "# Boundary: demo/base \\u2192 demo/final" in bare.read()


def test_an_output_that_cannot_be_written(boundary: Boundary, run: Path) -> None:
    code, said = boundary(run, "--output", run / "evaluation" / "base.json")
    assert (code, "base.json cannot be written: File exists" in said) == (ExitCode.STORAGE, True), said


def test_a_problem_has_one_record(boundary: Boundary, run: Path) -> None:
    path = run / "evaluation" / "base.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"problems": content["problems"] + [content["problems"][0] | {"solved": 9}]}))
    code, said = boundary(run)
    assert (code, "demo/base has the problem maze/0 more than once" in said) == (ExitCode.DATA, True), said


def test_what_cannot_be_compared_is_refused(boundary: Boundary, run: Path, tmp_path: Path) -> None:
    base = run / "evaluation" / "base.json"
    assert boundary(tmp_path / "none")[0] == ExitCode.CONFIG
    code, said = boundary(base)
    assert (code, "is one evaluation; name at least two" in said) == (ExitCode.CONFIG, True)
    code, said = boundary(base, base)
    assert (code, "there is a base already; give it a name of its own" in said) == (ExitCode.CONFIG, True)
    code, said = boundary(base, f"again={base}")
    assert (code, "base → again" in said) == (0, True)
    other = write(tmp_path / "other", "final", {"poems": [1]})
    code, said = boundary(base, other)
    assert (code, "no problem in common" in said) == (ExitCode.DATA, True)
    (run / "evaluation" / "base.json").write_text('{"label": "base", "step"')
    code, said = boundary(run)
    assert (code, "is no evaluation (not valid JSON" in said) == (ExitCode.DATA, True)
    assert boundary("x" * 3000)[0] == ExitCode.CONFIG
    assert boundary(f"a={tmp_path}/table.csv", base)[0] == ExitCode.CONFIG
    (run / "evaluation" / "final.json").unlink()
    code, said = boundary(run)
    assert (code, "final.json; a finished run has both" in said) == (ExitCode.CONFIG, True)
