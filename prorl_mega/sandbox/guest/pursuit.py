"""The end of an exception of a program: in a handler of its tests, or in the interpreter, which says nothing then.

Loops and protocols of the interpreter take some exceptions for an answer: a StopIteration ends `map`, an IndexError
the old protocol of sequences, an AttributeError denies an attribute. What they take has left a frame and arrives in
no other.
"""

from __future__ import annotations

import dis
import sys
import threading
import types
from typing import Any

_ENDS = ("RETURN", "YIELD", "RESUME")  # of a frame that has not ended by an exception; the last one after a yield
_LOOPS = ("FOR_ITER", "SEND", "GET_ANEXT")  # instructions that report the exception by which they end


class Pursuit:
    """Exceptions that are followed from frame to frame until they have ended, in every thread for itself."""

    def __init__(self, tests: str) -> None:
        """`tests` is the file name of the code that may handle them."""
        self._tests = tests
        self._all: list[_Flight] = []
        self._active = threading.local()

    def follow(self, error: BaseException) -> None:
        """Follow an exception that is about to be raised by the caller."""
        frame: types.FrameType | None = sys._getframe(1)
        outermost = frame
        while frame is not None:
            frame.f_trace, frame.f_trace_lines = self._look, False
            outermost = frame if frame.f_code.co_filename == self._tests else outermost
            frame = frame.f_back
        self._all.append(_Flight(error, outermost))
        self._active.flights = [*getattr(self._active, "flights", ()), self._all[-1]]
        sys.settrace(self._look)

    def lost(self) -> list[BaseException]:
        """The exceptions that no handler has seen."""
        return [flight.error for flight in self._all if flight.left]

    def _look(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_lines = False
        if event in ("exception", "return"):
            self._active.flights = [each for each in self._active.flights if not each.ends(frame, event, argument)]
            if not self._active.flights:
                sys.settrace(None)
        return self._look


class _Flight:
    """One exception on its way."""

    def __init__(self, error: BaseException, outermost: types.FrameType | None) -> None:
        """From the frame `outermost` on there is nothing but the verdict: what arrives there is not lost."""
        self.error = error
        self.left = False  # the last frame, and has arrived in no other
        self._outermost = outermost
        self._frames: list[types.FrameType] = []  # where it has arrived, and which still run

    def ends(self, frame: types.FrameType, event: str, argument: Any) -> bool:
        """Whether nothing more can happen to the exception after an event of a frame."""
        if event == "exception":
            return self._arrives(frame, argument[1])
        if frame in self._frames:
            self._frames.remove(frame)
            self.left = not _instruction(frame).startswith(_ENDS)
            return not self.left and not self._frames
        return False

    def _arrives(self, frame: types.FrameType, error: BaseException) -> bool:
        if error is self.error:
            ended = isinstance(error, StopIteration | StopAsyncIteration) and _instruction(frame) in _LOOPS
            self.left = ended
            if not ended and frame not in self._frames:
                self._frames.append(frame)
            return ended or frame is self._outermost
        if (self.left or frame in self._frames) and _comes_from(error, self.error):
            self.left = False
            return True
        return False


def _comes_from(error: BaseException | None, origin: BaseException) -> bool:
    """Whether an exception was raised because of another, which it says if that is not handled."""
    for _ in range(100):
        if error is None or error is origin:
            break
        error = error.__cause__ or error.__context__
    return error is origin


def _instruction(frame: types.FrameType) -> str:
    code, place = frame.f_code.co_code, frame.f_lasti
    while place > 0 and dis.opname[code[place]] == "CACHE":  # behind some instructions
        place -= 2
    return dis.opname[code[place]]
