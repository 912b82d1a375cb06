"""The sandbox with programs that mean well, and with machinery that fails."""

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.honest_programs import HONEST
from helpers.sandboxes import needs, sandbox_of, tier_here

from prorl_mega.errors import ConfigError
from prorl_mega.sandbox import doctor, pool
from prorl_mega.sandbox.__main__ import main as command
from prorl_mega.sandbox.client import SandboxClient
from prorl_mega.sandbox.guest.values import plain, unplain
from prorl_mega.sandbox.isolation import IsolationTier, SandboxSpec
from prorl_mega.sandbox.job import Ending, Limits, ProgramKind, ProgramRun, call, script
from prorl_mega.sandbox.pool import Sandbox, find
from prorl_mega.sandbox.processor_time import descendants

ECHO = script("print(input())", "42\n", Limits())


@pytest.fixture(scope="module", params=list(IsolationTier)[:2])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with sandbox_of(request.param, size=2) as sandbox:
        yield sandbox


def test_honest_programs_of_many_styles(sandbox: Sandbox) -> None:
    results = sandbox.run([script(source, stdin, Limits()) for source, stdin, _ in HONEST])
    assert [(r.ending, r.stdout.decode()) for r in results] == [(Ending.FINISHED, output) for *_, output in HONEST]
    assert sandbox.counters.killed == sandbox.counters.failures == 0


def test_a_scratch_of_its_own_where_there_is_one(sandbox: Sandbox) -> None:
    source = "import os\nopen('x', 'w').write('kept')\nprint(open('x').read(), os.listdir('.'))"
    results = sandbox.run([script(source, "", Limits())] * 3)
    if sandbox.spec.tier is IsolationTier.BUBBLEWRAP:
        assert {result.stdout for result in results} == {b"kept ['x']\n"}
    else:
        assert {result.ending for result in results} == {Ending.RUNTIME_ERROR}


def test_calls_bring_back_plain_data(sandbox: Sandbox) -> None:
    values: list[Any] = [
        None,
        True,
        3,
        -(10**30),
        1.5,
        float("inf"),
        "ä\ud800",
        [1, [2]],
        (1,),
        {1: (2,)},
        {3},
        b"x",
        1j,
    ]
    source = "def same(*values): return list(values)"
    (result,) = sandbox.run([call(source, "same", plain(values), Limits())])
    assert result.ending is Ending.FINISHED, result
    assert unplain(json.loads(result.result)["returned"]) == values


