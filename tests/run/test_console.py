"""What people see is complete, harmless and in order; the time left follows from what is still to come."""

import io
import re
from pathlib import Path

import pytest

from prorl_mega.config.schema import ScheduleConfig
from prorl_mega.run.console import Console, duration, printable
from prorl_mega.run.progress import RunProgress, due, times_due


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7380, "2 h 03 min"),
        (273_600, "3 d 04 h"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_escapes_and_text_direction_are_removed() -> None:
    assert printable("a\x1b[31mb\r\x00c\u202ed\u200be\n\tf\x85é漢\ud800") == "a[31mbcde\n\tfé漢"


def test_lines_go_to_the_stream_and_to_the_log(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(tmp_path / "console.log", stream)
    console.line("one\x07")
    with console.phase("starting the engine"):
        pass
    console.close()
    assert stream.getvalue() == "one\nstarting the engine …\nstarting the engine … 0.0 s\n"
    log = (tmp_path / "console.log").read_text()
    assert re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (.*)$", log, re.M) == stream.getvalue().splitlines()


def test_a_terminal_shows_the_phase_on_its_last_line(tmp_path: Path) -> None:
    stream = Terminal()
    console = Console(tmp_path / "console.log", stream)
    console.status("step 1/2: rollout")
    console.line("news")
    console.close()
    shown = stream.getvalue()
    assert shown.index("step 1/2: rollout … 0.0 s") < shown.index("\r\x1b[2Knews\n") < shown.rindex("step 1/2: rollout")
    assert shown.endswith("\r\x1b[2K")
    assert "rollout" not in (tmp_path / "console.log").read_text()


def test_other_ranks_and_closed_pipes_are_silent(tmp_path: Path) -> None:
    stream = io.StringIO()
    other = Console(None, stream)
    other.line("x")
    with other.phase("y"):
        other.status("z")
    other.close()
    assert stream.getvalue() == ""
    first = Console(tmp_path / "console.log", stream)
    stream.close()
    first.line("nobody reads this")
    first.close()
    assert "nobody reads this" in (tmp_path / "console.log").read_text()


def test_due() -> None:
    assert [step for step in range(1, 8) if due(step, 3, 7)] == [3, 6, 7]
    assert [step for step in range(1, 8) if due(step, 0, 7)] == [7]


def test_time_left_counts_evaluations_and_saves_that_are_still_to_come() -> None:
    progress = RunProgress(ScheduleConfig(steps=10, evaluate_every=4, save_every=5))
    assert progress.seconds_left(0) is None
    progress.step_done({"rollout": 2.0, "step": 2.0})
    assert progress.seconds_left(1) == pytest.approx(9 * 2.0)
    progress.step_done({"rollout": 2.0, "evaluate": 30.0, "step": 32.0})
    progress.save_done(7.0)
    # still to come after step 4: six steps, evaluations after 8 and 10, saves after 5 and 10
    assert progress.seconds_left(4) == pytest.approx(6 * 2.0 + 2 * 30.0 + 2 * 7.0)
    assert progress.seconds_left(10) == 0.0


def test_the_time_left_of_an_endless_run_costs_nothing() -> None:
    for step in range(12):
        for every in range(6):
            for steps in range(1, 12):
                coming = sum(due(each, every, steps) for each in range(step + 1, steps + 1))
                assert times_due(step, every, steps) == coming, (step, every, steps)
    progress = RunProgress(ScheduleConfig(steps=10**15, evaluate_every=10, save_every=3))
    progress.step_done({"evaluate": 1.0, "step": 2.0})
    progress.save_done(3.0)
    assert progress.seconds_left(0) == pytest.approx(10**15 * 2.1)


def test_the_line_of_a_step() -> None:
    progress = RunProgress(ScheduleConfig(steps=40, evaluate_every=0, save_every=0))
    for _ in range(3):
        progress.step_done({"step": 2.5})
    metrics = {
        "reward/mean": 0.531,
        "pass/train": 0.41,
        "policy/kl": 0.003,
        "policy/entropy": float("nan"),
        "length/mean": 24.2,
    }
    assert progress.line(14, metrics, 2.1) == (
        "step 14/40  reward 0.53  pass 0.41  kl 0.0030  entropy nan  len 24  2.1 s/step  left 1 min 05 s"
    )
    assert progress.line(40, {}, 2.1) == "step 40/40  2.1 s/step"
    idle = {"seconds/rollout": 0.5, "seconds/servers_idle": 2.3}
    assert progress.line(40, idle, 2.0) == "step 40/40  2.0 s/step  idle 25 % / 100 %", "at most the whole step"
