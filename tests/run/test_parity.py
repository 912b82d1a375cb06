"""`parity.jsonl`: what a run writes, what a resumed one keeps, and what is made of a file that no run has written."""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from helpers.parity_reports import differing, report_on
from helpers.toy_run import Toy, toy_config

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ExitCode
from prorl_mega.run.jsonl import to_lines
from prorl_mega.run.parity import PARITY, append_parity, cut_parity, latest_parity
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.run.signals import Interrupted
from prorl_mega.types import ParityReport

HOSTILE = "</code><script>alert(1)</script>\ud800\u202e\x1b[31m\n"


def report(step: int) -> ParityReport:
    return report_on(differing(f"k/{HOSTILE}", [0.0, step / 64]), version=step)


def steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / PARITY).read_text().splitlines()]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / PARITY
    assert latest_parity(path) is None
    append_parity(path, 3, None)
    assert not path.exists()
    broken = differing("a", [float("nan"), 0.5])
    for step, each in ((1, report(1)), (2, report_on(broken))):
        append_parity(path, step, each)
    assert latest_parity(path) == (2, report_on(broken))
    cut_parity(path, 1)
    assert latest_parity(path) == (1, report(1))
    assert latest_parity(path)[1].worst[0].key == f"k/{HOSTILE}"  # type: ignore[index]


def toy_train(root: Path, last: int, *, killed_in: int = 0) -> ExitCode:
    """Steps with a report every second one; a checkpoint every third. `killed_in`: ends before that step's checkpoint,
    in the middle of writing a line."""
    toy = Toy()
    with TrainingRun(toy_config(root, 8), Ranks.alone()) as run:
        step = run.resume(toy.restore)
        while step < last:
            step += 1
            with run.step(step) as log:
                log.add({"reward/mean": toy.advance()})
                if step % 2 == 0:
                    log.keep_parity(report(step))
            if step == killed_in:
                with (root / "toy" / PARITY).open("a") as file:
                    file.write('{"step": 9, "version"')
                return ExitCode.FINISHED
            if run.due_to_save(step):
                run.save(step, toy.save)
        return run.finish(step, toy.save)


def test_a_run_that_was_killed_has_the_lines_of_one_that_was_not(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    toy_train(whole, 8)
    assert steps(whole / "toy") == [2, 4, 6, 8]
    for step in (2, 4, 5):  # once before the first checkpoint, which begins anew, and twice after that of step 3
        toy_train(killed, 8, killed_in=step)
    toy_train(killed, 8)
    assert (killed / "toy" / PARITY).read_text() == (whole / "toy" / PARITY).read_text()


def test_a_step_that_is_stopped_in_its_evaluation_keeps_its_report(tmp_path: Path) -> None:
    toy = Toy()
    with TrainingRun(toy_config(tmp_path, 8), Ranks.alone()) as run:
        run.resume(toy.restore)
        with contextlib.suppress(Interrupted), run.step(1, toy.save) as log:
            log.begin_update()
            log.keep_parity(report(1))
            raise Interrupted
    assert not (tmp_path / "toy" / PARITY).exists()
    with TrainingRun(toy_config(tmp_path, 8), Ranks.alone()) as run:
        assert run.next_step(run.resume(toy.restore)) == 1
        with run.step(1, toy.save):
            pass
    assert latest_parity(tmp_path / "toy" / PARITY) == (1, report(1))


@pytest.mark.parametrize(
    "change",
    [
        {"worst": [{"key": "a"}]},
        {"edges": ["high"]},
        {"edges": [1.0]},
        {"whole": None},
        {"whole": asdict(report(2).whole) | {"tokens": 7}},
        {"whole": asdict(report(2).whole) | {"counts": []}},
        {"whole": asdict(report(2).whole) | {"mean": 10**400}},
        {"by_version": [asdict(report(2).whole) | {"last": 10**30}]},
        {"by_position": [asdict(report(2).whole) | {"first": -1}]},
        {"answers": 10**400},
        {"version": True},
        {"step": -1},
    ],
    ids=itertools.count(),
)
def test_a_line_that_no_run_writes_is_left_out(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / PARITY
    append_parity(path, 1, report(1))
    with path.open("a") as file:
        file.write(to_lines([{"step": 2} | asdict(report(2)) | change]))
    assert latest_parity(path) == (1, report(1))