@pytest.mark.parametrize(
    "data", [{}, {"a": 1}, {"set": 1}, {"tuple": [], "set": []}, {"float": "1e5"}, {"complex": "1"}, [{"bytes": 1}]]
)
def test_what_is_not_plain_is_refused(data: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        unplain(data)


def test_endings_and_their_details(sandbox: Sandbox) -> None:
    brief = Limits(cpu_s=0.5, wall_s=1.0, memory=256 << 20, output=1 << 16)
    table = {
        "import sys; sys.exit(3)": (Ending.RUNTIME_ERROR, "exit code 3"),
        "x = 1 / 0": (Ending.RUNTIME_ERROR, "ZeroDivisionError"),
        "def f(": (Ending.RUNTIME_ERROR, "SyntaxError"),
        "x = bytearray(1 << 29)": (Ending.MEMORY_LIMIT, ""),
        "print('x' * (1 << 17))": (Ending.OUTPUT_LIMIT, ""),
        "while True: pass": (Ending.TIME_LIMIT, "processor"),
        "import time; time.sleep(9)": (Ending.TIME_LIMIT, "1 s"),
        "import sys; sys.exit('words')": (Ending.RUNTIME_ERROR, "exit code 1"),
    }
    for (source, (ending, words)), result in zip(
        table.items(), sandbox.run([script(source, "", brief) for source in table]), strict=True
    ):
        assert result.ending is ending, (source, result)
        assert words in result.detail


def test_a_program_that_gets_no_processor_is_waited_for() -> None:
    """Six programs on one processor: each alone needs half of its wall limit. Half of them compute in a thread."""
    work = "import time, threading\ndef work():\n    while time.process_time() < 0.5: pass\n    print(42)\n"
    limits = Limits(cpu_s=2.0, wall_s=1.0)
    runs = [script(work + how, "", limits) for how in ("work()", "threading.Thread(target=work).start()")] * 3
    serving = ProgramRun(
        kind=ProgramKind.SERVE, job={"source": f"{work}def f(x):\n    work()\n    return x"}, limits=limits
    )
    asking = ProgramRun(kind=ProgramKind.TESTS, job={"source": "assert f(1) == 1", "function": "f"}, limits=limits)
    with (
        sandbox_of(IsolationTier.BUBBLEWRAP, size=6) as sandbox,
        on_one_processor(),
        sandbox_of(IsolationTier.BUBBLEWRAP, 2) as other,
    ):
        results = sandbox.run(runs)
        spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
        try:
            answered = other.converse(serving, asking)
        finally:
            for process in spinning:
                process.kill()
                process.wait()
    assert {(result.ending, result.stdout) for result in results} == {(Ending.FINISHED, b"42\n")}
    assert [result.ending for result in answered] == [Ending.FINISHED] * 2
    assert b'"passed": true' in answered[1].stdout


@contextlib.contextmanager
def on_one_processor() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def test_a_fork_bomb_does_not_hurt_the_next(sandbox: Sandbox) -> None:
    bomb = script("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "", Limits(cpu_s=0.3))
    results = sandbox.run([bomb, *[ECHO] * 100])
    assert results[0].ending is Ending.TIME_LIMIT
    assert {(result.ending, result.stdout) for result in results[1:]} == {(Ending.FINISHED, b"42\n")}


def test_a_sandbox_that_dies_is_replaced_and_the_run_is_tried_again(sandbox: Sandbox) -> None:
    sandbox.warm()
    for pid in sandbox.processes():
        os.kill(pid, signal.SIGKILL)
    assert [result.stdout for result in sandbox.run([ECHO] * 4)] == [b"42\n"] * 4


@pytest.mark.parametrize("program", ["/bin/false", "/bin/cat", "/nonexistent"])
def test_a_sandbox_that_never_works_is_an_infrastructure_error(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prorl_mega.sandbox.process.START_S", 0.3)
    broken = SandboxSpec(tier=IsolationTier.LANDLOCK, command=[program], configuration={"parent": os.getpid()})
    with Sandbox(broken, size=2) as sandbox:
        results = sandbox.run([ECHO] * 3)
        assert {result.ending for result in results} == {Ending.INFRA_ERROR}
        assert all(result.detail for result in results)
        serving, asking = (
            ProgramRun(kind=ProgramKind.SERVE, job={"source": ""}),
            ProgramRun(kind=ProgramKind.TESTS, job={"source": ""}),
        )
        assert {result.ending for result in sandbox.converse(serving, asking)} == {Ending.INFRA_ERROR}
        assert sandbox.counters.infra_errors == 5


@needs(IsolationTier.BUBBLEWRAP)
def test_walls_that_cannot_be_built_stop_the_program(sandbox: Sandbox) -> None:
    """A limit that the kernel refuses is an error of the sandbox, and the program is not run without it."""
    spec = dataclasses.replace(sandbox.spec, configuration={**sandbox.spec.configuration, "filter": "00" * 8})
    with Sandbox(spec) as broken:
        (result,) = broken.run([ECHO])
    assert result.ending is Ending.INFRA_ERROR
    assert "seccomp" in result.detail


def test_the_strongest_tier_is_chosen_and_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if tier_here(IsolationTier.BUBBLEWRAP)[0] is not None:
        assert find().tier is IsolationTier.BUBBLEWRAP
    monkeypatch.setenv("PATH", "/nonexistent")
    if tier_here(IsolationTier.LANDLOCK)[0] is not None:
        assert find().tier is IsolationTier.LANDLOCK
    assert pool.try_tier(IsolationTier.BUBBLEWRAP) == (None, "bwrap is not installed")
    real = pool.sandbox_specs
    monkeypatch.setattr(pool, "sandbox_specs", lambda tier: real(tier) if tier is IsolationTier.UNCONFINED else [])
    with pytest.raises(ConfigError, match=r"cannot confine programs.*bubblewrap.*Landlock"):
        find()
    unconfined = find(allow_unconfined=True)
    assert unconfined.tier is IsolationTier.UNCONFINED
    with Sandbox(unconfined) as open_field:
        assert open_field.run([ECHO])[0].stdout == b"42\n"


def test_doctor_attacks_every_tier_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    words = io.StringIO()
    with contextlib.redirect_stdout(words):
        status = command(["doctor"])
    here = [tier for tier in list(IsolationTier)[:2] if tier_here(tier)[0] is not None]
    assert status == (0 if here else 20)
    assert "FELL" not in words.getvalue()
    assert words.getvalue().count("  held  ") == 22 * len(here)
    monkeypatch.setattr(pool, "sandbox_specs", lambda tier: [])
    nothing = io.StringIO()
    with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(io.StringIO()):
        assert command(["doctor"]) == 20
    assert nothing.getvalue().count("not available") == 2


@needs(IsolationTier.BUBBLEWRAP)
def test_doctor_sees_a_wall_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = tier_here(IsolationTier.BUBBLEWRAP)
    assert spec is not None
    wide = dataclasses.replace(spec, configuration={**spec.configuration, "filter": None})
    assert {what for what, stood in doctor.examine(wide) if not stood} >= {
        "no process can be started",
        "no descriptor is sent",
        "memory of the kernel is limited",
    }


@needs(IsolationTier.LANDLOCK)
def test_doctor_sees_addresses_that_get_out() -> None:
    spec, _ = tier_here(IsolationTier.LANDLOCK)
    assert spec is not None
    wide = dataclasses.replace(spec, configuration={**spec.configuration, "filter": None, "landlock": []})
    fallen = {what for what, stood in doctor.examine(wide) if not stood}
    assert fallen >= {"no address of a socket gets out", "nobody called the servers"}


def test_a_client_runs_programs_for_a_process_that_may_not() -> None:
    if all(tier_here(tier)[0] is None for tier in list(IsolationTier)[:2]):
        pytest.skip("NOT RUN: no sandbox on this machine")
    beats: list[float] = []
    client = SandboxClient(lambda: beats.append(time.monotonic()))
    try:
        assert client.run([ECHO])[0].stdout == b"42\n"
        serving = ProgramRun(kind=ProgramKind.SERVE, job={"source": "def f(x): return x"})
        asking = ProgramRun(kind=ProgramKind.TESTS, job={"source": "assert f(1) == 1", "function": "f"})
        assert b'"passed": true' in client.converse(serving, asking)[1].stdout
        assert client.run([script("import time; time.sleep(2.5)", "", Limits())])[0].ending is Ending.FINISHED
        assert len(beats) >= 2
        client._process.kill()
        assert client.run([ECHO])[0].ending is Ending.INFRA_ERROR
    finally:
        client.close()


def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Neither sandboxes nor a program in the middle of a run."""
    mark = f"orphan-{os.getpid()}-{time.time_ns()}"
    parent = tmp_path / "parent.py"
    parent.write_text(
        "from prorl_mega.sandbox.job import *\n"
        "from prorl_mega.sandbox.pool import Sandbox, find\n"
        "sandbox = Sandbox(find())\n"
        "sandbox.warm()\n"
        "print(*sandbox.processes(), flush=True)\n"
        f"sandbox.run([script('import time; time.sleep(600)', {mark!r}, Limits(wall_s=600.0))])\n"
    )
    if all(tier_here(tier)[0] is None for tier in list(IsolationTier)[:2]):
        pytest.skip("NOT RUN: no sandbox on this machine")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen([sys.executable, parent], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    try:
        (first,) = map(int, process.stdout.readline().split())
        for _ in range(100):
            family = [first, *descendants(first)]
            if len(family) >= (3 if tier_here(IsolationTier.BUBBLEWRAP)[0] else 2):
                break
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    for _ in range(100):
        if not any(_alive(pid) for pid in family):
            break
        time.sleep(0.1)
    assert len(family) >= 2
    assert not [pid for pid in family if _alive(pid)]


def test_no_descriptor_and_no_process_is_left_behind(sandbox: Sandbox) -> None:
    def state() -> tuple[int, int, int]:
        mounts = Path("/proc/self/mountinfo").read_text().count("\n")
        children = len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
        return len(os.listdir("/proc/self/fd")), children, mounts

    mixed = [
        ECHO,
        script("import os; os._exit(1)", "", Limits()),
        script("while True: pass", "", Limits(cpu_s=0.2)),
        call("def f(): return 1", "f", [], Limits()),
    ]
    before = state()
    with Sandbox(sandbox.spec, size=2) as other:
        other.run(mixed * 2)
        assert state()[0] > before[0]
    assert state() == before


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
