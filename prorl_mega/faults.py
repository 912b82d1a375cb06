"""Faults on purpose: named sites of a run at which a process dies, stands still, finds the disk full or a NaN.

A site costs the look-up of a name. What the settings ask for (`config/faults.py`) happens in the step and on the rank
that they name, and leaves a witness before it happens, `faults/00-save_renamed-1.json` in the run's directory: so that
a test which passes because nothing was caused can be told from one that survived, and so that the next start of the
run, under the same settings, goes on.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path
from typing import NoReturn

from prorl_mega.config.faults import AT_DATA, FaultAction, FaultConfig

FOLDER = "faults"


class InjectedError(RuntimeError):
    """The exception that nobody expects."""


class _Armed:
    """The faults of this process, and the step that it is in."""

    def __init__(self, faults: list[FaultConfig], rank: int, folder: Path) -> None:
        self.step = 0
        self._folder = folder
        self.by_site: dict[str, list[tuple[int, FaultConfig]]] = {}
        for index, fault in enumerate(faults):
            if fault.rank == rank:
                self.by_site.setdefault(fault.site, []).append((index, fault))

    def due(self, site: str) -> FaultConfig | None:
        """The fault that happens now; its witness is on disk."""
        for index, fault in self.by_site.get(site, []):
            if fault.step == self.step and self._is_witnessed(index, fault):
                return fault
        return None

    def _is_witnessed(self, index: int, fault: FaultConfig) -> bool:
        self._folder.mkdir(exist_ok=True)
        words = {"site": fault.site, "action": fault.action, "step": self.step, "rank": fault.rank, "pid": os.getpid()}
        for time_ in range(1, fault.times + 1):
            name = f"{index:02d}-{fault.site.replace('/', '_')}-{time_}.json"
            try:
                with (self._folder / name).open("x") as file:
                    file.write(json.dumps(words | {"time": time.time()}) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            except FileExistsError:
                continue
            return True
        return False


_armed: _Armed | None = None


def arm(faults: list[FaultConfig], rank: int, directory: Path) -> None:
    """Cause these faults in this process from now on; none: disarm."""
    global _armed
    _armed = _Armed(faults, rank, directory / FOLDER) if faults else None


def begin_step(step: int) -> None:
    """Say which step this process is in."""
    if _armed is not None:
        _armed.step = step


def reach(site: str) -> FaultAction | None:
    """Say that this process is at `site`. What is due there happens, or is returned if the caller has to do it because
    it is about numbers that the caller has."""
    if _armed is None or (fault := _armed.due(site)) is None:
        return None
    if fault.action in AT_DATA:
        return fault.action
    _happen(fault)
    return None


def _happen(fault: FaultConfig) -> None:
    match fault.action:
        case FaultAction.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        case FaultAction.exit:
            os._exit(0)
        case FaultAction.stop:
            os.kill(os.getpid(), signal.SIGSTOP)
        case FaultAction.terminate:
            signal.raise_signal(signal.SIGTERM)
        case FaultAction.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"(injected at {fault.site})")
        case FaultAction.error:
            raise InjectedError(f"injected at {fault.site}, step {fault.step}, rank {fault.rank}")
        case FaultAction.hang:
            _wait_for_ever()


def _wait_for_ever() -> NoReturn:
    while True:
        time.sleep(3600)
