"""The page of one evaluation, from its store and without one, in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import browser, opened  # noqa: F401
from helpers.stores import header, sample, write_store

from prorl_mega.errors import ExitCode
from prorl_mega.evaluation.store_summary import summarise_store
from prorl_mega.report import main, write_evaluation_page
from prorl_mega.run.evaluations import write_evaluation
from prorl_mega.run.sample_store import SampleStore, StoredProblem, StoredVerdict

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e"


def evaluation(run: Path, samples: int = 8) -> Path:
    """An evaluation of four problems, solved 0, 2, 4 and 8 times of 8; returns its folder."""
    solved = [0, 2, 4, samples]
    problems = [StoredProblem(key=f"t/{n}", task=("one", "two")[n % 2], prompt=f"{n}? {HOSTILE}") for n in range(4)]
    answers = [sample(n, s, text=f"{s} {HOSTILE}") for n in range(4) for s in range(samples)]
    verdicts = [
        StoredVerdict(problem=n, sample=s, reward=float(s < solved[n]), relaxed=1.0 if n == 0 and s == 0 else None)
        for n in range(4)
        for s in range(samples)
    ]
    folder = run / "evaluation" / "policy"
    write_store(folder, problems, answers, verdicts, header(samples=samples))
    metrics, records = summarise_store(SampleStore(folder))
    settings = {"evaluation.temperature": 0.6}
    write_evaluation(folder.parent, label="policy", step=7, settings=settings, metrics=metrics, problems=records)
    return folder


def test_scores_curves_and_answers(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    folder = evaluation(tmp_path / "some_run")
    path = write_evaluation_page(folder)
    assert path == folder.parent / "policy.html"
    for width, theme in ((1400, "light"), (400, "dark")):
        with opened(browser, path, width=width, theme=theme) as page:  # type: ignore[arg-type]
            assert page.locator("h1").inner_text() == "Evaluation some_run · policy"
            scores = page.locator("#scores tr").all_inner_texts()
            assert scores[1].split()[:4] == ["all", "tasks", "4", "0.438"]
            assert [row.split()[:2] for row in scores[2:]] == [["one", "2"], ["two", "2"]]
            listed = page.locator("#problems .list button").all_inner_texts()
            assert [each.split() for each in listed] == [
                [key, str(n), "of", "8"] for key, n in (("t/1", 2), ("t/2", 4), ("t/0", 0), ("t/3", 8))
            ]
            page.click('button[data-opens="problem-2"]')
            text = page.locator("[role=dialog], .panel, aside").first.inner_text()
            assert "solved 0 of 8" in text
            assert "in any form 1" in text
            assert "onerror=alert(1)" in text
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_numbers_of_the_page_are_those_of_the_file(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "run")
    page = write_evaluation_page(folder.with_suffix(".json")).read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    metrics = json.loads(folder.with_suffix(".json").read_text())["metrics"]
    strict, relaxed = data["charts"]["pass"]["series"]
    assert data["charts"]["pass"]["x"]["values"] == [1, 2, 4, 8]
    assert strict["values"] == pytest.approx([metrics[f"evaluation/pass@{k}"] for k in (1, 2, 4, 8)], abs=1e-5)
    assert relaxed["label"] == "in any form"
    assert relaxed["values"][0] == pytest.approx(metrics["evaluation/relaxed_pass@1"], abs=1e-5)
    assert len(data["panels"]) == 4
    assert data["charts"]["cover"]["series"][0]["values"][24] == pytest.approx(0.75)  # at τ = 0.25


def test_without_a_store_and_without_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = {
        "key": "a/1",
        "task": "a",
        "samples": 0,
        "solved": 0,
        "mean_reward": None,
        "prompt": "p",
        "completion": "c",
    }
    folder = tmp_path / "run" / "evaluation"
    folder.parent.mkdir()
    write_evaluation(folder, label="base", step=0, settings={}, metrics={}, problems=[problem])
    assert main([str(folder / "base.json")]) == ExitCode.FINISHED
    assert "its first answer" in (folder / "base.html").read_text()
    (folder / "broken.json").write_text("[")
    assert main([str(folder / "broken.json")]) == ExitCode.DATA
    assert "broken.json: is no evaluation" in capsys.readouterr().err
