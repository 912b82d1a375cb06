"""Jobs of `prorl_mega.submit` on a private Slurm: whatever ends an attempt, the next one goes on where it ended.

The ranks are the real program in `test_the_real_program_goes_on_after_its_time_limit`, and elsewhere a toy whose
numbers follow from all of its past, written through the same run directory.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.slurm_cluster import SlurmCluster
from helpers.toy_run import toy_config, toy_train

from prorl_mega.config.keys import with_settings
from prorl_mega.config.schema import ClusterConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.summary import read_summary
from prorl_mega.slurm.job import CODE, SlurmJob
from prorl_mega.slurm.snapshot import copy_code

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240
STEPS = 40
TOY = f"""
import sys, time
sys.path.insert(0, {str(ROOT / "tests")!r})
from pathlib import Path
from helpers import toy_run
from prorl_mega.distributed.ranks import Ranks

root, steps, pause, fails_at = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
class Failing(toy_run.Toy):
    def advance(self):
        self.count = getattr(self, "count", 0) + 1
        if fails_at and self.count >= fails_at:
            raise ZeroDivisionError("always at the same place")
        return super().advance()
toy_run.Toy = Failing
sys.exit(toy_run.toy_train(toy_run.toy_config(Path(root), steps), Ranks.alone(), pause))
"""


def submit(
    cluster: SlurmCluster, directory: Path, *, pause: float = 0.5, fails_at: int = 0, tasks: int = 1, **settings: int
) -> str:
    """The toy, submitted as `prorl_mega.submit` submits the program. Returns the job's number."""
    job = SlurmJob(
        name="toy",
        submission=directory / "submission",
        working_directory=directory,
        python=sys.executable,
        cluster=with_settings(ClusterConfig(), {"time_minutes": 10} | settings),
        tasks=[
            (root / "toy", [str(root), str(STEPS), str(pause), str(fails_at)])
            for root in (directory / f"runs{index}" for index in range(tasks))
        ],
    )
    job.submission.mkdir()
    copy_code(job.submission / CODE)
    (job.submission / CODE / "prorl_mega" / "train.py").write_text(TOY)
    for name, content in job.files().items():
        (job.submission / name).write_bytes(content)
    return cluster.run(*job.command(), cwd=directory).stdout.strip()


def until(said: Callable[[], bool], within_s: float = LIMIT_S) -> None:
    ends = time.monotonic() + within_s
    while not said():
        assert time.monotonic() < ends
        time.sleep(0.3)


def wait(cluster: SlurmCluster, job: str) -> str:
    """The state at the end, without Slurm's two minutes before each further attempt."""
    ends = time.monotonic() + LIMIT_S
    while time.monotonic() < ends:
        state = cluster.state(job)
        if state == "PENDING":
            cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)
        elif state not in ("RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED"):
            return state
        time.sleep(0.5)
    raise TimeoutError(cluster.run("scontrol", "show", "job", job).stdout + cluster.run("sinfo", "-N", "-l").stdout)


def logs(directory: Path) -> str:
    return "\n".join(f"--- {each.name}\n{each.read_text()}" for each in sorted(directory.rglob("slurm/*-*.log")))


def step(directory: Path) -> int:
    rows = list(read_rows(directory / "runs0" / "toy" / "metrics.jsonl"))
    return rows[-1]["step"] if rows else 0


def numbers(run: Path) -> list[dict[str, float]]:
    kept = ("step", "reward/mean", "policy/kl", "policy/loss", "evaluation/pass@1")
    return [{name: row[name] for name in kept if name in row} for row in read_rows(run / "metrics.jsonl")]


def assert_as_if_nothing_had_happened(directory: Path) -> None:
    toy_train(toy_config(directory / "alone", STEPS), Ranks.alone())
    assert numbers(directory / "runs0" / "toy") == numbers(directory / "alone" / "toy")
    assert len(numbers(directory / "runs0" / "toy")) == STEPS


def attempts(directory: Path, index: int = 0) -> list[int]:
    return [row["step"] for row in read_rows(directory / f"runs{index}" / "toy" / "attempts.jsonl")]


