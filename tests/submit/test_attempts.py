"""Which attempts of a job are followed by another one, and which end it."""

from __future__ import annotations

from pathlib import Path

import pytest

from prorl_mega.errors import ExitCode, NoProgressError
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.summary import remove_summary, write_summary
from prorl_mega.slurm.attempts import FILE, begin, is_to_run_again, job_of, outcome, saved_step


def environment(attempt: int, job: str = "7") -> dict[str, str]:
    return {"SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": str(attempt - 1)}


def checkpoint(run: Path, step: int) -> None:
    (run / "checkpoints" / f"step_{step:06d}").mkdir(parents=True)


def test_the_step_is_that_of_the_newest_checkpoint(tmp_path: Path) -> None:
    assert saved_step(tmp_path) == 0
    for name in ("step_000012", "step_000004", "step_000020.tmp", "step_30", "best"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert saved_step(tmp_path) == 12


def test_a_job_that_comes_no_further_is_ended(tmp_path: Path) -> None:
    """Whatever ended the attempts; a node that fails leaves nothing but the record of the beginning."""
    for number in (1, 2, 3):
        assert begin(tmp_path, environment(number), most=3).number == number
    with pytest.raises(
        NoProgressError, match="3 attempts in a row have not come to a checkpoint after step 0"
    ) as error:
        begin(tmp_path, environment(4), most=3)
    assert error.value.exit_code is ExitCode.NO_PROGRESS == 40
    assert begin(tmp_path, environment(1, job="8"), most=3).job == "8", "another submission may try again"


def test_every_checkpoint_is_progress(tmp_path: Path) -> None:
    for number in range(1, 9):
        begin(tmp_path, environment(number), most=2)
        if number % 2:
            checkpoint(tmp_path, number)
    assert [row["step"] for row in read_rows(tmp_path / FILE)] == [0, 1, 1, 3, 3, 5, 5, 7]


def test_tasks_of_an_array_count_by_themselves(tmp_path: Path) -> None:
    array = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "3"}
    assert job_of(array) == "11_3"
    assert job_of(environment(1)) == "7"


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (ExitCode.FINISHED, False),
        (ExitCode.SAVED_AFTER_SIGNAL, True),
        (ExitCode.SAVED_AT_TIME_LIMIT, True),
        (ExitCode.STOPPED_BY_CONTROLLER, False),
        (ExitCode.CONFIG, False),
        (ExitCode.DATA, False),
        (ExitCode.NO_VALID_CHECKPOINT, False),
        (ExitCode.NUMERICS, True),
        (ExitCode.ROLLOUT, True),
        (ExitCode.STORAGE, True),
        (ExitCode.NO_PROGRESS, False),
        (1, True),
        (134, True),
        (137, True),
        (143, True),
    ],
)
def test_what_is_tried_again(code: int, again: bool) -> None:
    assert is_to_run_again(code) is again


def test_every_exit_code_is_decided() -> None:
    undecided = {ExitCode.NUMERICS, ExitCode.ROLLOUT, ExitCode.HANG, ExitCode.STORAGE}  # accidents
    assert {each for each in ExitCode if is_to_run_again(each)} == undecided | {
        ExitCode.SAVED_AFTER_SIGNAL,
        ExitCode.SAVED_AT_TIME_LIMIT,
    }


def test_the_run_s_own_word_comes_before_srun_s(tmp_path: Path) -> None:
    """A rank that was ended for another's failure has the higher code."""
    begin(tmp_path, environment(1), most=3)
    write_summary(tmp_path, ExitCode.CONFIG, "seed: must stay", step=0, rank=1)
    assert outcome(tmp_path, 143) == (ExitCode.CONFIG, "seed: must stay")
    begin(tmp_path, environment(2), most=3)
    assert outcome(tmp_path, 137) == (137, "signal 9 ended a rank"), "the summary is of the attempt before"
    remove_summary(tmp_path)
    assert outcome(tmp_path, 1) == (1, "the run has not said why")


def test_a_run_that_has_not_said_that_it_is_finished_has_failed(tmp_path: Path) -> None:
    """Something in it has ended the process with status 0."""
    begin(tmp_path, environment(1), most=3)
    assert outcome(tmp_path, 0) == (1, "the run has not said that it is finished")
    assert is_to_run_again(outcome(tmp_path, 0)[0])
    write_summary(tmp_path, ExitCode.FINISHED, "finished", step=9, rank=0)
    assert outcome(tmp_path, 0) == (ExitCode.FINISHED, "finished")
    begin(tmp_path, environment(2), most=3)
    assert outcome(tmp_path, 0)[0] == 1, "the summary is of the attempt before"
