"""The processor time of a program, and how long it waited for a processor, as the kernel counts both from outside.

Whether a thread looks ready to run at some moment is up to the program: it can sleep and wake, or wait in the kernel.
How long it stood in the queue for a processor is written by the scheduler alone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time

_MANY = 64  # threads of a process that are looked at


class ProcessorTime:
    """Totals of one run, in seconds, which grow with every `look`. A sandbox serves one run at a time."""

    def __init__(self, guest: int) -> None:
        """`guest` is the process that forks the program, which has not started yet."""
        self._guest = guest
        self._looked = time.monotonic_ns()
        self._seen = {guest: _thread(guest, guest)}
        self._present = {guest: 0}  # nanoseconds on a processor or in the queue for one, by thread
        self._most = 0  # of the threads of the program
        self.used = 0.0
        self.running = False  # whether there was a program at the last look

    @property
    def starved(self) -> float:
        """How long the most patient thread was kept waiting by other programs.

        What threads of one program may have taken from each other, all processor time but its own, does not count.
        """
        return max(0.0, (self._present[self._guest] + self._most) / 1e9 - self.used)  # one waits for the other

    def look(self) -> None:
        programs = descendants(self._guest)
        self.running = bool(programs)
        before, self._seen = self._seen, {self._guest: _thread(self._guest, self._guest)}
        for pid in programs:
            self._seen |= {thread: _thread(pid, thread) for thread in _threads(pid)}
        now = time.monotonic_ns()
        # A thread that was not there before goes on where the one that made it can have been at most.
        self._present = {
            thread: self._present.get(thread, self._most) + self._grown(thread, before, now - self._looked)
            for thread in self._seen
        }
        self._looked = now
        self._most = max(self._most, *(self._present[each] for each in self._seen if each != self._guest), 0)
        self.used = max(self.used, sum(map(_used, programs)))

    def _grown(self, thread: int, before: dict[int, tuple[int, bool]], passed: int) -> int:
        """Nanoseconds that a thread has run or waited since the look `before`, which was `passed` ago.

        The scheduler counts a wait when it is over. A thread that was ready then and is now, and has not run, which it
        would have to in order to sleep, has waited all the time; that is added ahead of the scheduler.
        """
        (count, ready), (counted, was_ready) = self._seen[thread], before.get(thread, (0, False))
        if ready and was_ready and count <= counted:
            self._seen[thread] = counted + passed, True
            return passed
        return max(0, count - counted)


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


def _used(pid: int) -> float:
    """Seconds that a process and its children that have ended have computed."""
    with contextlib.suppress(OSError):
        return sum(map(int, read_stat(f"{pid}")[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _threads(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(thread) for thread in itertools.islice(os.listdir(f"/proc/{pid}/task"), _MANY)]
    return []


def _thread(pid: int, thread: int) -> tuple[int, bool]:
    """Nanoseconds that a thread has run or waited to run, and whether it is ready; 0 where nothing counts them."""
    try:
        with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:
            ran, waited, _ = map(int, file.read().split())
        return ran + waited, read_stat(f"{pid}/task/{thread}")[
            0
        ] == b"R"  # in this order: it was ready after that count
    except (OSError, ValueError):
        return 0, False
