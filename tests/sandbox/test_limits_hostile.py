"""Programs that reach for one limit each: addresses of sockets, memory of the kernel, time. On every tier."""

import contextlib
import dataclasses
import json
import os
import re
import select
import signal
import socket
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.hostile_programs import ADDRESSES, BUFFERS, BUFFERS_PRELUDE, CLOCK, NATIVE_CLOCK, PRELUDE
from helpers.sandboxes import needs, sandbox_of
from msgspec import structs

from prorl_mega.sandbox import pool
from prorl_mega.sandbox.isolation import IsolationTier, sandbox_specs
from prorl_mega.sandbox.job import Ending, Limits, ProgramKind, ProgramRun, compilation, native, script
from prorl_mega.sandbox.pool import Sandbox
from prorl_mega.sandbox.process import SandboxWorker
from prorl_mega.sandbox.processor_time import descendants
from prorl_mega.tasks.code import program

TIERS = list(IsolationTier)[:2]
BRIEF = Limits(cpu_s=0.4, wall_s=0.5, memory=256 << 20, output=1 << 20)
ROOMY = Limits(cpu_s=10.0, wall_s=20.0, memory=256 << 20, output=1 << 20)  # time is not what ends it
REACH = (  # what these do is done where nothing confines them: the table is able to fail
    "datagram_to_a_path", "datagram_to_an_abstract_name", "message_to_a_path", "message_to_an_abstract_name",
    "message_with_a_descriptor", "raw_pair_which_is_one_of_datagrams", "packet_pair", "datagram_pair_with_flags",
    "address_whose_lower_half_is_zero", "address_in_a_thread", "address_after_exec", "every_family",
    "stream_binds", "stream_gets_a_name_by_itself", "descriptors_on_their_way", "moves_pages_into_sockets",
)  # fmt: skip
HOLD = (
    "pairs_with_larger_buffers", "pipes_of_a_mebibyte", "sockets_with_pages_of_files", "pipes_in_sockets_in_sockets",
    "descriptors_of_each_thread", "descriptors_unshared", "threads_that_share_no_descriptors", "locks",
)  # fmt: skip


@dataclass
class Receivers:
    """Sockets of the host, named and abstract, that nothing may reach."""

    directory: Path
    told: dict[str, object] = field(default_factory=dict)
    sockets: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        mark = f"R{time.monotonic_ns()}"
        self.told = {"mark": mark, "pid": 1, "pids": [1]}
        for name, kind in (("unix", socket.SOCK_STREAM), ("datagrams", socket.SOCK_DGRAM)):
            self._listen(kind, str(self.directory / name))
            self._listen(kind, f"\0{mark}{name}")
            self.told |= {name: str(self.directory / name)}
        self.told |= {"abstract": f"{mark}unix", "abstract_datagrams": f"{mark}datagrams"}

    def _listen(self, kind: socket.SocketKind, name: str) -> None:
        self.sockets.append(socket.socket(socket.AF_UNIX, kind))
        self.sockets[-1].bind(name)
        if kind is socket.SOCK_STREAM:
            self.sockets[-1].listen()

    def reached(self) -> int:
        return len(select.select(self.sockets, [], [], 0)[0])


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[Receivers]:
    receivers = Receivers(tmp_path)
    yield receivers
    for each in receivers.sockets:
        each.close()


