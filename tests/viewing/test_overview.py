"""Questions about many runs: which there are, what they are doing, what is new since the last answer."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.live_view import (
    NOBODY,
    asked,
    cut,
    fingerprint,
    go_on,
    key_of,
    known,
    record_live_run,
    record_long_run,
    served,
)
from helpers.recorded_run import HOSTILE, record_run

from prorl_mega.viewing import overview as overview_module
from prorl_mega.viewing.overview import Overview


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the files for every question."""
    for name in ("FIND_S", "LOOK_S", "PATIENCE"):
        monkeypatch.setattr(overview_module, name, 0)


def by_name(overview: Overview) -> dict[str, dict[str, Any]]:
    return {f"{run['folder']}/{run['name']}".lstrip("/"): run for run in overview.runs()["runs"]}


@pytest.mark.usefixtures("at_once")
def test_the_list(tmp_path: Path) -> None:
    record_run(tmp_path / "done", 60)
    record_live_run(tmp_path / "sweep" / "2026-01-01" / "0", 30, of=60)
    record_live_run(tmp_path / "sweep" / "2026-01-01" / "1", 59, of=60, pid=NOBODY)
    (tmp_path / "sweep" / "2026-01-01" / ".hydra").mkdir()
    (tmp_path / "sweep" / "2026-01-01" / ".hydra" / "config.yaml").write_text("a: 1\n")
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "config.yaml").write_text("a: 1\n")  # of anybody
    runs = by_name(Overview([tmp_path]))
    assert list(runs) == ["done", "sweep/2026-01-01/0", "sweep/2026-01-01/1"]
    done, running, crashed = runs.values()
    assert [run["state"] for run in runs.values()] == ["finished", "running", "crashed"]
    assert (running["step"], running["steps"], running["left"]) == (30, 60, 90.0)
    assert (done["left"], crashed["left"]) == (None, None)
    assert (done["held_out_at_start"], done["resets"]) == (0.15, None)
    rows = [json.loads(line) for line in (tmp_path / "done" / "metrics.jsonl").read_text().splitlines()]
    for name, metric in (("reward", "reward/mean"), ("entropy", "policy/entropy"), ("kl", "policy/kl")):
        assert done[name] == pytest.approx(rows[-1][metric], rel=1e-5)
    assert done["held_out"] == pytest.approx(rows[-1]["evaluation/pass@1"], rel=1e-5)
    assert done["curve"] == pytest.approx([row["reward/mean"] for row in rows[1:]], rel=1e-5)


@pytest.mark.usefixtures("at_once")
def test_runs_come_go_and_restart(tmp_path: Path) -> None:
    overview = Overview([tmp_path])
    assert overview.runs()["runs"] == []
    record_live_run(tmp_path / "a", 20, of=60)
    assert by_name(overview)["a"]["step"] == 20
    go_on(tmp_path / "a", 21, 0.77)
    assert (by_name(overview)["a"]["step"], by_name(overview)["a"]["reward"]) == (21, 0.77)
    cut(tmp_path / "a", 10)
    run = by_name(overview)["a"]
    assert (run["step"], len(run["curve"])) == (10, 10)
    shutil.rmtree(tmp_path / "a")
    assert overview.runs()["runs"] == []
    assert overview.run(key_of(tmp_path / "a"), "", "") is None


@pytest.mark.usefixtures("at_once")
def test_a_run_may_be_named_itself_and_twice(tmp_path: Path) -> None:
    record_run(tmp_path / "run", 5)
    assert len(Overview([tmp_path / "run", tmp_path]).runs()["runs"]) == 1


@pytest.mark.usefixtures("at_once")
def test_the_last_numbers_of_a_long_run_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview_module, "SLICE_S", -1.0)  # no time to read
    record_run(tmp_path / "run", 60)
    overview = Overview([tmp_path])
    found = overview.runs()
    assert (found["runs"][0]["step"], found["runs"][0]["curve"], found["complete"]) == (60, [], False)
    deadline = time.monotonic() + 20
    while not (found := overview.runs())["complete"]:  # read between the questions
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(found["runs"][0]["curve"]) == 60


@pytest.mark.usefixtures("at_once")
def test_many_runs_come_little_by_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview_module, "LOOK_SLICE_S", -1.0)  # time for one
    for name in "abc":
        record_run(tmp_path / name, 3)
    overview = Overview([tmp_path])
    found = [overview.runs() for _ in range(4)]
    assert [len(each["runs"]) for each in found] == [1, 2, 3, 3]
    assert [each["complete"] for each in found] == [False, False, True, True]
    for name in "abc":  # at each in turn
        go_on(tmp_path / name, 4, 0.5)
    assert {run["step"] for _ in range(3) for run in overview.runs()["runs"]} == {3, 4}
    assert {run["step"] for run in overview.runs()["runs"]} == {4}


