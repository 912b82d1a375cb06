"""A run that survives its providers: a kernel that crashes, hangs or breaks the device costs one case's provider.

The measuring process says whose turn it is in a file. When it dies, or one provider takes too long, another process
continues with the same case, without that provider.
"""

from __future__ import annotations

import faulthandler
import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from prorl_kernels.benchmarks.measure import BARE
from prorl_kernels.benchmarks.provider import Provider

PATIENCE = 100  # seconds for one provider in one case, compilation and tuning included
FINISHED = (0, 3)  # exit statuses of a run that came to its end; 3: an implementation of this package failed


def supervise(command: list[str], folder: Path, seconds: float) -> int:
    """Run `command`, repeatedly while providers kill it; adds `--seconds` and the rest. Returns its exit status."""
    began, first, left_out = time.monotonic(), 0, list[str]()
    turn = folder / "turn.json"
    turn.unlink(missing_ok=True)
    while True:
        left = max(0.0, seconds - (time.monotonic() - began))
        extra = ["--seconds", str(left), "--first", str(first), "--turn", str(turn), "--left-out", *left_out]
        status = subprocess.run([*command, *extra], check=False).returncode
        if status in FINISHED or not turn.exists():
            return status
        culprit = json.loads(turn.read_text())
        turn.unlink()
        print(f"{culprit['provider']} ended the process (status {status}); going on without it", flush=True)
        if culprit["provider"] == BARE.name:
            return status
        first, left_out = culprit["case"], [*left_out, culprit["provider"]]


class Turn:
    """Writes whose turn it is to a file and ends the process when it takes too long; without a path, does nothing."""

    def __init__(self, path: Path | None = None) -> None:
        self._path, self.case = path, 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, provider: str) -> None:
        if self._path is not None:
            self._path.write_text(json.dumps({"case": self.case, "provider": provider}))
            faulthandler.dump_traceback_later(PATIENCE, exit=True)

    def over(self) -> None:
        if self._path is not None:
            faulthandler.cancel_dump_traceback_later()
            self._path.unlink(missing_ok=True)


def without(providers: list[Provider], names: list[str]) -> list[Provider]:
    """The same list; the providers with these names refuse every case."""
    reason = "ended the measuring process before"
    return [replace(each, refused=reason) if each.name in names else each for each in providers]
