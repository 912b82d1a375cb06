"""The end of a rank together with torchrun, which ends its ranks itself unless it is killed."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping

_STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"
_PR_SET_PDEATHSIG = 1


def end_with_launcher(environ: Mapping[str, str]) -> None:
    """Let the kernel kill this process when the torchrun that has started it is gone; Slurm does so for its steps.

    Ranks that went on would hold the run's directory, and whoever starts the run again would be refused. Other parents
    are of no concern: a shell may end before what it has started with nohup.
    """
    if _STARTED_BY_TORCHRUN not in environ:
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)
