"""A run can be stopped, killed, resumed and read at any time; what it leaves behind does not tell the difference."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.thread_ranks import run_ranks
from helpers.toy_run import PAUSING, Toy, toy_config, toy_train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from prorl_mega.config.schema import Resume
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import CheckpointError, ConfigError, ExitCode, RolloutError, StorageError
from prorl_mega.run.decisions import read_decisions
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.leaks import MEMORY_PREFIX
from prorl_mega.run.metrics import append_metrics, cut_metrics
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.run.signals import TOGETHER_S
from prorl_mega.run.timers import TIMING_PREFIX
from prorl_mega.types import Decision, Event

TESTS = Path(__file__).parents[1]
SETTINGS = {"evaluation.temperature": 0.6}


def start(root: Path, steps: int, pause: float = 0.0) -> subprocess.Popen:
    command = [sys.executable, str(TESTS / "helpers" / "toy_run.py"), str(root), str(steps), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def reproducible_rows(root: Path) -> list[dict[str, Any]]:
    rows = read_rows(root / "toy" / "metrics.jsonl")
    machine = (TIMING_PREFIX, MEMORY_PREFIX)
    return [{name: value for name, value in row.items() if not name.startswith(machine)} for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    root = tmp_path_factory.mktemp("uninterrupted")
    assert toy_train(toy_config(root, 30), Ranks.alone()) is ExitCode.FINISHED
    rows = reproducible_rows(root)
    assert [row["step"] for row in rows] == list(range(1, 31))
    return rows


def test_rows_say_what_the_loop_said(uninterrupted: list[dict[str, Any]]) -> None:
    toy = Toy()
    reward, kl, *losses = (toy.advance() for _ in range(4))
    assert uninterrupted[0] == {
        "step": 1,
        "reward/mean": reward,
        "policy/kl": kl,
        "policy/loss": sum(losses) / 2,
        "reference/reset": 0.0,
        "reference/resets": 0.0,
    }
    assert uninterrupted[4]["reference/reset"] == 1.0
    assert uninterrupted[29]["reference/resets"] == 6.0


def test_rows_say_how_much_memory_was_in_use(tmp_path: Path) -> None:
    assert toy_train(toy_config(tmp_path, 2), Ranks.alone()) is ExitCode.FINISHED
    resident = [row["memory/resident_mib"] for row in read_rows(tmp_path / "toy" / "metrics.jsonl")]
    assert len(resident) == 2
    assert all(10 < each < 100_000 for each in resident)


def test_killed_many_times_it_equals_the_uninterrupted_run(tmp_path: Path, uninterrupted: list[dict[str, Any]]) -> None:
    dice = random.Random(3)
    for _ in range(6):
        process = start(tmp_path, 30, pause=0.02)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step"):
                break
        time.sleep(dice.random() * 0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert toy_train(toy_config(tmp_path, 30), Ranks.alone()) is ExitCode.FINISHED
    assert reproducible_rows(tmp_path) == uninterrupted
    decided = [(step, event.trigger) for step, event in read_decisions(tmp_path / "toy" / "decisions.jsonl")]
    assert decided == [(step, "every") for step in range(5, 31, 5)]


def test_half_written_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    assert toy_train(toy_config(tmp_path, 2), Ranks.alone()) is ExitCode.FINISHED
    run = tmp_path / "toy"
    left = [run / "config.yaml.71.tmp", run / "samples" / "step_000002.jsonl.9293.tmp"]
    mine = run / "notes.tmp"
    for path in (*left, mine):
        path.write_text("half")
    assert toy_train(toy_config(tmp_path, 3), Ranks.alone()) is ExitCode.FINISHED
    assert not any(path.exists() for path in left)
    assert mine.exists()


def test_the_controller_can_end_it(tmp_path: Path) -> None:
    toy = Toy()
    event = Event(trigger="entropy_low", action="stop", numbers={"entropy": 0.1}, text="entropy fell")
    with TrainingRun(toy_config(tmp_path, 5), Ranks.alone()) as run:
        run.resume(toy.restore)
        with run.step(1) as log:
            log.decide(Decision(stop=True, events=(event,)))
        run.stop(Decision(stop=True, events=(event,)))
        assert run.should_stop()
        assert run.finish(1, toy.save) is ExitCode.STOPPED_BY_CONTROLLER
    assert (tmp_path / "toy" / "checkpoints" / "step_000001").is_dir()
    assert "stopping: entropy fell" in (tmp_path / "toy" / "console.log").read_text()
    assert list(read_decisions(tmp_path / "toy" / "decisions.jsonl")) == [(1, event)]


def test_phases_add_up_to_the_step(tmp_path: Path) -> None:
    toy_train(toy_config(tmp_path, 8), Ranks.alone(), pause=0.01)
    for row in read_rows(tmp_path / "toy" / "metrics.jsonl"):
        seconds = {name.removeprefix(TIMING_PREFIX): value for name, value in row.items() if "seconds" in name}
        total, saving = seconds.pop("step"), seconds.pop("save", 0.0)
        assert sum(seconds.values()) == pytest.approx(total)
        assert seconds["rollout"] >= 0.01
        assert ("evaluate" in seconds) == (row["step"] % 4 == 0)
        assert (saving > 0) == (row["step"] in (4, 7))  # told in the row after the save


def test_a_longer_run_goes_on_where_the_shorter_one_ended(tmp_path: Path, uninterrupted: list[dict[str, Any]]) -> None:
    toy_train(toy_config(tmp_path, 10, evaluate_every=4), Ranks.alone())
    toy_train(toy_config(tmp_path, 12), Ranks.alone())
    assert [row["step"] for row in reproducible_rows(tmp_path)] == list(range(1, 13))
    assert "changed setting: schedule.steps: 10 -> 12" in (tmp_path / "toy" / "console.log").read_text()
    assert toy_train(toy_config(tmp_path, 12), Ranks.alone()) is ExitCode.FINISHED  # nothing left to do


def test_a_step_that_fails_leaves_no_row(tmp_path: Path) -> None:
    with TrainingRun(toy_config(tmp_path, 5), Ranks.alone()) as run:
        run.resume(Toy().restore)
        with contextlib.suppress(RolloutError), run.step(1) as log:
            log.add({"reward/mean": 1.0})
            raise RolloutError("the engine is gone")
    assert reproducible_rows(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_stops_it_with_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, 1000, pause=0.02)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step    5"):
            break
    os.kill(process.pid, number)
    output = process.communicate()[0]
    assert process.returncode == ExitCode.SAVED_AFTER_SIGNAL
    assert f"stopping: {number.name} was received" in output
    steps = len(reproducible_rows(tmp_path))
    assert (tmp_path / "toy" / "checkpoints" / f"step_{steps:06d}").is_dir()


@pytest.mark.parametrize(
    ("first", "second", "between_s"),
    [
        (signal.SIGINT, signal.SIGINT, 0.0),  # from a keyboard
        (signal.SIGTERM, signal.SIGTERM, 1.1 * TOGETHER_S),  # Slurm's, at the end of a time of grace
        (signal.SIGUSR1, signal.SIGTERM, 1.1 * TOGETHER_S),
    ],
)
def test_a_second_signal_ends_it_at_once(
    first: signal.Signals, second: signal.Signals, between_s: float, tmp_path: Path
) -> None:
    process = start(tmp_path, 5, pause=60.0)
    assert process.stdout is not None
    deadline = time.monotonic() + 30
    while not (tmp_path / "toy" / PAUSING).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, first)
    assert f"{first.name}: stopping" in "".join(process.stdout.readline() for _ in range(2))
    os.kill(process.pid, signal.SIGUSR2 if between_s else second)  # the same request, by another program
    time.sleep(between_s)
    os.kill(process.pid, second)
    assert process.wait() == 128 + second


def test_the_time_limit_stops_it_with_a_checkpoint(tmp_path: Path) -> None:
    config = toy_config(tmp_path, 100_000, time_limit_minutes=0.03)
    assert toy_train(config, Ranks.alone(), pause=0.01) is ExitCode.SAVED_AT_TIME_LIMIT
    steps = len(reproducible_rows(tmp_path))
    assert (tmp_path / "toy" / "checkpoints" / f"step_{steps:06d}").is_dir()


def test_a_signal_on_one_rank_stops_all_of_them(tmp_path: Path) -> None:
    def work(ranks: Ranks) -> tuple[list[bool], ExitCode]:
        with TrainingRun(toy_config(tmp_path, 5), ranks) as run:
            answers = [run.should_stop()]
            if ranks.rank == 1:
                run._stopping._signals.received = signal.SIGTERM
            answers.append(run.should_stop())
            return answers, run.exit_code

    assert run_ranks(3, work) == [([False, True], ExitCode.SAVED_AFTER_SIGNAL)] * 3


def test_several_ranks_equal_one(tmp_path: Path, uninterrupted: list[dict[str, Any]]) -> None:
    def half(ranks: Ranks) -> ExitCode:
        return toy_train(toy_config(tmp_path, 15), ranks)

    def whole(ranks: Ranks) -> ExitCode:
        return toy_train(toy_config(tmp_path, 30), ranks)

    assert run_ranks(2, half) == [ExitCode.FINISHED] * 2
    assert run_ranks(2, whole) == [ExitCode.FINISHED] * 2
    assert [row["policy/loss"] for row in reproducible_rows(tmp_path)][16:] == [
        row["policy/loss"] for row in toy_rows_with_an_evaluation_at(15, tmp_path)
    ][16:]


def toy_rows_with_an_evaluation_at(step: int, root: Path) -> list[dict[str, Any]]:
    """One rank, stopped and continued at the same place: the last step always evaluates."""
    toy_train(toy_config(root / "one", step), Ranks.alone())
    toy_train(toy_config(root / "one", 30), Ranks.alone())
    return reproducible_rows(root / "one")


def test_another_number_of_ranks_goes_on(tmp_path: Path) -> None:
    run_ranks(2, lambda ranks: toy_train(toy_config(tmp_path, 3), ranks))
    assert toy_train(toy_config(tmp_path, 6), Ranks.alone()) is ExitCode.FINISHED


def test_what_one_rank_refuses_all_refuse(tmp_path: Path) -> None:
    toy_train(toy_config(tmp_path, 3), Ranks.alone())
    changed = toy_config(tmp_path, 3)
    changed.seed = 99
    found = run_ranks(2, lambda ranks: TrainingRun(changed, ranks))
    assert all(isinstance(each, ConfigError) for each in found)


def test_a_changed_setting_is_refused_and_the_directory_freed(tmp_path: Path) -> None:
    toy_train(toy_config(tmp_path, 3), Ranks.alone())
    changed = toy_config(tmp_path, 3)
    changed.seed = 5
    with pytest.raises(ConfigError, match=r"seed: 1 before, 5 now; .*"):
        TrainingRun(changed, Ranks.alone())
    assert (tmp_path / "toy" / "LOCK").read_text() == ""
    assert "seed: 1\n" in (tmp_path / "toy" / "config.yaml").read_text()
    (tmp_path / "toy" / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"seed: 1 before, 5 now; .*"):
        TrainingRun(changed, Ranks.alone())


def test_without_a_checkpoint_other_settings_start_afresh(tmp_path: Path) -> None:
    with TrainingRun(toy_config(tmp_path, 5), Ranks.alone()) as run:
        run.resume(Toy().restore)
        with run.step(1) as log:
            log.add({"reward/mean": 0.5})
        run.evaluations.write("base", step=0, settings=SETTINGS, metrics={}, problems=[])
        run.before_training({"evaluation/pass@1": 0.5})
    changed = toy_config(tmp_path, 5)
    changed.seed = 99
    with TrainingRun(changed, Ranks.alone()) as run:
        assert run.resume(Toy().restore) == 0
        assert run.evaluations.known("base", step=0, settings=SETTINGS) is None
    assert reproducible_rows(tmp_path) == []
    assert "seed: 99" in (tmp_path / "toy" / "config.yaml").read_text()


def test_resume_never_refuses_checkpoints(tmp_path: Path) -> None:
    config = toy_config(tmp_path, 3)
    config.resume = Resume.never
    toy_train(config, Ranks.alone())
    with pytest.raises(ConfigError, match=r"resume=never, but .*step_000003 exists"):
        toy_train(config, Ranks.alone())


def test_checkpoints_that_are_all_damaged_do_not_start_afresh(tmp_path: Path) -> None:
    toy_train(toy_config(tmp_path, 3), Ranks.alone())
    (tmp_path / "toy" / "checkpoints" / "step_000003" / "state.json").write_text("{}")
    process = start(tmp_path, 6)
    output = process.communicate()[0]
    assert process.returncode == ExitCode.NO_VALID_CHECKPOINT
    assert "state.json" in output
    with pytest.raises(CheckpointError):
        toy_train(toy_config(tmp_path, 6), Ranks.alone())


def test_a_second_process_is_told_who_is_there(tmp_path: Path) -> None:
    process = start(tmp_path, 5, pause=60.0)
    deadline = time.monotonic() + 30
    while not (tmp_path / "toy" / "config.yaml").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = start(tmp_path, 5)
    assert f"in use by process {process.pid}" in second.communicate()[0]
    assert second.returncode == ExitCode.CONFIG
    process.kill()
    process.wait()


@pytest.mark.parametrize("name", ["", "../up", "/abs", "a/b", ".hidden", "a\nb", "a b"])
def test_names_that_are_no_directory_are_refused(tmp_path: Path, name: str) -> None:
    config = toy_config(tmp_path, 3)
    config.name = name
    with pytest.raises(ConfigError, match="becomes a directory"):
        TrainingRun(config, Ranks.alone())


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path: Path) -> None:
    toy_train(toy_config(tmp_path, 10, save_every=0), Ranks.alone())
    with TrainingRun(toy_config(tmp_path, 20, save_every=0), Ranks.alone()) as run:
        run.resume(Toy().restore)
        for step in (11, 12):  # these are lost: nothing is saved
            with run.step(step) as log:
                log.add({"reward/mean": -1.0})
    time.sleep(1.1)  # event files are ordered by the second in their name
    toy_train(toy_config(tmp_path, 12, save_every=0), Ranks.alone())
    accumulator = EventAccumulator(str(tmp_path / "toy" / "tensorboard"), purge_orphaned_data=True)
    accumulator.Reload()
    events = accumulator.Scalars("reward/mean")
    assert [event.step for event in events] == list(range(1, 13))
    assert all(event.value >= 0 for event in events)


def test_not_a_number_is_null_and_broken_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_metrics(path, 1, {"b": float("nan"), "a": float("inf"), "c": 0.1 + 0.2})
    assert path.read_text() == '{"step": 1, "a": null, "b": null, "c": 0.30000000000000004}\n'
    append_metrics(path, 2, {"c": 1.0})
    with path.open("a") as file:
        file.write('[1]\n{"step": "x"}\n\xff\n{"step": 3, "c": 0.')
    assert [row["step"] for row in read_rows(path)] == [1, 2]
    assert cut_metrics(path, 1) == {"c": 0.1 + 0.2}
    assert path.read_text() == '{"step": 1, "a": null, "b": null, "c": 0.30000000000000004}\n'


def test_evaluations_are_bounded_and_found_again(tmp_path: Path) -> None:
    problem = {"key": "a/1", "task": "a", "samples": 4, "solved": 1, "mean_reward": 0.25, "completion": "x\x1b" * 9000}
    with TrainingRun(toy_config(tmp_path, 3), Ranks.alone()) as run:
        run.resume(Toy().restore)
        same: dict[str, Any] = {"step": 0, "settings": SETTINGS}
        assert run.evaluations.known("base", **same) is None
        run.evaluations.write("base", **same, metrics={"evaluation/pass@1": float("nan"), "x": 1.0}, problems=[problem])
        known = run.evaluations.known("base", **same)
        assert known is not None
        assert (str(known["evaluation/pass@1"]), known["x"]) == ("nan", 1.0)
        others: list[dict[str, Any]] = [{"step": 1}, {"settings": {"evaluation.temperature": 1.0}}, {"settings": {}}]
        for other in others:
            assert run.evaluations.known("base", **(same | other)) is None, other
    content = json.loads((tmp_path / "toy" / "evaluation" / "base.json").read_text())
    assert content["metrics"] == {"evaluation/pass@1": None, "x": 1.0}
    assert len(content["problems"][0]["completion"]) < 5000
    assert "\x1b" not in content["problems"][0]["completion"]


def test_a_final_evaluation_is_not_final_when_the_run_goes_on(tmp_path: Path) -> None:
    toy_train(toy_config(tmp_path, 3), Ranks.alone())
    with TrainingRun(toy_config(tmp_path, 3), Ranks.alone()) as run:
        run.resume(Toy().restore)
        for label, step in (("base", 0), ("final", 3)):
            run.evaluations.write(label, step=step, settings=SETTINGS, metrics={"x": 1.0}, problems=[])
    for steps, remain in ((3, True), (6, False)):
        with TrainingRun(toy_config(tmp_path, steps), Ranks.alone()) as run:
            run.resume(Toy().restore)
            assert run.evaluations.known("base", step=0, settings=SETTINGS)
            assert (run.evaluations.known("final", step=3, settings=SETTINGS) is not None) is remain


def test_metrics_that_cannot_be_written_are_a_storage_error(tmp_path: Path) -> None:
    with TrainingRun(toy_config(tmp_path, 3), Ranks.alone()) as run:
        run.resume(Toy().restore)
        path = tmp_path / "toy" / "metrics.jsonl"
        path.unlink()
        path.mkdir()
        with pytest.raises(StorageError, match=r"metrics\.jsonl"), run.step(1) as log:
            log.add({"reward/mean": 1.0})
