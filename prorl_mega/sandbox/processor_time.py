"""The processor time of a program, and how long it waited for a processor, as the kernel counts both from outside.

Whether a thread looks ready to run at some moment is up to the program: it can sleep and wake, or wait in the kernel.
How long it stood in the queue for a processor is written by the scheduler alone.
"""

from __future__ import annotations

import contextlib
import itertools
import os

_MANY = 64  # threads of a process that are looked at


class ProcessorTime:
    """Totals of one run, in seconds, which grow with every `look`. A sandbox serves one run at a time."""

    def __init__(self, guest: int) -> None:
        """`guest` is the process that forks the program, which has not started yet."""
        self._guest = guest
        self._seen = {guest: _on_or_in_queue(guest, guest)}  # by thread, in nanoseconds
        self._present = 0.0
        self.used = 0.0
        self.running = False  # whether there was a program at the last look

    @property
    def starved(self) -> float:
        """How long the most patient thread was kept waiting by other programs.

        What threads of one program may have taken from each other, all processor time but its own, does not count.
        """
        return max(0.0, self._present - self.used)

    def look(self) -> None:
        programs = descendants(self._guest)
        self.running = bool(programs)
        now = {self._guest: _on_or_in_queue(self._guest, self._guest)}
        for pid in programs:
            with contextlib.suppress(OSError):
                for thread in itertools.islice(os.listdir(f"/proc/{pid}/task"), _MANY):
                    now[int(thread)] = _on_or_in_queue(pid, int(thread))
        growth = {thread: max(0, count - self._seen.get(thread, 0)) for thread, count in now.items()}
        self._present += growth.pop(self._guest) / 1e9  # the program waits while its parent works
        self._present += max(growth.values(), default=0) / 1e9
        self._seen = now
        used = 0.0
        for pid in programs:
            with contextlib.suppress(OSError):
                used += sum(map(int, read_stat(f"{pid}")[11:15])) / os.sysconf("SC_CLK_TCK")  # and ended children's
        self.used = max(self.used, used)


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, as far as they can be seen at this moment."""
    found, todo = [], [pid]
    while todo:
        each = todo.pop()
        with contextlib.suppress(OSError), open(f"/proc/{each}/task/{each}/children", "rb") as file:
            children = [int(word) for word in file.read().split()]
            found += children
            todo += children
    return found


def read_stat(process: str) -> list[bytes]:
    """The fields of /proc/PROCESS/stat from the state on; the name before it may contain anything."""
    with open(f"/proc/{process}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def _on_or_in_queue(pid: int, thread: int) -> int:
    """Nanoseconds that a thread has run or waited to run; 0 when it is gone or the kernel does not count."""
    try:
        with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:
            ran, waited, _ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0
    return ran + waited
