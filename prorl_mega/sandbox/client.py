"""The client of a sandbox server, for verifier processes: they may start no processes themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import msgspec

from prorl_mega.sandbox.channel import BrokenMessageError, Inbox, send, start_child
from prorl_mega.sandbox.job import Ending, ProgramResult, ProgramRun


class SandboxRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Programs to run; with `converse`, a SERVE and a TESTS run that talk to each other."""

    runs: list[ProgramRun]
    converse: bool = False


class SandboxReply(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Results in the order of the runs, or a sign of progress, or the reason why there will be none."""

    results: list[ProgramResult] = []
    waiting: bool = False
    error: str | None = None


class SandboxClient:
    """The `run` and `converse` of a `Sandbox`, done by a server process. Make it before privileges are given up."""

    def __init__(
        self, waiting: Callable[[], None], *, allow_unconfined: bool = False, packages: Sequence[str] = ()
    ) -> None:
        """Start the server; `waiting` is called about every second while programs run."""
        self._waiting = waiting
        weakest = "unconfined" if allow_unconfined else "confined"
        self._process = start_child("prorl_mega.sandbox.server", weakest, *packages)
        self._inbox = Inbox(SandboxReply)

    def run(self, runs: Sequence[ProgramRun]) -> list[ProgramResult]:
        """One result per run, in order; INFRA_ERROR when the server is gone or cannot confine programs here."""
        return self._ask(SandboxRequest(list(runs)))

    def converse(self, program: ProgramRun, tests: ProgramRun) -> tuple[ProgramResult, ProgramResult]:
        first, second = self._ask(SandboxRequest([program, tests], converse=True))
        return first, second

    def close(self) -> None:
        """End the server and its sandboxes."""
        with self._process:  # closes its pipes and reaps it
            self._process.kill()

    def _ask(self, request: SandboxRequest) -> list[ProgramResult]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin.fileno(), request)
            while received := os.read(self._process.stdout.fileno(), 1 << 20):
                for reply in self._inbox.feed(received):
                    if reply.waiting:
                        self._waiting()
                    elif reply.error is not None:
                        raise BrokenMessageError(reply.error)
                    else:
                        return reply.results
            raise BrokenMessageError("it ended")
        except (OSError, BrokenMessageError) as error:
            missing = ProgramResult(ending=Ending.INFRA_ERROR, detail=f"the sandbox server: {error}")
            return [missing] * len(request.runs)
