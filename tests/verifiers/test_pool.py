"""The pool against verifiers that hang, crash, lie and leak."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.hostile_tasks import Wide, hostile_config

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.config.validate import validate_tasks
from prorl_mega.errors import ConfigError
from prorl_mega.tasks import Mixture
from prorl_mega.types import Outcome, Problem
from prorl_mega.verifiers.batch import CHUNK
from prorl_mega.verifiers.pool import VerifierPool

WIDE = TasksConfig(mixture={"wide": TaskConfig(name="wide")}, workers=1, retries=0)
PROBLEM = Problem(key="bad/0", task="bad", prompt="problem")


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(hostile_config(workers=2, timeout_s=1.0, retries=1)) as pool:
        yield pool


def test_verdicts_come_in_order(pool: VerifierPool) -> None:
    answers = ["good" if i % 3 else "bad" for i in range(500)]
    verdicts = pool.score([(PROBLEM, answer) for answer in answers])
    assert [verdict.reward for verdict in verdicts] == [float(answer == "good") for answer in answers]
    assert all(verdict.outcome is Outcome.SCORED for verdict in verdicts)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_is_replaced_after_many_answers_and_none_is_lost(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prorl_mega.verifiers.pool.RECYCLE", 10)
    with VerifierPool(hostile_config(workers=workers, timeout_s=5.0, retries=0)) as pool:
        for _ in range(4):
            verdicts = pool.score([(PROBLEM, "good")] * 15)
            assert [verdict.reward for verdict in verdicts] == [1.0] * 15
        assert pool.counters.started > workers


@pytest.mark.parametrize("answer", ["exit", "sys.exit", "raise", "segfault", "abort", "kill", "fork", "forge", "close",
                                    "nan", "inf", "two", "minus", "none"])  # fmt: skip
def test_a_broken_verifier_is_an_infrastructure_error_and_the_others_are_scored(
    pool: VerifierPool, answer: str
) -> None:
    before = pool.counters.retries
    verdicts = pool.score([(PROBLEM, "good"), (PROBLEM, answer), (PROBLEM, "good"), (PROBLEM, "bad")])
    assert [verdict.reward for verdict in verdicts] == [1.0, 0.0, 1.0, 0.0]
    assert [verdict.outcome is Outcome.SCORED for verdict in verdicts] == [True, False, True, True]
    assert verdicts[1].detail
    assert pool.counters.retries == before + 1


def test_what_cannot_pass_for_a_crash_is_scored(pool: VerifierPool) -> None:
    assert [v.reward for v in pool.score([(PROBLEM, "half"), (PROBLEM, "print")])] == [0.5, 0.0]


@pytest.mark.parametrize("answer", ["sleep", "spin"])
def test_a_hanging_verifier_is_killed(answer: str) -> None:
    with VerifierPool(hostile_config(workers=1, timeout_s=0.5, retries=1)) as pool:
        verdicts = pool.score([(PROBLEM, "good")] * 40 + [(PROBLEM, answer)] + [(PROBLEM, "good")] * 40)
        assert [i for i, verdict in enumerate(verdicts) if verdict.outcome is Outcome.INFRA_ERROR] == [40]
        assert sum(verdict.reward for verdict in verdicts) == 80
        assert "within 0.5 s" in verdicts[40].detail
        assert pool.counters.timeouts == 2


def test_a_verifier_that_gets_no_processor_is_waited_for() -> None:
    """Four of them want one processor; each answer needs half of its time limit when it runs alone."""
    only = {min(os.sched_getaffinity(0))}
    with VerifierPool(hostile_config(workers=4, timeout_s=1.0, retries=0)) as pool:
        pool.score([(PROBLEM, "good")] * 400)
        for worker in pool._workers:
            os.sched_setaffinity(worker.process.pid, only)
        verdicts = pool.score([(PROBLEM, "work")] * 8)
    assert {verdict.outcome for verdict in verdicts} == {Outcome.SCORED}


@pytest.mark.parametrize("answer", ["allocate", "recurse"])
def test_memory_and_recursion_are_bounded(answer: str) -> None:
    with VerifierPool(hostile_config(workers=1, timeout_s=20.0, retries=0)) as pool:
        (verdict,) = pool.score([(PROBLEM, answer)])
        assert verdict.outcome is Outcome.INFRA_ERROR
        assert pool.counters.timeouts == 0


@pytest.mark.parametrize(("memory_mib", "outcome"), [(1000, Outcome.INFRA_ERROR), (3000, Outcome.SCORED)])
def test_the_memory_of_a_worker_is_a_setting(memory_mib: int, outcome: Outcome) -> None:
    with VerifierPool(hostile_config(workers=1, memory_mib=memory_mib, retries=0)) as pool:
        assert [verdict.outcome for verdict in pool.score([(PROBLEM, "gigabyte")])] == [outcome]


def test_no_process_and_no_descriptor_is_left_behind() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    others = _children()
    with VerifierPool(hostile_config(workers=2, timeout_s=5.0, retries=0)) as pool:
        pool.score([(PROBLEM, "good")] * 80)
        before = descriptors()
        for _ in range(8):
            pool.score([(PROBLEM, "good"), (PROBLEM, "exit"), (PROBLEM, "good")])
        pool.score([(PROBLEM, "good")] * 80)  # both workers run again
        assert descriptors() == before
        assert pool.counters.started >= 10
    assert descriptors() == before - 6  # pipes and error log of two workers
    assert _children() == others


def test_workers_that_were_started_early_are_those_that_judge() -> None:
    others = set(_children())  # of earlier tests
    with VerifierPool(hostile_config(workers=2)) as pool:
        pool.start(0)
        assert pool.counters.started == 0
        pool.start(CHUNK)
        assert pool.counters.started == 1
        pool.start(10 * CHUNK)
        pool.start(10 * CHUNK)
        early = set(_children()) - others
        assert pool.counters.started == len(early) == 2
        assert all(verdict.reward == 1.0 for verdict in pool.score([(PROBLEM, "good")] * 500))
        assert set(_children()) - others == early
        assert pool.counters.started == 2


def test_a_worker_that_was_ready_long_ago_is_not_late() -> None:
    """Nobody reads its messages before the first answer, and an engine may take longer to start than it may."""
    with VerifierPool(hostile_config(workers=1, timeout_s=5.0)) as pool:
        pool.start(1)
        (worker,) = pool._workers
        assert select.select([worker.source], [], [], 120)[0]
        worker.deadline = worker.last_deadline = 0.0
        assert pool.score([(PROBLEM, "good")])[0].reward == 1.0
        assert (pool.counters.started, pool.counters.timeouts) == (1, 0)


def test_close_is_final_only_until_the_next_call() -> None:
    others = _children()
    pool = VerifierPool(hostile_config(workers=1))
    assert pool.score([]) == []
    assert _children() == others, "workers start when they are needed"
    assert pool.score([(PROBLEM, "good")])[0].reward == 1.0
    pool.close()
    pool.close()
    assert _children() == others
    assert pool.score([(PROBLEM, "good")])[0].reward == 1.0
    pool.close()


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, time\n"
        "from helpers.hostile_tasks import hostile_config\n"
        "from prorl_mega.verifiers.pool import VerifierPool\n"
        "from prorl_mega.types import Problem\n"
        "pool = VerifierPool(hostile_config(workers=1, timeout_s=300.0))\n"
        "problem = Problem(key='bad/0', task='bad', prompt='p')\n"
        "pool.score([(problem, 'good')])\n"
        "print(pool._workers[0].process.pid, flush=True)\n"
        "pool.score([(problem, 'spin')])\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    try:
        worker = int(parent.stdout.readline())
        assert _alive(worker)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        for _ in range(100):
            if not _alive(worker):
                break
            time.sleep(0.1)
        assert not _alive(worker)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def test_workers_that_cannot_start_do_not_stop_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with VerifierPool(hostile_config(workers=2)) as pool:
        verdicts = pool.score([(PROBLEM, "good")] * 100)
    assert {verdict.outcome for verdict in verdicts} == {Outcome.INFRA_ERROR}


@pytest.mark.parametrize(
    ("settings", "key"), [({"workers": 0}, "workers"), ({"timeout_s": 0.0}, "timeout_s"), ({"retries": -1}, "retries")]
)
def test_settings_that_no_pool_can_work_with_are_refused(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"tasks.{key}"):
        validate_tasks(hostile_config(**settings))


def test_unknown_task_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match=r"tasks\.mixture\.x\.name.*did you mean 'arithmetic'"):
        VerifierPool(TasksConfig(mixture={"x": TaskConfig(name="arithmetik")}))


def test_scorers_cannot_run_programs_or_write_files(tmp_path: Path) -> None:
    """reasoning-gym evaluates this answer; the canary shows whether it was obeyed."""
    canary = tmp_path / "canary"
    options = {"dataset": "string_insertion", "answer": "line"}
    tasks = TasksConfig(mixture={"rg": TaskConfig(name="reasoning_gym", options=options)}, workers=1, timeout_s=30.0)
    (problem,) = Mixture(tasks, seed=1).draw(1)
    attacks = [
        f"__import__('os').system('touch {canary}')",
        f"[open('{canary}', 'w')]",
        f"[x for x in [().__class__.__base__]] + [open('{canary}', 'w')]",
        "exit()",
    ]
    with VerifierPool(tasks) as pool:
        verdicts = pool.score([(problem, attack) for attack in attacks])
    assert all(verdict.reward < 1 for verdict in verdicts)
    assert not canary.exists()


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_failures_are_said_while_the_batch_goes_on() -> None:
    said: list[str] = []
    with VerifierPool(hostile_config(workers=1, retries=0), said.append) as pool, pool.batch() as batch:
        for answer in ["good"] * 10 + ["raise"] * 30:
            batch.add(PROBLEM, answer)
        while batch.unfinished > 10:
            batch.poll()
        assert len(said) == 1
        batch.verdicts()
    (line,) = said
    assert line.startswith(
        "verifiers fail: 8 of 18 answers so far (44%) have no verdict; the first: bad/0: the verifier "
    )


@pytest.mark.parametrize(
    ("failing", "bound", "told"), [(1, 0.05, True), (1, 0.25, False), (0, 0.0, False), (4, 1.0, False)]
)
def test_a_few_failures_are_said_at_the_end_beyond_the_bound(failing: int, bound: float, told: bool) -> None:
    said: list[str] = []
    config = hostile_config(workers=1, retries=0)
    config.report_failures = bound
    with VerifierPool(config, said.append) as pool:
        pool.score([(PROBLEM, "good")] * (4 - failing) + [(PROBLEM, "raise")] * failing)
        assert bool(said) is told
        if told:
            assert "1 of 4 answers so far (25%)" in said[0]
            pool.score([(PROBLEM, "good")] * 4)
            assert len(said) == 1, "the next batch is judged by itself"


def test_a_task_may_declare_another_range_of_rewards() -> None:
    problem = Problem(key="wide/0", task="wide", prompt="problem")
    with VerifierPool(WIDE) as pool:
        verdicts = pool.score([(problem, text) for text in ("-1", "0.25", "5", "5.1", "-1.5", "nan", "inf")])
    assert [verdict.reward for verdict in verdicts] == [-1.0, 0.25, 5.0, 0.0, 0.0, 0.0, 0.0]
    assert [verdict.outcome is Outcome.SCORED for verdict in verdicts] == [True] * 3 + [False] * 4
    assert verdicts[3].detail == "the verifier returned 5.1, not a number from -1 to 5"


@pytest.mark.parametrize("declared", [(-1.0, 0.5), (0.5, 2.0), (0.0, 1e9), (float("nan"), 1.0)])
def test_a_range_without_wrong_and_right_is_refused(
    declared: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wide, "rewards", declared)
    with pytest.raises(ConfigError, match=r"tasks\.mixture\.wide: the task 'wide' declares rewards from .* contain 0"):
        VerifierPool(WIDE)
