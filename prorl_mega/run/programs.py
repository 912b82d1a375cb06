"""Programs of this package that another one runs: the runs of a study, the steps of a workflow. They stop with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from prorl_mega.errors import StoppedError
from prorl_mega.run.signals import StopSignals

LOOK_S = 0.2  # between two looks for a signal


class Programs(contextlib.AbstractContextManager["Programs"]):
    """Runs programs with one thread each. Inside the context, a signal to stop is passed on to all that run."""

    def __init__(self) -> None:
        self._signals = StopSignals(announce=True)

    def __enter__(self) -> Programs:
        self._signals.install()
        return self

    def __exit__(self, *exception: object) -> None:
        self._signals.restore()

    def run(self, program: str, arguments: list[str], log: Path) -> int:
        """Run `python -m prorl_mega.<program>` to its end, from any thread; what it prints is added to `log`.

        Returns its exit status. Raises StoppedError after a signal, when it has saved what it does and ended, or
        instead of starting it.
        """
        self._raise_if_stopped()
        told = False
        with log.open("ab") as file, subprocess.Popen(
            [sys.executable, "-m", f"prorl_mega.{program}", *arguments],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as process:  # fmt: skip
            while True:
                try:
                    status = process.wait(LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    if self._signals.received is not None and not told:
                        process.terminate()
                        told = True
        self._raise_if_stopped()
        return status

    def _raise_if_stopped(self) -> None:
        if (received := self._signals.received) is not None:
            raise StoppedError(f"stopped by {received.name}; what is finished is kept, and the same command goes on")
