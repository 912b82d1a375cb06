"""The attempts in which a job is run: each is recorded, and their outcome says whether there will be another.

A job is put back into the queue after it has saved, and after an accident. A job that comes to the same step again and
again is ended: it would do so for ever, at the price of its nodes.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prorl_mega.errors import ExitCode, NoProgressError
from prorl_mega.run.jsonl import append_durably, read_rows
from prorl_mega.run.summary import CRASHED, read_summary

FILE = "attempts.jsonl"
_STEP = re.compile(r"step_(\d{6,})")
_SCONTROL_S = 60
AGAIN = frozenset({ExitCode.SAVED_AFTER_SIGNAL, ExitCode.SAVED_AT_TIME_LIMIT})
FINAL = frozenset(
    {
        ExitCode.FINISHED,
        ExitCode.STOPPED_BY_CONTROLLER,
        ExitCode.CONFIG,
        ExitCode.DATA,
        ExitCode.NO_VALID_CHECKPOINT,
        ExitCode.NO_PROGRESS,
    }
)
"""Codes that another attempt would not change. Every other one is an accident."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Attempt:
    """A row of `attempts.jsonl`."""

    job: str  # of Slurm; with the index of an array's task
    number: int  # from 1
    began: float  # seconds since 1970
    step: int  # the newest checkpoint at its beginning


def job_of(environ: Mapping[str, str]) -> str:
    """The name of this job that a requeue keeps."""
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environ.get("SLURM_JOB_ID", "")


def saved_step(run: Path) -> int:
    """The step of the newest checkpoint, 0 without any. It is not verified: that is for the run itself."""
    found = [_STEP.fullmatch(path.name) for path in (run / "checkpoints").glob("step_*")]
    return max((int(each[1]) for each in found if each), default=0)


def begin(run: Path, environ: Mapping[str, str], *, most: int) -> Attempt:
    """Record an attempt. Raises NoProgressError if the last `most` of this job have begun where this one does."""
    attempt = Attempt(
        job=job_of(environ),
        number=int(environ.get("SLURM_RESTART_COUNT", "0")) + 1,
        began=time.time(),
        step=saved_step(run),
    )
    steps = [row["step"] for row in read_rows(run / FILE) if row.get("job") == attempt.job]
    if len(steps) >= most and set(steps[-most:]) == {attempt.step}:
        raise NoProgressError(
            f"{most} attempts in a row have not come to a checkpoint after step {attempt.step}; {run / 'slurm'} has "
            f"their logs and {run / 'run_summary.json'} the last cause. Submit again when it is mended"
        )
    append_durably(run / FILE, [asdict(attempt)])
    return attempt


def outcome(run: Path, code: int) -> tuple[int, str]:
    """The exit code of the attempt that has just ended, and its cause in a line.

    srun says the highest code of all ranks, which may be that of one that was ended for another's failure: what the
    run says itself comes first, if it is of this attempt. A run that has finished has said so: without its word a
    status of 0 is that of a program which something has ended early.
    """
    rows = list(read_rows(run / FILE))
    summary: Mapping[str, Any] = read_summary(run)
    if rows and summary and summary["time"] >= rows[-1]["began"]:
        return int(summary["exit_code"]), str(summary["cause"])
    if code > 128:
        return code, f"signal {code - 128} ended a rank"
    return code or CRASHED, "the run has not said why" if code else "the run has not said that it is finished"


def is_to_run_again(code: int) -> bool:
    return code in AGAIN or code not in FINAL


def is_running(job: str) -> bool:
    """Whether Slurm still wants the job; not after scancel, nor when it has put it back into the queue itself."""
    return "JobState=RUNNING" in _scontrol("show", "job", "-o", job).split()


def requeue(job: str) -> None:
    """Put a running job back into the queue: Slurm ends it now, this process included."""
    _scontrol("requeue", job)


def _scontrol(*arguments: str) -> str:
    done = subprocess.run(
        ["scontrol", *arguments], capture_output=True, text=True, check=True, timeout=_SCONTROL_S, env=dict(os.environ)
    )
    return done.stdout
