"""`python -m prorl_mega.evaluate` on runs and directories: which policy, every answer once, stopped and continued."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from helpers.fake_openai import Exchange, chat_reply, fake_server
from helpers.programs import Finished, Program, contents, run_program, small_setup

from prorl_mega.errors import ExitCode
from prorl_mega.run.sample_store import SampleStore, StoredSample

EVALUATE = "prorl_mega.evaluate"
SMALL = ("experiment=small", "model.weights=pretrained")


def answers(directory: Path) -> dict[tuple[str, int], StoredSample]:
    """Every answer of a store by the key of its problem and its number, of which no line is there twice."""
    store = SampleStore(directory)
    keys = [problem.key for problem in store.problems()]
    lines = Counter(
        (line["problem"], line["sample"])
        for file in (directory / "samples").glob("*.jsonl")
        for line in map(json.loads, file.read_text().splitlines())
    )
    assert set(lines.values()) == {1}
    return {(keys[each.problem], each.sample): each for each in store.samples()}


def assert_same_answers(one: Path, other: Path) -> None:
    """The same tokens to the same problems and seeds; the last digits of log-probabilities may differ by batch."""
    first, second = answers(one), answers(other)
    assert first.keys() == second.keys()
    for place, answer in first.items():
        again = second[place]
        assert (answer.tokens, answer.text, answer.seed) == (again.tokens, again.text, again.seed), place
        assert answer.logprobs == pytest.approx(again.logprobs, abs=2e-4)


def results(file: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(file.read_text())
    return content


def test_a_checkpoint_of_a_run_is_evaluated_as_training_evaluated_it_and_the_run_stays_as_it_is(
    setup: Path, uninterrupted: tuple[Finished, Path]
) -> None:
    run = setup / "runs" / "evaluated"
    shutil.copytree(uninterrupted[1], run)
    folder = run / "evaluation"
    assert SampleStore(folder / "final").header.settings["rollout.max_response_tokens"] == 12
    before = contents(run)
    finished = run_program(EVALUATE, setup, "run=evaluated")
    assert finished.code == 0, finished.output
    assert "6 problems, 2 samples each" in finished.output
    assert "all tasks" in finished.output
    assert_same_answers(folder / "step_000010", folder / "final")
    ours, theirs = results(folder / "step_000010.json"), results(folder / "final.json")
    assert ours["step"] == theirs["step"] == 10
    assert ours["metrics"].items() >= theirs["metrics"].items()  # type: ignore[attr-defined]
    after = contents(run)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("evaluation/step_000010") for name in after.keys() - before.keys())

    again = run_program(EVALUATE, setup, "run=evaluated", "evaluation.samples=3")  # adds to what is there
    assert again.code == 0, again.output
    assert "3 samples each; 12 of 18 answers are there already" in again.output
    more = answers(folder / "step_000010")
    assert len(more) == 18
    assert answers(folder / "final").items() <= more.items()

    other = run_program(EVALUATE, setup, "run=runs/evaluated", "evaluation.temperature=2")
    assert other.code == 0, other.output
    assert "were sampled with other settings; they are in runs/evaluated/evaluation/step_000010.1 now" in other.output
    assert len(answers(folder / "step_000010.1")) == 18
    assert (folder / "step_000010.1.json").exists()
    assert results(folder / "step_000010.json")["settings"]["evaluation.temperature"] == 2  # type: ignore[index]


def test_another_evaluation_of_training_is_not_compared(
    setup: Path, run_arguments: tuple[str, ...], uninterrupted: tuple[Finished, Path]
) -> None:
    run = setup / "runs" / "evaluated_again"
    shutil.copytree(uninterrupted[1], run)
    final = results(run / "evaluation" / "final.json")
    changed = [*run_arguments, "name=evaluated_again", "evaluation.temperature=1.0"]
    finished = run_program("prorl_mega.train", setup, *changed)
    assert finished.code == 0, finished.output
    again = results(run / "evaluation" / "final.json")
    assert again["settings"]["evaluation.temperature"] == 1.0  # type: ignore[index]
    assert again["problems"] != final["problems"]
    assert SampleStore(run / "evaluation" / "final").header.settings["evaluation.temperature"] == 1.0
    page = (run / "report.html").read_text()
    assert "evaluation.temperature: 0.6 and 1.0" in page
    assert "not compared" in page


def test_a_directory_stopped_killed_and_gone_on_with_by_two_ranks(tmp_path: Path) -> None:
    setup = small_setup(tmp_path)
    file = setup / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"strange_field": 3}))
    command = (*SMALL, "evaluation.samples=60", "rollout.max_concurrent=4")
    whole = run_program(EVALUATE, setup, *command, "name=whole")
    assert whole.code == 0, whole.output
    assert "ignored: strange_field of" in whole.output
    parts = setup / "runs" / "parts" / "evaluation" / "policy"
    _stop_at(setup, parts, 50, signal.SIGTERM, *command, "name=parts")
    _stop_at(setup, parts, 120, signal.SIGKILL, *command, "name=parts")
    with (parts / "samples" / "0.jsonl").open("a") as half:  # a power cut in the middle of a line
        half.write('{"problem":0,"sample":')
    assert not (parts.parent / "policy.json").exists()
    finished = run_program(EVALUATE, setup, *command, "name=parts", ranks=2)
    assert finished.code == 0, finished.output
    assert "of 360 answers are there already" in finished.output
    assert (parts / "samples" / "1.jsonl").stat().st_size > 0
    assert_same_answers(parts, setup / "runs" / "whole" / "evaluation" / "policy")
    names = ("metrics", "problems", "settings", "step")
    one, other = (results(setup / "runs" / name / "evaluation" / "policy.json") for name in ("whole", "parts"))
    assert [one[name] for name in names] == [other[name] for name in names]


@pytest.mark.slow
def test_ten_kills_at_random(tmp_path: Path) -> None:
    setup = small_setup(tmp_path)
    command = (*SMALL, "evaluation.samples=256", "rollout.max_concurrent=4")
    assert run_program(EVALUATE, setup, *command, "name=whole").code == 0
    parts = setup / "runs" / "parts" / "evaluation" / "policy"
    for at in sorted(random.Random(7).sample(range(20, 1400), 10)):
        _stop_at(setup, parts, at, signal.SIGKILL, *command, "name=parts")
    finished = run_program(EVALUATE, setup, *command, "name=parts")
    assert finished.code == 0, finished.output
    assert_same_answers(parts, setup / "runs" / "whole" / "evaluation" / "policy")
    names = ("metrics", "problems")
    one, other = (results(setup / "runs" / name / "evaluation" / "policy.json") for name in ("whole", "parts"))
    assert [one[name] for name in names] == [other[name] for name in names]


def test_policies_that_are_not_there(
    setup: Path, run_arguments: tuple[str, ...], uninterrupted: tuple[Finished, Path]
) -> None:
    for arguments, message in {
        ("run=nobody",): r"run=nobody: there is no runs/nobody/config.yaml",
        ("run=uninterrupted", "step=77"): r"step=77: runs/uninterrupted has checkpoints of steps 9, 10;",
        ("run=uninterrupted", "step=best"): r"runs/uninterrupted has no best checkpoint: schedule.keep_best=true",
        ("run=uninterrupted", "experiment=small"): r"experiment=small: run=uninterrupted has its own settings",
        ("experiment=small", "name=uninterrupted"): r"is a training run; evaluate its checkpoints with run=uninterr",
        ("experiment=small", "name=none", "model.weights=random"): r"there is no policy to evaluate; name a run",
        ("run=uninterrupted", "label=final"): r"label=final: training keeps its own results under this name",
        ("tasks=arithmetic",): r"there is no policy to evaluate: name a Hugging Face directory with model.path=DIR",
        ("experiment=small", "name=x", "label=../up"): r"label='../up' becomes a directory",
    }.items():
        refused = run_program(EVALUATE, setup, *arguments)
        assert refused.code == ExitCode.CONFIG, refused.output
        assert message in refused.output, refused.output
        assert "starting the inference engine" not in refused.output


def test_a_server_that_stops_answering_leaves_gaps_that_the_next_call_fills(tmp_path: Path) -> None:
    setup = small_setup(tmp_path)
    asked: Counter[str] = Counter()

    def handle(exchange: Exchange) -> None:
        asked["all"] += 1
        if "models" in exchange.path:
            exchange.reply({"data": [{"id": "served"}]})
        elif is_down and asked["all"] > 8:
            exchange.reply({"error": "no"}, status=503)
        else:
            exchange.reply(chat_reply(str(exchange.body["seed"])))

    command = ("tasks=small", "evaluation.samples=5", "evaluation.final_problems_per_task=3", "tasks.workers=1")
    stores, is_down = [], True
    for code in (ExitCode.ROLLOUT, ExitCode.FINISHED):
        with fake_server(handle) as server:  # at another port each time
            server_settings = (f"evaluation.server.url={server.url}", "evaluation.server.retries=0")
            finished = run_program(EVALUATE, setup, *command, *server_settings)
        assert finished.code == code, finished.output
        store = setup / "runs" / "server" / "evaluation" / "policy"
        assert ("of 30 answers are missing and not in these numbers" in finished.output) == is_down
        stores.append(answers(store))
        is_down = False
    assert "of 30 answers are there already" in finished.output
    assert 0 < len(stores[0]) < len(stores[1]) == 30
    assert stores[0].items() <= stores[1].items()
    assert all(answer.text == str(answer.seed) for answer in stores[1].values())
    assert SampleStore(store).header.policy == f"{server.url} served"


def _stop_at(setup: Path, store: Path, count: int, number: signal.Signals, *command: str) -> None:
    """Start the evaluation and send a signal when its store has so many answers."""
    with Program(EVALUATE, setup, *command) as program:
        program.wait_until(lambda: _lines(store) >= count)
        program.send(number)
        finished = program.finish()
    assert finished.code == (ExitCode.SAVED_AFTER_SIGNAL if number is signal.SIGTERM else -number), finished.output
    if number is signal.SIGTERM:
        assert "answers so far are kept, the same command goes on" in finished.output


def _lines(store: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in (store / "samples").glob("*.jsonl"))
