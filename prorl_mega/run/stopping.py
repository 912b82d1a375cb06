"""The end of a job before its work is done: a signal, the end of the time that it was given or that Slurm gives it,
and a rank that hangs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from prorl_mega.config.schema import RunConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ExitCode
from prorl_mega.run.console import Console
from prorl_mega.run.pulse import beat
from prorl_mega.run.signals import StopSignals
from prorl_mega.run.watchdog import Watchdog

END = "SLURM_JOB_END_TIME"
"""Slurm's variable: the second since 1970 in which it ends the job."""


class Stopping:
    """Whether the ranks of a job have to stop. A signal or a clock of one of them is enough for all."""

    def __init__(self, config: RunConfig, ranks: Ranks, directory: Path, console: Console) -> None:
        """The time of `schedule.time_limit_minutes` begins now. `console` knows the phase that this rank is in."""
        self._ranks = ranks
        self._limit_minutes = config.schedule.time_limit_minutes
        self._signals = StopSignals(announce=ranks.is_first)
        self._directory, self._console, self._hang_s = directory, console, config.cluster.hang_timeout_s
        self._watchdog: Watchdog | None = None
        self._opened = time.monotonic()
        end, before_s = os.environ.get(END, ""), config.cluster.stop_before_end_s
        self._slurm_ends = int(end) - before_s if end.isdecimal() and before_s else None

    def install(self) -> None:
        """Take signals over, again after a library has installed handlers of its own; begin to watch."""
        self._signals.install()
        if self._watchdog is None and self._hang_s:
            self._watchdog = Watchdog(self._directory, self._ranks, self._console, self._hang_s)

    def restore(self) -> None:
        self._signals.restore()
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._opened

    def is_asked(self) -> bool:
        """Whether this rank has to stop. Cheap, and not collective; whoever asks is alive."""
        beat()
        return self._signals.received is not None or bool(self._late())

    def vote(self) -> tuple[ExitCode, str]:
        """The exit code of a job that has to stop, FINISHED if it need not, and why. Collective."""
        received = self._signals.received.name if self._signals.received else ""
        votes = self._ranks.gather([received, self._late()])
        if signals := [name for name, _ in votes if name]:
            return ExitCode.SAVED_AFTER_SIGNAL, f"{signals[0]} was received"
        if late := [why for _, why in votes if why]:
            return ExitCode.SAVED_AT_TIME_LIMIT, late[0]
        return ExitCode.FINISHED, ""

    def _late(self) -> str:
        """Why the time is over; empty if it is not."""
        if 0 < self._limit_minutes <= self.elapsed_s / 60:
            return f"schedule.time_limit_minutes={self._limit_minutes:g} has been reached"
        if self._slurm_ends is not None and time.time() >= self._slurm_ends:
            return "the end of the Slurm job is near (cluster.stop_before_end_s)"
        return ""
