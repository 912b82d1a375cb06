"""Assertions about a program in another sandbox. This side is trusted; nothing that comes from the other side is."""

from __future__ import annotations

import ast
import importlib
import json
import math
import os
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from prorl_mega.sandbox.guest.conversation import Peer
from prorl_mega.sandbox.guest.distant import Distant, SilentProgramError
from prorl_mega.sandbox.guest.programs import PRELUDE, execute, leave, write_all
from prorl_mega.sandbox.guest.pursuit import Pursuit
from prorl_mega.sandbox.guest.values import NotPlainError

_FILE = "tests.py"
_NOT_FINITE = {
    "nan": re.compile(r"(?<![a-z])(is)?nan(?![a-z])", re.IGNORECASE),
    "inf": re.compile(r"(?<![a-z])(is)?inf(inity)?(?![a-z])|isfinite|\de\+?\d{3}", re.IGNORECASE),
}
_READS_NUMBERS = re.compile(r"(?<![\w])(float|complex|Decimal|Fraction|array|asarray|fromstring|literal_eval)(?!\w)")
_HIDDEN = re.compile(r"(?<![a-z_])(nan|inf(?:inity)?)j?(?![a-z_0-9])|[0-9]e\+?0*[0-9]{3}|[0-9]{309}", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,;:()\[\]{}'\"]+")
_ARITHMETIC = (
    ast.Expression | ast.Module | ast.Expr | ast.Constant | ast.UnaryOp | ast.BinOp | ast.BoolOp | ast.Compare
    | ast.IfExp | ast.Tuple | ast.List | ast.Set | ast.Dict | ast.Name | ast.Call | ast.expr_context | ast.operator
    | ast.unaryop | ast.boolop | ast.cmpop
)  # fmt: skip
_FUNCTIONS = {"abs", "min", "max", "sum", "len", "round", "int", "float", "bool", "pow", "divmod", "sqrt", "factorial"}


def run_tests(job: dict[str, Any]) -> None:
    """Run assertions about functions of a program, for which stand-ins send messages.

    Standard input brings the program's answers, `RESULT` takes the requests, and the verdict is the last line of
    standard output.
    """
    source, name = job["source"], job["function"]
    verdict: dict[str, Any] = {"passed": False}
    peer = _Program(source, name)
    os.close(0)

    def judge() -> None:
        sys.modules["__main__"] = module = types.ModuleType("__main__")  # where `unittest.main` looks for tests
        namespace = module.__dict__
        execute(PRELUDE, "prelude.py", namespace)
        unsuccessful = _watched_results() if "unittest" in source else []
        forgotten = _watched_futures() if "futures" in source else list
        namespace[name] = peer.function(name)
        try:
            try:
                execute(source, _FILE, namespace)
                if callable(namespace.get("check")):
                    namespace["check"](namespace[name])
            except SystemExit as end:  # of the tests, as `unittest.main` does; the program cannot raise it here
                if end.code not in (None, 0, False):
                    raise
            assert not unsuccessful, "a test case failed"
            if lost := peer.lost() + forgotten():
                raise SilentProgramError(f"an exception was lost: {lost[0]!r}")
            verdict.update({"passed": True} if peer.heard else {"broken": "it never asks the program"})
        except (NotPlainError, SyntaxError, NameError, ImportError) as error:
            verdict["failed" if peer.is_to_blame(error) else "broken"] = f"{type(error).__name__}: {error}"[:200]
        except BaseException as error:
            verdict["failed"] = f"{type(error).__name__}: {error}"[:200]
        sys.settrace(None)
        sys.stdout.flush()
        write_all(1, "\n" + json.dumps(verdict))

    leave(judge, wait=False)


def _watched_results() -> list[Any]:
    """A list that will have the results of `unittest` with failures in them, which the tests may not look at."""
    unittest = __import__("unittest")  # takes long, and few tests need it
    ask, unsuccessful = unittest.TestResult.wasSuccessful, []

    def was_successful(result: Any) -> bool:
        if not ask(result):
            unsuccessful.append(result)
        return bool(ask(result))

    unittest.TestResult.wasSuccessful = was_successful  # every runner asks
    return unsuccessful


def _watched_futures() -> Callable[[], list[BaseException]]:
    """A function that lists the exceptions of futures for which the tests have not asked."""
    future = importlib.import_module("concurrent.futures").Future
    failed: list[tuple[Any, BaseException]] = []
    asked: set[int] = set()  # of futures that are in `failed` and live as long
    set_exception = future.set_exception

    def keep(self: Any, exception: BaseException) -> None:
        failed.append((self, exception))
        set_exception(self, exception)

    def noting(ask: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: Any, timeout: float | None = None) -> Any:
            asked.add(id(self))
            return ask(self, timeout)

        return noted

    future.set_exception, future.result, future.exception = keep, noting(future.result), noting(future.exception)
    return lambda: [exception for each, exception in failed if id(each) not in asked]


class _Program(Peer):
    """The program, as its tests see it: it can say plain values and raise, and neither may do more than be compared.

    - Numbers that compare with nothing count where the tests speak of them: `not abs(f(2) - 4) > 0.1` holds for NaN.
      So do texts that are such numbers, where the tests make numbers of texts.
    - A coroutine, which is always true, is an answer where the tests await one.
    - An exception has to reach the tests. Loops and protocols of the interpreter end silently for some: a StopIteration
      in `map` would leave out the rest of the cases, an AttributeError satisfies `hasattr`.
    - Its text is not run, if the tests should evaluate it; arithmetic is.
    """

    is_program = False

    def __init__(self, source: str, name: str) -> None:
        super().__init__(lambda _: _refuse("the program called a function by name"))
        self.raised: list[BaseException] = []  # by the program, as opposed to the tests
        self._pursuit = Pursuit(_FILE)
        self._ended_threads: list[BaseException] = []  # the exceptions by which threads of the tests have ended
        threading.excepthook = self._end_thread
        self.awaits = re.search(r"\bawait\b|\basyncio\b", source) is not None
        self._reads_numbers = _READS_NUMBERS.search(source) is not None
        self._allowed = {kind for kind, pattern in _NOT_FINITE.items() if pattern.search(source)}
        nodes = list(ast.walk(ast.parse(source)))
        self._constants = {node.value for node in nodes if isinstance(node, ast.Constant)}
        self._assigned = {
            node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del)
        }
        self._functions = _FUNCTIONS | {name, "candidate"}
        self.heard = False
        sys.addaudithook(self._audit)

    def is_to_blame(self, error: Exception) -> bool:
        """Whether an error that looks like a mistake in the tests comes from the program, or from text that it gave."""
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        evaluated = place is not None and place.tb_frame.f_code.co_filename == "<string>"
        misspelt = isinstance(error, SyntaxError) and self.heard  # the tests are complete and compiled by then
        left_out = isinstance(error, NameError) and error.name in self._assigned  # by a loop without a round, say
        return any(error is each for each in self.raised) or evaluated or misspelt or left_out

    def _object(self, number: int) -> Any:
        return Distant(number, self.attribute)

    def load(self, line: bytes) -> Any:
        self.heard = True
        reply = json.loads(line, object_hook=self._finite, parse_constant=_refuse)
        if self._reads_numbers and isinstance(reply, dict):
            texts = list(_texts(reply.get("returned")))
            for text in (*texts, "".join(texts)):
                self._refuse_hidden(text)
        return reply

    def _refuse_hidden(self, text: str) -> None:
        """Raise ValueError for a text of which `float` would make a number that is not finite."""
        for found in _HIDDEN.finditer(text):
            if found[1] and found[1][:3].lower() not in self._allowed:
                _refuse(found[0])
        if "inf" not in self._allowed and _HIDDEN.search(text) and any(map(_is_infinite, _BETWEEN.split(text))):
            _refuse("a text that is an infinite number")

    def _finite(self, data: dict[str, Any]) -> dict[str, Any]:
        for kind in ("float", "decimal"):
            found = re.search("nan|inf", str(data.get(kind)), re.IGNORECASE)
            if found and found[0].lower() not in self._allowed:
                _refuse(found[0])
        return data

    def fail(self, error: Exception) -> NoReturn:
        """Raise what the program has raised, and look where it ends."""
        self.raised.append(error)
        self._pursuit.follow(error)
        raise error

    def lost(self) -> list[BaseException]:
        """The exceptions of which no handler of the tests knows."""
        return [*self._pursuit.lost(), *self._ended_threads]

    def _end_thread(self, hook: Any) -> None:
        self._ended_threads.append(hook.exc_value or hook.exc_type())

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.heard or event not in ("compile", "marshal.loads", "pickle.find_class", "code.__new__"):
            return
        if sys._getframe(1).f_code.co_filename not in (_FILE, Peer.__init__.__code__.co_filename):
            return  # the standard library's own texts
        if event == "compile" and self._is_arithmetic(arguments[0]):
            return
        raise SilentProgramError("the tests would run what the program returned")

    def _is_arithmetic(self, source: Any) -> bool:
        text = source.decode() if isinstance(source, bytes) else source
        if not isinstance(text, str):
            return False
        if text in self._constants:
            return True
        nodes = list(ast.walk(ast.parse(text)))
        called = [node.func for node in nodes if isinstance(node, ast.Call)]
        return all(  # no variable either: one of them holds the answer
            isinstance(node, _ARITHMETIC)
            and (not isinstance(node, ast.Name) or (node in called and node.id in self._functions))
            and (not isinstance(node, ast.Call) or isinstance(node.func, ast.Name))
            for node in nodes
        )


def _texts(data: Any) -> Iterator[str]:
    """The texts in a value as JSON, and what its bytes say."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, list):
        for each in data:
            yield from _texts(each)
    elif isinstance(data, dict):
        for kind, each in data.items():
            if kind in ("bytes", "bytearray") and isinstance(each, str):
                each = bytes.fromhex(each).decode("latin-1")
            yield from _texts(each)


def _is_infinite(word: str) -> bool:
    try:
        return math.isinf(float(word))
    except ValueError:
        return False


def _refuse(what: Any) -> NoReturn:
    raise ValueError(f"{what} is no answer")
