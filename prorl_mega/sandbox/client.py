"""A process that keeps sandboxes for one that may not start any: a verifier process.

This is the side of the verifier process, and how runs and results travel: messages of `channel`, bytes as base64.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from prorl_mega.sandbox.channel import BrokenMessageError, Inbox, encode
from prorl_mega.sandbox.job import Ending, Kind, Limits, Result, Run


class Keeper:
    """The `run` and `converse` of a `Sandbox`, done by another process. Make it before privileges are given up."""

    def __init__(self, waiting: Callable[[], None], *, allow_unconfined: bool = False) -> None:
        """`waiting` is called about every second while programs run."""
        self._waiting = waiting
        command = [sys.executable, "-P", "-m", "prorl_mega.sandbox.server", str(os.getpid())]
        self._process = subprocess.Popen(
            [*command, "unconfined"] if allow_unconfined else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            cwd="/",
            bufsize=0,
        )
        self._inbox = Inbox()

    def run(self, runs: Sequence[Run]) -> list[Result]:
        """One result per run, in order; INFRA_ERROR when the keeper is gone or cannot confine programs here."""
        return self._ask("runs", runs)

    def converse(self, program: Run, tests: Run) -> tuple[Result, Result]:
        first, second = self._ask("pair", [program, tests])
        return first, second

    def close(self) -> None:
        """Ends the keeper and what it keeps."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.kill()
        self._process.wait()

    def _ask(self, what: str, runs: Sequence[Run]) -> list[Result]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            data = encode({what: [run_to_json(run) for run in runs]})
            while data:
                data = data[os.write(self._process.stdin.fileno(), data) :]
            while True:
                received = os.read(self._process.stdout.fileno(), 1 << 20)
                if not received:
                    raise BrokenMessageError("it ended")
                for message in self._inbox.feed(received):
                    if "waiting" in message:
                        self._waiting()
                        continue
                    if "error" in message:
                        raise BrokenMessageError(message["error"])
                    return [result_from_json(each) for each in message["results"]]
        except (OSError, BrokenMessageError) as error:
            missing = Result(ending=Ending.INFRA_ERROR, detail=f"the keeper of the sandboxes: {error}")
            return [missing] * len(runs)


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def run_to_json(run: Run) -> dict[str, Any]:
    limits = dataclasses.asdict(run.limits)
    return {
        "kind": run.kind,
        "job": run.job,
        "stdin": _text(run.stdin),
        "program": _text(run.program),
        "limits": limits,
    }


def run_from_json(data: dict[str, Any]) -> Run:
    return Run(
        kind=Kind(data["kind"]),
        job=data["job"],
        stdin=_bytes(data["stdin"]) or b"",
        program=_bytes(data["program"]),
        limits=Limits(**data["limits"]),
    )


def result_to_json(result: Result) -> dict[str, Any]:
    return {
        name: _text(value) if isinstance(value, bytes) else value for name, value in dataclasses.asdict(result).items()
    }


def result_from_json(data: dict[str, Any]) -> Result:
    contents = {name: _bytes(data[name]) or b"" for name in ("stdout", "stderr", "result")}
    return Result(**{**data, **contents, "ending": Ending(data["ending"])})
