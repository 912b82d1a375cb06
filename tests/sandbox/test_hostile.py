"""Programs that attack: none passes, escapes, survives, reaches a canary or stalls what comes after it."""

import dataclasses
import json
import os
import secrets
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.hostile_programs import FUNCTIONS, NATIVE, PRELUDE, SCRIPTS
from helpers.sandboxes import needs, sandbox_of
from msgspec import structs

from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.sandbox.job import Ending, Limits, compilation, native, script
from prorl_mega.sandbox.pool import Sandbox
from prorl_mega.sandbox.processor_time import descendants
from prorl_mega.tasks.code import cases, program
from prorl_mega.tasks.code.cpp import compiler

LIMITS = Limits(cpu_s=0.6, wall_s=1.0, memory=512 << 20, output=1 << 20)
ROOMY = Limits(cpu_s=10.0, wall_s=20.0, memory=512 << 20, output=1 << 20)  # time is not what ends it
BRIEF = Limits(cpu_s=0.4, wall_s=0.5, memory=512 << 20, output=1 << 20)
FORBIDDEN = (
    "memory_file", "shared_memory", "listens", "io_uring", "kill_by_pidfd", "traced", "user_namespace", "spawn",
    "signal_by_descriptor", "inotify", "keys", "personality", "old_system_calls", "subprocess",
)  # fmt: skip
HONEST = {"input": "20 22\n", "output": "42\n"}


@dataclass
class Canaries:
    """What a program that gets out would touch."""

    directory: Path
    mark: str = field(default_factory=lambda: f"MARK{secrets.token_hex(4)}")
    listeners: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.expected = self.mark + secrets.token_hex(8)
        self.secret = self.directory / "secret"
        self.secret.write_text(self.expected)
        self.secret.chmod(0o644)
        os.environ["CANARY"] = self.expected
        for family, kind, address in (
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            (socket.AF_UNIX, socket.SOCK_STREAM, str(self.directory / "socket")),
            (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.mark}"),
        ):
            listener = socket.socket(family, kind)
            listener.bind(address)
            if kind is socket.SOCK_STREAM:
                listener.listen()
            self.listeners.append(listener)
        self.before = self._state()

    def told(self, pids: list[int]) -> dict[str, object]:
        return {
            "mark": self.mark,
            "secret": str(self.secret),
            "tcp": self.listeners[0].getsockname()[1],
            "udp": self.listeners[1].getsockname()[1],
            "unix": str(self.directory / "socket"),
            "abstract": self.mark,
            "pid": os.getpid(),
            "pids": [os.getpid(), os.getppid(), *pids],
            "project": [str(Path(__file__).parents[2]), __file__, str(Path(cases.__file__).parent)],
            "superuser": os.geteuid() == 0,
        }

    def untouched(self) -> bool:
        return self._state() == self.before and not select.select(self.listeners, [], [], 0)[0]

    def close(self) -> None:
        del os.environ["CANARY"]
        for listener in self.listeners:
            listener.close()

    def _state(self) -> object:
        stat = self.secret.stat()
        files = sorted(path.name for path in self.directory.iterdir())
        return files, self.secret.read_text(), stat.st_mode, stat.st_mtime_ns, os.sched_getaffinity(0), os.nice(0)


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canaries]:
    canaries = Canaries(tmp_path_factory.mktemp("canaries"))
    yield canaries
    canaries.close()


@pytest.fixture(scope="module", params=list(IsolationTier)[:2])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with sandbox_of(request.param, size=4) as sandbox:
        sandbox.warm()
        yield sandbox


def test_programs(sandbox: Sandbox, canaries: Canaries) -> None:
    told = json.dumps(canaries.told(_pids(sandbox))) + "\n"
    names = list(SCRIPTS)
    runs = [script(PRELUDE + SCRIPTS[name], told, LIMITS) for name in names]
    results = dict(zip(names, sandbox.run(runs), strict=True))
    wrong = {
        name: (result.ending, result.stdout[:300], result.stderr[-200:], result.detail)
        for name, result in results.items()
        if b"ESCAPED" in result.stdout + result.stderr
        or canaries.expected.encode() in result.stdout
        or result.ending is Ending.INFRA_ERROR
    }
    assert not wrong
    assert canaries.untouched()
    _only_the_guests_are_left(sandbox)
    assert all(_honest(sandbox) for _ in range(8))


