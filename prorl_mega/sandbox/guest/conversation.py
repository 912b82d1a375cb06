"""A program and the assertions about it, in two sandboxes that exchange one line of JSON per call."""

from __future__ import annotations

import builtins
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from prorl_mega.sandbox.guest.programs import PRELUDE, RESULT, define, execute, find_function, leave, write_all
from prorl_mega.sandbox.guest.values import NotPlainError, plain, unplain

_MAX_LINE = 1 << 24  # bytes of one message between a program and its tests


class _SilentProgramError(BaseException):
    """The program under test ended or does not answer. Not an Exception: tests may catch those."""


def serve_calls(job: dict[str, Any]) -> None:
    """Answer calls, one line of JSON each, until the other side closes."""

    def answer() -> None:
        namespace = define(job["source"])
        with open(os.dup(0), "rb") as requests:
            while line := requests.readline(_MAX_LINE):
                request = json.loads(line)
                function = find_function(namespace, request["function"])
                try:
                    value = function(*unplain(request["arguments"]), **unplain(request["keywords"]))
                    reply = {"returned": plain(value)}
                except Exception as error:
                    reply = {"raised": type(error).__name__, "words": str(error)[:200]}
                write_all(RESULT, json.dumps(reply) + "\n")

    leave(answer, wait=False)


def run_tests(job: dict[str, Any]) -> None:
    """Run assertions about a program in another sandbox; stand-ins for its functions send messages.

    Standard input brings the program's answers, `RESULT` takes the requests, and the verdict is the last line of
    standard output.
    """
    replies = open(os.dup(0), "rb")  # noqa: SIM115 (as long as the process)
    os.close(0)
    verdict: dict[str, Any] = {"passed": False}
    raised: list[BaseException] = []  # by the program, as opposed to the tests

    def stand_in(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            request = {"function": name, "arguments": plain(list(arguments)), "keywords": plain(keywords)}
            try:
                write_all(RESULT, json.dumps(request) + "\n")
                reply = json.loads(replies.readline(_MAX_LINE))
                if "raised" not in reply:
                    return unplain(reply["returned"])
                kind = getattr(builtins, str(reply["raised"]), None)
                exception = kind if isinstance(kind, type) and issubclass(kind, Exception) else RuntimeError
                raised.append(exception(str(reply.get("words"))))
            except (OSError, ValueError, TypeError, KeyError, RecursionError):
                raise _SilentProgramError("no answer, or none that is plain data") from None
            raise raised[-1]

        return call

    def judge() -> None:
        namespace: dict[str, Any] = {"__name__": "tests"}
        execute(PRELUDE, "prelude.py", namespace)
        namespace[job["function"]] = stand_in(job["function"])
        try:
            execute(job["source"], "tests.py", namespace)
            if callable(namespace.get("check")):
                namespace["check"](namespace[job["function"]])
            verdict["passed"] = True
        except (NotPlainError, SyntaxError, NameError, ImportError) as error:
            blame = "failed" if error in raised else "broken"
            verdict[blame] = f"{type(error).__name__}: {error}"[:200]
        except (Exception, _SilentProgramError) as error:
            verdict["failed"] = f"{type(error).__name__}: {error}"[:200]
        sys.stdout.flush()
        write_all(1, "\n" + json.dumps(verdict))

    leave(judge, wait=False)