def joined(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """The charts of a page that adds an answer to the one before, as growing.js does."""
    charts = []
    for index, (start, chart) in enumerate(zip(after["from"], after["charts"], strict=True)):
        if start:
            old = before["charts"][index]
            x = old["x"] | {name: old["x"][name][:start] + more for name, more in chart["x"].items()}
            series = [
                each | {name: each[name][:start] + more for name, more in new.items()}
                for each, new in zip(old["series"], chart["series"], strict=True)
            ]
            chart = old | {"x": x, "series": series}
        charts.append(chart)
    return charts


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("steps", [30, 1500])
def test_only_what_is_new_is_sent(tmp_path: Path, steps: int) -> None:
    record_long_run(tmp_path / "run", steps)
    overview, key = Overview([tmp_path]), key_of(tmp_path / "run")
    first = overview.run(key, "", "")
    assert first is not None
    assert first["parts"].keys() == {"run", "decisions", "evaluations", "answers", "metrics", "settings"}
    assert set(first["charts"]["from"]) == {0}
    have = ",".join(part["hash"] for part in first["parts"].values())
    for step in range(steps + 1, steps + 8):
        go_on(tmp_path / "run", step, 0.5)
        after = overview.run(key, have, first["charts"]["have"])
        whole = overview.run(key, "", "")
        assert after is not None
        assert whole is not None
        assert joined(first["charts"], after["charts"]) == whole["charts"]["charts"]
        assert after["parts"].keys() == {"run"}
        assert after["parts"]["run"]["content"]["step"] == step
        assert max(len(chart["x"]["values"]) for chart in after["charts"]["charts"]) <= 8
        first["charts"] = after["charts"] | {"charts": whole["charts"]["charts"]}


@pytest.mark.usefixtures("at_once")
def test_points_that_a_restart_has_made_void_are_sent_anew(tmp_path: Path) -> None:
    record_live_run(tmp_path / "run", 30, of=60)
    overview, key = Overview([tmp_path]), key_of(tmp_path / "run")
    first = overview.run(key, "", "")
    assert first is not None
    cut(tmp_path / "run", 20)
    for step in range(21, 33):
        go_on(tmp_path / "run", step, 0.9)
    after = overview.run(key, "", first["charts"]["have"])
    assert after is not None
    assert set(after["charts"]["from"]) == {0}
    assert after["charts"]["charts"][0]["series"][0]["values"][-12:] == [0.9] * 12


@pytest.mark.parametrize("points", ["x", ":", "a:1", "f" * 4000, "%s:%s", "\0"])
def test_what_a_page_says_it_has_may_be_anything(tmp_path: Path, points: str) -> None:
    record_run(tmp_path / "run", 5)
    found = Overview([tmp_path]).run(key_of(tmp_path / "run"), points, points)
    assert found is not None
    assert set(found["charts"]["from"]) == {0}


def test_any_metric_may_have_a_chart(tmp_path: Path) -> None:
    record_run(tmp_path / "run", 60)
    overview, key = Overview([tmp_path]), key_of(tmp_path / "run")
    plain = overview.run(key, "", "")
    assert plain is not None
    assert "evaluation/pass@4" in plain["parts"]["metrics"]["content"]
    wanted = ["seconds/step", "nothing", "evaluation/pass@4", "seconds/step"]
    found = overview.run(key, "", plain["charts"]["have"], wanted)
    assert found is not None
    titles = [chart["title"] for chart in found["charts"]["charts"]]
    assert titles == [*(chart["title"] for chart in plain["charts"]["charts"]), "seconds/step", "evaluation/pass@4"]


def test_two_runs_are_compared(tmp_path: Path) -> None:
    record_run(tmp_path / "a" / "0", 60)
    record_live_run(tmp_path / "b" / "0", 30, of=90)
    found = Overview([tmp_path]).comparison([key_of(tmp_path / "a" / "0"), "0" * 16, key_of(tmp_path / "b" / "0")])
    assert [run["label"] for run in found["runs"]] == ["a/0", "b/0"]
    assert found["settings"] == [{"key": "schedule.steps", "values": ["60", "90"]}]
    charts = {chart["title"]: chart for chart in found["charts"]}
    reward = charts["Reward"]
    assert [each["label"] for each in reward["series"]] == ["a/0", "b/0"]
    assert [sum(value is not None for value in each["values"]) for each in reward["series"]] == [60, 30]
    assert {"Pass rates: held-out pass@1", "Entropy", "KL to the reference policy"} <= charts.keys()
    assert charts["Time per step"]["series"][0]["values"][-1] == pytest.approx(3.0)


def test_long_runs_are_compared_over_the_same_intervals(tmp_path: Path) -> None:
    record_long_run(tmp_path / "a", 1200)
    record_long_run(tmp_path / "b", 700)
    found = Overview([tmp_path]).comparison([key_of(tmp_path / "a"), key_of(tmp_path / "b")])
    reward = next(chart for chart in found["charts"] if chart["title"] == "Reward")
    assert "means over 3 steps" in reward["about"]
    assert reward["x"]["values"][-1] == 1200
    known_ones = [sum(value is not None for value in each["values"]) for each in reward["series"]]
    assert known_ones == [400, 234]


def test_records(tmp_path: Path) -> None:
    run = tmp_path / "run"
    record_run(run, 60)
    row = {
        "key": "gcd/2",
        "task": "gcd",
        "prompt": "?",
        "completion": HOSTILE * 500,
        "reward": 10**400,
        "tokens": "many",
    }
    (run / "samples" / "step_000020.jsonl").write_text(json.dumps(row) + "\nhalf")
    (run / "samples" / "step_x.jsonl").write_text("x")
    (run / "decisions.jsonl").write_text('{"step": 20, "action": "reset", "text": "why"}\n{"step": "x"}\nhalf')
    with served(tmp_path) as server:
        key = key_of(run)
        parts = known(server, f"/api/run/{key}")["parts"]
        assert parts["answers"]["content"] == {"first": 20, "last": 60, "count": 2}
        assert parts["decisions"]["content"] == [
            {"step": 20, "action": "reset", "kind": "reset", "text": "why", "alarm": ""},
            {
                "step": 40,
                "action": "reset",
                "kind": "reset",
                "text": "reference reset",
                "alarm": "",
            },  # of the metrics alone
            {"step": 60, "action": "reset", "kind": "reset", "text": "reference reset", "alarm": ""},
        ]
        assert [(each["label"], each["step"]) for each in parts["evaluations"]["content"]] == [
            ("base", 0),
            ("final", 60),
        ]
        assert parts["evaluations"]["content"][1]["rows"][-1]["task"] == "all tasks"
        assert parts["evaluations"]["content"][1]["rows"][-1]["problems"] == 40
        answers = known(server, f"/api/answers/{key}?step=59")
        assert (answers["step"], answers["before"], answers["after"]) == (20, None, 60)
        (answer,) = answers["rows"]
        assert (answer["reward"], answer["tokens"], len(answer["completion"])) == (
            None,
            None,
            8000 - 8000 // len(HOSTILE),
        )
        assert known(server, f"/api/answers/{key}?step=3")["rows"] == []
        assert known(server, f"/api/settings/{key}")["values"]["schedule.steps"] == "60"


def test_texts_that_no_page_can_show(tmp_path: Path) -> None:
    record_run(tmp_path / "run", 5)
    run = (tmp_path / "run").rename(tmp_path / os.fsdecode(b"r\xffn"))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("resume: auto", 'resume: "\\uD800\\u202E"'))
    row = {"step": 6, "reward/\ud800": 0.5, "reward/\u202ex": 0.5, "reward/mean": 10**400, "text": "\ud800"}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    event = {"step": 6, "trigger": "\ud800", "action": "reset", "text": "\ud800\x1b[31m"}
    (run / "decisions.jsonl").write_text(json.dumps(event) + "\n")
    (run / "samples" / "step_000006.jsonl").write_text(json.dumps({"task": "\ud800", "completion": ["\ud800"]}))
    with served(tmp_path) as server:
        (listed,) = known(server, "/api/runs")["runs"]
        assert (listed["name"], listed["step"], listed["steps"]) == ("r?n", 6, None)
        parts = known(server, f"/api/run/{listed['key']}")["parts"]
        assert parts["decisions"]["content"][-1]["text"] == "?[31m"
        assert known(server, f"/api/answers/{listed['key']}?step=6")["rows"][0]["task"] == "?"
        assert "invalid Unicode" in known(server, f"/api/settings/{listed['key']}")["fault"]
        assert known(server, f"/api/compare?runs={listed['key']}")["charts"]


def test_nothing_in_a_run_is_changed(tmp_path: Path) -> None:
    record_live_run(tmp_path / "runs" / "a", 30, of=60)
    record_run(tmp_path / "runs" / "b", 30)
    before = fingerprint(tmp_path / "runs")
    with served(tmp_path / "runs") as server:
        for _ in range(3):
            known(server, "/api/runs")
            for name in ("a", "b"):
                key = key_of(tmp_path / "runs" / name)
                known(server, f"/api/run/{key}")
                known(server, f"/api/answers/{key}?step=60")
                known(server, f"/api/settings/{key}")
            known(server, f"/api/compare?runs={key},{key_of(tmp_path / 'runs' / 'a')}")
            for path in ("/", f"/run/{key}", "/compare", "/assets/list.js"):
                assert asked(server, path)[0] == 200
    assert fingerprint(tmp_path / "runs") == before
