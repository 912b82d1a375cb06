"""The beginning and the end of an attempt of a Slurm job; the script that `prorl_mega.submit` writes calls both.

python -m prorl_mega.attempt begin runs/NAME         records it, or ends a job that makes no progress (exit code 40)
python -m prorl_mega.attempt end runs/NAME CODE      puts the job back into the queue if that is of use
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from prorl_mega.errors import exit_status
from prorl_mega.slurm import attempts

_LOOK_S, _END_S = 1.0, 120.0  # in which Slurm ends the job that it has put back into the queue


def begin(run: Path, most: int) -> int:
    """Returns the exit code: 0, or 40 for a job that makes no progress."""

    def command() -> None:
        attempt = attempts.begin(run, os.environ, most=most)
        print(f"attempt {attempt.number} of job {attempt.job}, from step {attempt.step}", flush=True)

    return exit_status(command)


def end(run: Path, code: int) -> int:
    """Returns the exit code of the job."""
    code, cause = attempts.outcome(run, code)
    print(f"exit code {code}: {cause}", flush=True)
    if not attempts.is_to_run_again(code):
        return code
    job = os.environ["SLURM_JOB_ID"]
    try:
        if attempts.is_running(job):
            print(f"job {job} goes back into the queue", flush=True)
            attempts.requeue(job)
            waited = 0.0  # one that ended by itself before that could be taken for a job that has failed
            while waited < _END_S and attempts.is_running(job):
                time.sleep(_LOOK_S)
                waited += _LOOK_S
        else:
            print(f"job {job} was cancelled, or is in the queue already", flush=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"error: scontrol: {error}; submit the job again to go on", file=sys.stderr)
    return code


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.attempt", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("moment", choices=["begin", "end"])
    parser.add_argument("run", type=Path, help="directory of the run")
    parser.add_argument("code", type=int, nargs="?", default=0, help="exit status of srun")
    parser.add_argument("--most", type=int, default=3, help="attempts in a row without progress that end a job")
    options = parser.parse_args(arguments)
    return begin(options.run, options.most) if options.moment == "begin" else end(options.run, options.code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