def test_each_resource_ends_for_its_own_reason(sandbox: Sandbox, canaries: Canaries) -> None:
    told = json.dumps(canaries.told([])) + "\n"
    reasons = {
        "loop": Ending.TIME_LIMIT,
        "sleep": Ending.TIME_LIMIT,
        "ignores_signals": Ending.TIME_LIMIT,
        "memory_list": Ending.MEMORY_LIMIT,
        "output_flood": Ending.OUTPUT_LIMIT,
        "recursion": Ending.RUNTIME_ERROR,
        "segfault": Ending.RUNTIME_ERROR,
        "says_nothing": Ending.FINISHED,
    }
    limits = {name: LIMITS if reason is Ending.TIME_LIMIT else ROOMY for name, reason in reasons.items()}
    results = sandbox.run([script(PRELUDE + SCRIPTS[name], told, limits[name]) for name in reasons])
    assert {name: result.ending for name, result in zip(reasons, results, strict=True)} == reasons


@needs(IsolationTier.BUBBLEWRAP)
def test_the_programs_would_notice_a_missing_filter(canaries: Canaries) -> None:
    """The same programs behind the first tier's other walls, which hold them, but with every system call allowed."""
    with sandbox_of(IsolationTier.BUBBLEWRAP, size=2) as sandbox:
        spec = sandbox.spec
    open_wide = dataclasses.replace(spec, configuration={**spec.configuration, "filter": None})
    told = json.dumps(canaries.told([])) + "\n"
    with Sandbox(open_wide, size=2) as sandbox:
        results = sandbox.run([script(PRELUDE + SCRIPTS[name], told, LIMITS) for name in FORBIDDEN])
    silent = [name for name, result in zip(FORBIDDEN, results, strict=True) if b"ESCAPED" not in result.stdout]
    assert not silent
    assert canaries.untouched()


@pytest.mark.parametrize("form", ["call", "assert"])
def test_functions(sandbox: Sandbox, canaries: Canaries, form: str) -> None:
    """Against an expected value that nobody can guess, in the forms in which an assertion can be written."""
    expected = canaries.expected
    tests = [{"function": "f", "arguments": [canaries.mark], "expected": expected}]
    if form == "assert":
        told = repr(canaries.mark)
        codes = [
            f"assert f({told}) == {expected!r}",
            f"assert {expected!r} == f({told})",
            f"def check(candidate):\n    x = candidate({told})\n    assert x == {expected!r} and x[0] == 'M'",
        ]
        tests = [{"function": "f", "code": code} for code in codes]
    for name, source in FUNCTIONS.items():
        verdicts = [cases.judge(test, source, sandbox, BRIEF, 1e-6) for test in tests[: 1 if form == "call" else 3]]
        assert not any(verdict.passed for verdict in verdicts), name
        assert not [v for v in verdicts if v.ending is Ending.INFRA_ERROR], (name, verdicts)
    assert canaries.untouched()
    _only_the_guests_are_left(sandbox)
    assert _honest(sandbox)


@needs(IsolationTier.BUBBLEWRAP, compiler=True)
def test_native_programs_and_what_they_do_to_the_compiler() -> None:
    brief = structs.replace(program.COMPILING, cpu_s=1.5, wall_s=4.0)
    with sandbox_of(IsolationTier.BUBBLEWRAP, size=2) as sandbox:
        built = sandbox.run([compilation(compiler(), source, brief) for source in NATIVE.values()])
        endings = {name: result.ending for name, result in zip(NATIVE, built, strict=True)}
        compiled = [result.result for result in built if result.ending is Ending.FINISHED]
        assert set(endings.values()) <= {Ending.FINISHED, Ending.COMPILE_ERROR, Ending.TIME_LIMIT}, endings
        assert len(compiled) >= 6, endings
        ran = sandbox.run([native(program, "", LIMITS) for program in compiled])
        for result in [*built, *ran]:
            words = result.stdout + result.stderr
            assert b"ESCAPED" not in words
            assert b"root:" not in words
            assert result.ending is not Ending.INFRA_ERROR, result
        _only_the_guests_are_left(sandbox)
        assert _honest(sandbox)


def _honest(sandbox: Sandbox) -> bool:
    source = "print(sum(map(int, input().split())))"
    return cases.judge(HONEST, source, sandbox, Limits(), 1e-6).passed


def _pids(sandbox: Sandbox) -> list[int]:
    return [*sandbox.processes(), *(each for pid in sandbox.processes() for each in descendants(pid))]


def _only_the_guests_are_left(sandbox: Sandbox) -> None:
    """Below every sandbox there is the one process that waits for programs; nothing has moved to its ancestors."""
    generations = 1 if sandbox.spec.tier is IsolationTier.BUBBLEWRAP else 0
    for _ in range(50):
        left = [len(descendants(worker.process.pid)) for worker in sandbox._workers if worker.run is None]
        if all(count == generations for count in left):
            break
        time.sleep(0.1)
    assert set(left) <= {generations}
    own = set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))
    assert set(sandbox.processes()) <= own