@pytest.fixture(scope="module", params=TIERS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with sandbox_of(request.param, size=4) as sandbox:
        sandbox.warm()
        yield sandbox


@pytest.fixture(scope="module")
def filtered() -> Iterator[Sandbox]:
    """Behind the filter of system calls alone, as on a kernel whose Landlock knows nothing of sockets."""
    with sandbox_of(IsolationTier.LANDLOCK, size=1) as sandbox:
        spec = sandbox.spec
    with Sandbox(dataclasses.replace(spec, configuration={**spec.configuration, "landlock": []}), size=4) as sandbox:
        yield sandbox


@pytest.fixture
def unconfined() -> Iterator[Sandbox]:
    with Sandbox(sandbox_specs(IsolationTier.UNCONFINED)[0], size=4) as sandbox:
        yield sandbox


def _addresses(sandbox: Sandbox, receivers: Receivers, names: tuple[str, ...]) -> dict[str, bytes]:
    told = json.dumps(receivers.told) + "\n"
    end = "\nprint('DONE', flush=True)"
    results = sandbox.run([script(PRELUDE + ADDRESSES[name] + end, told, ROOMY) for name in names])
    return {name: result.stdout + result.stderr[-300:] for name, result in zip(names, results, strict=True)}


def test_no_program_gives_an_address(sandbox: Sandbox, receivers: Receivers) -> None:
    words = _addresses(sandbox, receivers, tuple(ADDRESSES))
    assert {name: said for name, said in words.items() if said.strip() != b"DONE"} == {}
    assert receivers.reached() == 0


def test_the_filter_alone_stops_addresses(filtered: Sandbox, receivers: Receivers) -> None:
    words = _addresses(filtered, receivers, tuple(ADDRESSES))
    assert {name: said for name, said in words.items() if said.strip() != b"DONE"} == {}
    assert receivers.reached() == 0


def test_addresses_reach_the_host_where_nothing_confines_them(receivers: Receivers, unconfined: Sandbox) -> None:
    words = _addresses(unconfined, receivers, REACH)
    assert [name for name, said in words.items() if b"ESCAPED" not in said] == []
    assert receivers.reached() == 2


def _held(sandbox: Sandbox, names: tuple[str, ...]) -> dict[str, tuple[int, bytes]]:
    """Bytes of the kernel that each program filled, and what it said."""
    end = "\nfinish()"
    told = json.dumps({"mark": "", "pids": []}) + "\n"
    results = sandbox.run([script(BUFFERS_PRELUDE + BUFFERS[name] + end, told, ROOMY) for name in names])
    held = {}
    for name, result in zip(names, results, strict=True):
        counts = re.findall(rb"HELD (\d+) DONE", result.stdout)
        assert len(counts) == 1, (name, result)
        held[name] = int(counts[0]), result.stdout
    return held


def test_the_kernel_holds_less_than_a_tenth_of_the_memory_limit(sandbox: Sandbox) -> None:
    held = _held(sandbox, tuple(BUFFERS))
    assert {name: said for name, (_, said) in held.items() if b"ESCAPED" in said} == {}
    assert {name: count for name, (count, _) in held.items() if count > ROOMY.memory // 10} == {}
    assert held["pairs"][0] > 1 << 20  # it can be filled at all


def test_the_kernel_would_hold_more_where_nothing_confines(unconfined: Sandbox) -> None:
    held = _held(unconfined, HOLD)
    small = {
        name: count for name, (count, said) in held.items() if count <= ROOMY.memory // 10 and b"ESCAPED" not in said
    }
    assert small == {}


class Watched(SandboxWorker):
    """A sandbox that notes how long its runs lived without what they waited for a processor, and what they used."""

    lives: list[tuple[float, float, str]] = []  # noqa: RUF012 (one list, filled by all)

    def _forget_run(self) -> None:
        if self.run is not None and self._time is not None:
            lived = time.monotonic() - self._began - self._time.starved
            self.lives.append((lived, self._time.used, str(self.run.job)[-200:]))
        super()._forget_run()


@pytest.fixture
def lives(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, str]]:
    monkeypatch.setattr(Watched, "lives", [])
    monkeypatch.setattr(pool, "SandboxWorker", Watched)
    return Watched.lives


@pytest.mark.parametrize("tier", TIERS)
def test_no_program_lives_longer_than_its_limits(tier: IsolationTier, lives: list[tuple[float, float, str]]) -> None:
    told = json.dumps({"mark": "", "pids": []}) + "\n"
    with sandbox_of(tier, size=8) as sandbox:
        runs = [script(PRELUDE + source, told, BRIEF) for source in CLOCK.values()]
        results = dict(zip(CLOCK, sandbox.run(runs), strict=True))
        assert {name: result for name, result in results.items() if b"ESCAPED" in result.stdout} == {}
        wrong = {name: result for name, result in results.items() if result.ending is not Ending.TIME_LIMIT}
        assert set(wrong) <= {"waits_at_exit"}, wrong
        serving = ProgramRun(kind=ProgramKind.SERVE, job={"source": "import time\ntime.sleep(60)"}, limits=BRIEF)
        asking = ProgramRun(kind=ProgramKind.TESTS, job={"source": "assert f(1) == 1", "function": "f"}, limits=BRIEF)
        assert {result.ending for result in sandbox.converse(serving, asking)} == {Ending.TIME_LIMIT}
        assert sandbox.counters.abandoned == 0
    assert len(lives) >= len(CLOCK)
    assert [life for life in lives if life[0] > BRIEF.wall_s + 1.0 or life[1] > BRIEF.cpu_s + 1.0] == []


@pytest.mark.faults
@pytest.mark.parametrize("tier", TIERS)
def test_no_program_lives_longer_by_the_clock(tier: IsolationTier) -> None:
    """One at a time, on a machine that has nothing else to do."""
    if os.getloadavg()[0] > 0.5 * len(os.sched_getaffinity(0)):
        pytest.skip("NOT RUN: the machine is busy")
    told = json.dumps({"mark": "", "pids": []}) + "\n"
    late = {}
    with sandbox_of(tier, size=1) as sandbox:
        for name, source in CLOCK.items():
            sandbox.warm()
            began = time.monotonic()
            sandbox.run([script(PRELUDE + source, told, BRIEF)])
            late[name] = time.monotonic() - began - BRIEF.wall_s
    assert {name: seconds for name, seconds in late.items() if seconds > 1.0} == {}


@needs(IsolationTier.BUBBLEWRAP, compiler=True)
def test_native_programs_live_no_longer(lives: list[tuple[float, float, str]]) -> None:
    with sandbox_of(IsolationTier.BUBBLEWRAP, size=2) as sandbox:
        compiling = structs.replace(program.COMPILING, wall_s=120.0)
        built = sandbox.run([compilation(program.compiler(), source, compiling) for source in NATIVE_CLOCK.values()])
        assert {result.ending for result in built} == {Ending.FINISHED}
        lives.clear()
        roomy = structs.replace(BRIEF, memory=2 << 30)  # every thread takes a stack
        results = sandbox.run([native(result.result, "", roomy) for result in built])
    assert {(result.ending, result.stdout) for result in results} == {(Ending.TIME_LIMIT, b"")}
    assert len(lives) == len(results)
    assert [life for life in lives if life[0] > BRIEF.wall_s + 1.0 or life[1] > BRIEF.cpu_s + 1.0] == []


def test_a_program_that_cannot_die_is_abandoned(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prorl_mega.sandbox.process.DEATH_S", 3.0)  # idle guests end in time, also on a busy machine
    other = Sandbox(sandbox.spec, size=2)
    other.warm()
    family = [each for pid in other.processes() for each in (pid, *descendants(pid))]
    with monkeypatch.context() as immortal:
        immortal.setattr("prorl_mega.sandbox.process.signal.pidfd_send_signal", lambda *_: None)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            sleeping, *rest = other.run([script("import time; time.sleep(9)", "", BRIEF), *[_sum(n) for n in range(8)]])
            other.close()
    assert sleeping.ending is Ending.TIME_LIMIT
    assert [result.stdout for result in rest] == [b"%d\n" % (n + 1) for n in range(8)]
    words = [str(each.message).partition(" ")[2] for each in said if each.category is UserWarning]
    assert words == ["processes of a sandbox do not die: abandoned"]
    assert other.counters.abandoned == 1  # guests that are idle end by themselves
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _sum(number: int) -> ProgramRun:
    return script("print(sum(map(int, input().split())))", f"{number} 1\n", BRIEF)
