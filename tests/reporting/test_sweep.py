"""Several runs compared: which settings differ, who is compared, what is refused, what the terminal says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.recorded_run import HOSTILE
from helpers.recorded_sweep import change_final, change_settings, record_failed_run, record_swept_run

from prorl_mega.config.swept_runs import note_run
from prorl_mega.errors import ConfigError, ExitCode
from prorl_mega.evaluation.solve_rate import clopper_pearson
from prorl_mega.report import main
from prorl_mega.reporting.run_sets import found_runs
from prorl_mega.reporting.sweep import read_sweep
from prorl_mega.reporting.sweep_text import short_names, sweep_lines
from prorl_mega.reporting.swept_run import read_swept_run
from prorl_mega.reporting.swept_settings import is_logarithmic, swept_settings

KL, RATE = "recipe.kl.coef", "optimizer.learning_rate"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """kl.coef=0,0.1 over three seeds, of which 0.1 is much better; a run that failed, and one that was killed."""
    root = tmp_path_factory.mktemp("sweep")
    for place, (coef, seed) in enumerate((coef, seed) for coef in (0.0, 0.1) for seed in (1, 2, 3)):
        settings = {KL: coef, "seed": seed}
        record_swept_run(root / f"demo--{coef}--{seed}", settings, 0.4 + 3 * coef, dice=place)
    record_failed_run(root / "demo--0.3--1", {KL: 0.3, "seed": 1}, 23, "the loss is not finite " + 30 * "x " + HOSTILE)
    record_failed_run(root / "demo--0.3--2", {KL: 0.3, "seed": 2}, -1, "")
    (root / "demo--0.3--3").mkdir()
    (root / "studies").mkdir()
    return root


def copied(sweep: Path, folder: Path, *names: str) -> list[Path]:
    return [Path(shutil.copytree(sweep / name, folder / name)) for name in names]


def test_settings_that_differ() -> None:
    runs: list[dict[str, Any]] = [
        {"name": "a", "root": "x", "cluster.nodes": 1, "seed": 1, "r.a": None, "r.b": 0.1, "same": 1, "list": [1]},
        {"name": "b", "root": "y", "cluster.nodes": 2, "seed": 2, "r.a": 10, "r.b": 0.2, "same": 1, "list": [1]},
        {"name": "c", "root": "z", "cluster.nodes": 3, "seed": 3, "r.a": 9, "r.b": 0.2, "same": 1, "list": [1]},
    ]  # fmt: skip
    runs[2]["new"] = True
    found = {each.key: each for each in swept_settings(runs)}
    assert list(found) == ["r.a", "r.b", "new"]
    assert found["r.a"].order == ("null", "9", "10"), "nothing, then numbers in their order"
    assert found["r.b"].group == ("0.1", "0.2", "0.2")
    assert found["new"].order == ("(absent)", "true")
    assert swept_settings([]) == []


def test_settings_that_change_together_are_one() -> None:
    runs = [{"a": value, "b": value == 2, "c": value % 2} for value in (1, 2, 3)]
    first, *rest = swept_settings([run | {"d": run["a"] * 10} for run in runs])
    assert (first.key, first.together, first.label) == ("a", ("d",), "a (and 1 more)")
    assert [(each.key, each.together) for each in rest] == [("b", ("c",))]


def test_numbers_with_many_values_are_in_groups() -> None:
    values = [1e-6 * 2**place for place in range(9)]
    (setting,) = swept_settings([{"a": value} for value in values])
    assert setting.order == ("1e-06 … 4e-06", "8e-06 … 3.2e-05", "6.4e-05 … 0.000256")
    assert [setting.group.count(each) for each in setting.order] == [3, 3, 3]
    (ties,) = swept_settings([{"a": value} for value in [1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6]])
    assert sum(ties.group.count(each) for each in ties.order) == 11
    assert len({group for group, value in zip(ties.group, ties.value, strict=True) if value == 1}) == 1
    assert is_logarithmic(values)
    assert not is_logarithmic([1, 50, 100])
    assert not is_logarithmic([0, 1e-6, 1.0])


def test_short_names() -> None:
    keys = ["recipe.kl.coef", "recipe.entropy.coef", "optimizer.learning_rate", "tasks.seed"]
    assert short_names(keys) == ["kl.coef", "entropy.coef", "learning_rate", "tasks.seed"]


def test_the_effect_in_a_sweep_and_the_runs_without_one(sweep: Path) -> None:
    found = read_sweep(found_runs([sweep], Path()))
    assert [len(each) for each in (found.runs, found.known, found.scored)] == [8, 8, 6]
    (effect,) = found.effects
    assert effect.mattered
    difference = effect.values[1].difference
    assert difference is not None
    assert difference.low < 0.3 < difference.high
    lines = sweep_lines(found)
    assert lines[0] == "8 runs, 6 with a final evaluation, compared on 40 held-out problems"
    rows = {line.split()[0]: line for line in lines if line.startswith("demo--")}
    assert "numerics (23): the loss is not finite x x" in rows["demo--0.3--1"]
    assert rows["demo--0.3--2"].endswith("no word of its end: killed")
    assert rows["demo--0.1--2"].split()[1:3] == ["0.1", "2"]
    assert re.search(rf"^  {re.escape(KL)}: mattered, 0\.1 against 0: \+0\.[23]\d", "\n".join(lines), re.MULTILINE)
    assert "Without a final evaluation, so not compared: demo--0.3--1, demo--0.3--2." in lines
    assert not any("\x1b" in line for line in lines)


def test_one_seed_and_one_pair_say_nothing_certain(sweep: Path) -> None:
    found = read_sweep([sweep / "demo--0.0--1", sweep / "demo--0.1--1"])
    assert found.verdict(found.effects[0]).startswith("cannot be told apart from noise between seeds: too few runs")
    assert "Every run has seed=1; a sweep with seed=1,2,3 shows the noise between seeds." in found.remarks()
    alike = read_sweep([sweep / "demo--0.0--1", sweep / "demo--0.0--2"])
    assert alike.effects == []
    assert "Which setting mattered?" not in "\n".join(sweep_lines(alike))


def test_runs_that_were_evaluated_otherwise_are_refused(sweep: Path, tmp_path: Path) -> None:
    runs = copied(sweep, tmp_path, "demo--0.0--1", "demo--0.0--2", "demo--0.1--1")
    change_final(runs[1], lambda content: content["settings"].update({"evaluation.temperature": 0.1}))
    with pytest.raises(
        ConfigError, match=r"evaluation\.temperature: 0\.6 and 0\.1\. Name .*demo--0\.0--1 demo--0\.1--1"
    ):
        read_sweep(runs)
    change_final(runs[2], lambda content: content.update(problems=[{**content["problems"][0], "key": "other/1"}]))
    with pytest.raises(ConfigError, match="were evaluated on other problems"):
        read_sweep([runs[0], runs[2]])


def test_problems_that_not_all_have_are_left_out(sweep: Path, tmp_path: Path) -> None:
    runs = copied(sweep, tmp_path, "demo--0.0--1", "demo--0.1--1")
    change_final(runs[1], lambda content: content.update(problems=content["problems"][:30]))
    found = read_sweep(runs)
    assert len(found.problems) == 30
    assert "10 problems were left out: not every run was evaluated on them." in found.remarks()


def test_settings_changed_on_the_way_and_other_code_are_said(sweep: Path, tmp_path: Path) -> None:
    runs = copied(sweep, tmp_path, "demo--0.0--1", "demo--0.1--1")
    for run, commit in zip(runs, ("abc", "def"), strict=True):
        (run / "starts.jsonl").write_text(f'{{"commit": "{commit}"}}\n')
    change = {"step": 5, "trigger": "settings", "action": "change", "key": RATE, "before": 1, "after": 2}
    (runs[1] / "decisions.jsonl").write_text(f"{json.dumps(change)}\n")
    remarks = read_sweep(runs).remarks()
    assert "The runs were made by different code: 1 by abc, 1 by def." in remarks
    assert "demo--0.1--1 went on with other settings: optimizer.learning_rate: 1 -> 2 after step 5." in remarks


def test_with_one_answer_to_a_problem_the_interval_is_exact(sweep: Path, tmp_path: Path) -> None:
    (run,) = copied(sweep, tmp_path, "demo--0.0--1")

    def one_answer(content: dict[str, Any]) -> None:
        for place, each in enumerate(content["problems"]):
            each.update(samples=1, solved=int(place % 4 == 0))

    change_final(run, one_answer)
    read = read_swept_run(run)
    estimate = read.score(list(read.final))
    assert estimate == (0.25, *clopper_pearson(40, 10))


def test_where_runs_are_found(sweep: Path, tmp_path: Path) -> None:
    names = sorted(each.name for each in sweep.glob("demo--*") if (each / "config.yaml").exists())
    assert [each.name for each in found_runs([sweep], Path())] == names
    assert [each.name for each in found_runs([Path("demo--0.0--1")], sweep)] == ["demo--0.0--1"]
    for run in (sweep / "demo--0.0--1", sweep / "gone", sweep / "demo--0.0--1"):
        note_run(tmp_path / "multirun", run)
    assert found_runs([tmp_path / "multirun", sweep / "demo--0.0--1"], Path()) == [
        sweep / "demo--0.0--1",
        sweep / "gone",
    ]
    submission = tmp_path / "submission"
    submission.mkdir()
    for index in (0, 1, 10, 2):
        (submission / f"arguments.{index}").write_bytes(f"{sweep}/run{index}\0seed={index}\0".encode())
    assert [each.name for each in found_runs([submission], Path())] == ["run0", "run1", "run2", "run10"]
    with pytest.raises(ConfigError, match="nowhere: neither a run nor a directory of runs"):
        found_runs([tmp_path / "nowhere"], tmp_path)
    (tmp_path / "multirun" / "runs.jsonl").write_text('{"run": 1}\n')
    with pytest.raises(ConfigError, match=r"runs\.jsonl:1: "):
        found_runs([tmp_path / "multirun"], Path())


def test_runs_that_were_noted_and_are_not_there_or_have_not_begun(sweep: Path) -> None:
    found = read_sweep([sweep / "demo--0.0--1", sweep / "gone", sweep / "demo--0.3--3"])
    assert [each.ended for each in found.runs] == [
        "finished",
        "there is no directory: never started, or removed",
        "it has no config.yaml: not begun",
    ]
    assert len([line for line in sweep_lines(found) if line.startswith(("gone", "demo--"))]) == 3


def test_the_command(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "page.html"
    assert main([str(sweep), "--output", str(target)]) == 0
    assert " runs compared" in target.read_text()
    assert "8 runs, 6 with a final evaluation" in capsys.readouterr().out
    assert main(["demo--0.0--1", "--root", str(sweep)]) == 0
    assert (sweep / "demo--0.0--1" / "report.html").is_file()
    assert main([str(sweep / "demo--0.3--1"), str(sweep / "demo--0.3--2")]) == 0, "none has a score"
    assert (sweep / "comparison.html").is_file()
    assert main([str(sweep), str(tmp_path / "nowhere")]) == ExitCode.CONFIG
    assert "nowhere" in capsys.readouterr().err


def test_a_broken_settings_file_is_named(sweep: Path, tmp_path: Path) -> None:
    (run,) = copied(sweep, tmp_path, "demo--0.0--1")
    change_settings(run, {KL: "much"})
    with pytest.raises(ConfigError, match=r"demo--0\.0--1/config\.yaml: recipe\.kl\.coef is "):
        read_swept_run(run)
