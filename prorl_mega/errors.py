"""Errors that end a run, each with the exit code that a scheduler can act on.

The table is part of the interface (README, "Exit codes"): a job script may requeue on 10 and 11 and must not on the
others. No error path ever exits with 0.
"""

import io
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import NoReturn


class ExitCode(IntEnum):
    """The status that the process returns to the shell."""

    FINISHED = 0
    SAVED_AFTER_SIGNAL = 10  # preempted; what is finished is kept: requeue
    SAVED_AT_TIME_LIMIT = 11  # the configured time budget was reached; what is finished is kept: requeue
    STOPPED_BY_CONTROLLER = 12  # a bound of the settings was crossed; a checkpoint was written: look before going on
    CONFIG = 20
    DATA = 21
    NO_VALID_CHECKPOINT = 22
    NUMERICS = 23
    ROLLOUT = 24
    HANG = 25  # a rank made no progress for `cluster.hang_timeout_s`
    STORAGE = 30
    NO_PROGRESS = 40  # several attempts of a job have ended before the same checkpoint


class ProRLError(Exception):
    """Base of the errors that are shown to the user as one message, without a traceback."""

    exit_code = ExitCode.CONFIG


class ConfigError(ProRLError, ValueError):
    """A setting is wrong or settings contradict each other. The message names the key and what would work."""


class ModelError(ConfigError):
    """A Hugging Face directory is missing, incomplete or of an unsupported architecture."""


class DataError(ProRLError, ValueError):
    """A data file or a problem is broken. The message names the file and the line."""

    exit_code = ExitCode.DATA


class CheckpointError(ProRLError):
    """Checkpoints exist but none of them can be used."""

    exit_code = ExitCode.NO_VALID_CHECKPOINT


class NumericsError(ProRLError, ArithmeticError):
    """A loss, gradient or log-probability is not finite."""

    exit_code = ExitCode.NUMERICS


class ReplicaError(NumericsError):
    """Data-parallel replicas hold different weights: a rank computes wrong. The message names it."""


class RolloutError(ProRLError, RuntimeError):
    """The inference engine cannot produce completions that may be trained on."""

    exit_code = ExitCode.ROLLOUT


class WeightSyncError(RolloutError):
    """The engine's weights are not those that the learner sent."""


class NoInformativeGroupsError(DataError):
    """Dynamic sampling found too few groups whose rewards differ; the message gives the counts by reason."""


class StoppedError(ProRLError):
    """A signal has ended work that other programs do; what they have finished is kept."""

    exit_code = ExitCode.SAVED_AFTER_SIGNAL


class NoProgressError(ProRLError):
    """The attempts of a job come no further."""

    exit_code = ExitCode.NO_PROGRESS


class StorageError(ProRLError, OSError):
    """The disk cannot be written or read: full, read-only, over quota, gone."""

    exit_code = ExitCode.STORAGE


def exit_status(command: Callable[[], None]) -> int:
    """Run a small command and return its exit status; a ProRLError is one line on stderr.

    Characters that a terminal's encoding does not have are written as escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        command()
    except ProRLError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    return int(ExitCode.FINISHED)


def renamed(before: str, now: str) -> NoReturn:
    """End a program that is called by its name of version 0.1, with its current name."""
    print(f"error: `{before}` is now `{now}`", file=sys.stderr)
    sys.exit(int(ExitCode.CONFIG))