def test_a_time_limit(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Slurm's own requeue does not follow a time limit."""
    job = submit(cluster, tmp_path, pause=2.5, time_minutes=2, stop_before_end_s=60)
    assert wait(cluster, job) == "COMPLETED", logs(tmp_path)
    begun = attempts(tmp_path)
    assert len(begun) >= 2, logs(tmp_path)
    assert begun == sorted(set(begun))
    assert f"job {job} goes back into the queue" in logs(tmp_path)
    assert_as_if_nothing_had_happened(tmp_path)
    assert (tmp_path / "runs0" / "toy" / "slurm" / "latest.log").readlink() == Path(f"{job}-{len(begun)}.log")


def test_a_job_that_is_cancelled_stays_so(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path)
    until(lambda: step(tmp_path) >= 4)
    cluster.run("scancel", job)
    assert wait(cluster, job) == "CANCELLED"
    time.sleep(3)
    assert cluster.state(job) == "CANCELLED"
    assert read_summary(tmp_path / "runs0" / "toy")["name"] == "SAVED_AFTER_SIGNAL", logs(tmp_path)


def test_a_job_that_makes_way_for_another(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path)
    until(lambda: step(tmp_path) >= 4)
    urgent = ["--partition=urgent", "--nodes=2", "--exclusive", "--wrap=sleep 5", "--output=/dev/null"]
    other = cluster.run("sbatch", "--parsable", *urgent, cwd=tmp_path).stdout.strip()
    assert wait(cluster, other) == "COMPLETED"
    assert wait(cluster, job) == "COMPLETED", logs(tmp_path)
    assert len(attempts(tmp_path)) == 2, logs(tmp_path)
    assert attempts(tmp_path)[1] >= 4, "it has saved before it went"
    assert_as_if_nothing_had_happened(tmp_path)


def test_a_node_that_fails(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path)
    until(lambda: step(tmp_path) >= 4)
    node = cluster.job_field(job, "NodeList")
    cluster.fail_node(node, job)
    try:
        assert wait(cluster, job) == "COMPLETED", logs(tmp_path)
    finally:
        cluster.restore_node(node)
    assert len(attempts(tmp_path)) == 2
    assert_as_if_nothing_had_happened(tmp_path)


def test_a_job_that_comes_no_further(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, pause=0.0, fails_at=9)
    assert wait(cluster, job) == "FAILED"
    assert cluster.job_field(job, "ExitCode") == "40:0", logs(tmp_path)
    assert attempts(tmp_path) == [0, 0, 0]
    summary = read_summary(tmp_path / "runs0" / "toy")
    assert (summary["name"], summary["cause"]) == ("CRASHED", "ZeroDivisionError: always at the same place")


def test_an_array_whose_tasks_go_their_own_ways(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, pause=0.1, tasks=2)
    for index in range(2):
        assert wait(cluster, f"{job}_{index}") == "COMPLETED", logs(tmp_path)
        assert attempts(tmp_path, index) == [0]
    assert numbers(tmp_path / "runs0" / "toy") == numbers(tmp_path / "runs1" / "toy")


def test_the_real_program_goes_on_after_its_time_limit(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Megatron and vLLM on two nodes; the signal comes in the middle of a step."""
    settings = [
        "experiment=demo", "model=random", f"model.path={ROOT / 'examples' / 'tiny_qwen2'}", "name=real",
        "schedule.steps=1000", "schedule.save_every=1000", "schedule.evaluate_every=1000", "parallel.tensor=2",
        "recipe.prompts_per_step=12", "recipe.prompts_per_update=12", "tasks.mixture.instruction.weight=20",
        "recipe.selection.min_groups_fraction=0.01", "rollout.max_response_tokens=24",
        "evaluation.problems_per_task=1", "evaluation.final_problems_per_task=1", "evaluation.samples=2",
        "cluster.nodes=2", "cluster.time_minutes=3", "cluster.stop_before_end_s=60",
    ]  # fmt: skip
    done = cluster.run(sys.executable, "-m", "prorl_mega.submit", *settings, cwd=tmp_path)
    job = done.stdout.split("submitted as job ")[1].split(";")[0]
    run = tmp_path / "runs" / "real"
    until(lambda: len(list(read_rows(run / "attempts.jsonl"))) >= 2 or cluster.state(job) == "FAILED", 500)
    if cluster.state(job) == "PENDING":
        cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)
    until(lambda: "resuming after step" in (run / "console.log").read_text(), 300)
    cluster.run("scancel", job)
    wait(cluster, job)
    rows = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows == list(range(len(rows))), logs(tmp_path)
    assert rows[-1] >= 1
