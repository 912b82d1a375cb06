"""The end of a job that hangs: the rank that holds up the others is named, with the stacks of all that can be asked.

Every rank has a thread that writes a heartbeat, `hang/rank_00003.json`, and watches the pulse of its own main thread.
Ranks that wait in a collective for one that has stopped have no pulse either, and all find out at about the same time;
which of them is to blame is in the heartbeats: one has none any more, or is in another phase. A rank whose thread
cannot run, because something holds the interpreter, is ended by a timer that needs no interpreter.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.documents import BrokenDocumentError, read_json
from prorl_mega.errors import ExitCode
from prorl_mega.run import pulse
from prorl_mega.run.console import Console
from prorl_mega.run.summary import write_summary

FOLDER = "hang"
_SHORTEST_S, _LONGEST_S = 0.2, 30.0  # between two heartbeats
_LATEST = 1.5  # times the time-out: the timer that needs no interpreter
_LARGEST = 1 << 16  # bytes of a heartbeat


class Watchdog:
    """Ends this process with ExitCode.HANG when its main thread has no pulse for `timeout_s`."""

    def __init__(self, directory: Path, ranks: Ranks, console: Console, timeout_s: float) -> None:
        self._folder = directory / FOLDER
        self._directory, self._rank, self._console, self._timeout_s = directory, ranks.rank, console, timeout_s
        self._tick_s = min(_LONGEST_S, max(_SHORTEST_S, timeout_s / 10))
        self._over = threading.Event()
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("rank_*"):  # of a job that was killed
            number = int(path.stem.removeprefix("rank_"))
            if number == ranks.rank or (ranks.is_first and number >= ranks.world_size):
                path.unlink(missing_ok=True)
        self._stacks = (self._folder / f"rank_{ranks.rank:05d}.txt").open("w")
        self._arm()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        self._stacks.close()
        for suffix in ("json", "txt"):
            with contextlib.suppress(OSError):
                (self._folder / f"rank_{self._rank:05d}.{suffix}").unlink()
        with contextlib.suppress(OSError):
            self._folder.rmdir()  # the last rank

    def _watch(self) -> None:
        seen, since = -1, time.monotonic()
        while not self._over.wait(self._tick_s):
            self._arm()
            now, phase = time.monotonic(), self._console.current or "between two phases"  # where ranks vote
            if pulse.count() != seen:
                seen, since = pulse.count(), now
            with contextlib.suppress(OSError):  # a full disk is no hang
                self._write(phase, now - since)
            if now - since > self._timeout_s - 4 * self._tick_s:  # a look, and the wait for the others, are part of it
                self._end(phase, now - since)

    def _arm(self) -> None:
        """Put the end off that comes when this is not called any more."""
        faulthandler.dump_traceback_later(_LATEST * self._timeout_s, exit=True, file=self._stacks)

    def _write(self, phase: str, idle_s: float) -> None:
        words = {"rank": self._rank, "host": socket.gethostname(), "pid": os.getpid(), "phase": phase, "idle_s": idle_s}
        path = self._folder / f"rank_{self._rank:05d}.json"
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(words))
        os.replace(aside, path)

    def _end(self, phase: str, idle_s: float) -> None:
        faulthandler.dump_traceback(file=self._stacks)
        time.sleep(2 * self._tick_s)  # for the stacks of the others
        cause = f"no progress for {idle_s:.1f} s in {phase!r}; {culprits(self._folder, 4 * self._tick_s)}"
        text = f"error: rank {self._rank}: {cause}; stacks are in {self._folder}\n"
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), text.encode())
        write_summary(self._directory, ExitCode.HANG, cause, step=None, rank=self._rank)
        os._exit(ExitCode.HANG)


def culprits(folder: Path, silent_s: float) -> str:
    """The ranks that others may be waiting for, in words, from the heartbeats in `folder`.

    A rank is silent when its heartbeat is `silent_s` older than the newest, by the file server's clock.
    """
    beats: list[dict[str, Any]] = []
    for path in sorted(folder.glob("rank_*.json")):
        with contextlib.suppress(OSError, BrokenDocumentError, TypeError):
            beats.append(dict(read_json(path, _LARGEST)) | {"at": path.stat().st_mtime})
    newest = max((each["at"] for each in beats), default=0.0)
    if silent := [each for each in beats if newest - each["at"] > silent_s]:
        return "; ".join(
            f"{_name(each)} has given no sign of life for {newest - each['at']:.0f} s, its last phase is "
            f"{each.get('phase')!r}"
            for each in silent
        )
    phases = Counter(str(each.get("phase")) for each in beats)
    usual = phases.most_common(1)[0][0] if phases else ""
    if others := [each for each in beats if str(each.get("phase")) != usual]:
        return "; ".join(f"{_name(each)} is in {each.get('phase')!r}, the others in {usual!r}" for each in others[:4])
    return "all ranks are in the same phase"


def _name(beat: dict[str, Any]) -> str:
    return f"rank {beat.get('rank')} (pid {beat.get('pid')} on {beat.get('host')})"
