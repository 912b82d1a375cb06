"""`slurm/train.sbatch` and the Slurm launcher of sweeps, on a private Slurm with two virtual nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.settings import model_directory
from helpers.slurm_cluster import SlurmCluster

from prorl_mega.errors import ExitCode

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).resolve().parents[2]
JOB_LIMIT_S = 150
TRAINING_LIMIT_S = 600
ONE_STEP = [
    "experiment=demo",
    "model=random",
    "schedule.steps=1",
    "tasks.mixture.instruction.weight=20",
    "recipe.prompts_per_step=12",
    "recipe.prompts_per_update=12",
    "recipe.samples_per_prompt=16",
    "recipe.selection.min_groups_fraction=0.01",
    "rollout.max_response_tokens=24",
    "evaluation.problems_per_task=1",
    "evaluation.final_problems_per_task=1",
    "evaluation.samples=2",
]
HOSTILE = [
    "experiment=demo",
    "name=a b",
    "a='single'",
    'b="double"',
    "c=$(touch canary)",
    "d=`touch canary`",
    "e=line\nbreak",
    "f=;touch canary;",
    "g=*",
    "--flag",
    "h=ünï→code",
    "i=\\back\\slash\\",
    "j=tab\there",
    "k=${HOME}",
    "",
    "l={x: [1, 2]}",
    " m = spaces ",
    "n=!history",
]
STAND_IN = """#!{python}
# Stands in for the interpreter: records what it was started with, and proves that the ranks can meet.
import json, os, sys, time
import torch
from prorl_mega.distributed.launch import read_launch

launch = read_launch(os.environ)
os.environ.update(launch.variables())
behaviour = sys.argv[-1]
if behaviour == "fail" and launch.rank == 1:
    sys.exit(24)
if behaviour == "fail":
    time.sleep(600)
torch.distributed.init_process_group("gloo")
total = torch.ones(1) * (launch.rank + 1)
torch.distributed.all_reduce(total)
record = {{"argv": sys.argv[1:], "sum": total.item(), "variables": launch.variables(), "cwd": os.getcwd(),
          "node": os.environ["SLURMD_NODENAME"], "threads": os.environ["OMP_NUM_THREADS"]}}
attempt = os.environ.get("SLURM_RESTART_COUNT", "0")
with open(f"rank{{launch.rank}}-attempt{{attempt}}.json", "w") as file:
    json.dump(record, file)
torch.distributed.destroy_process_group()
"""
SWEEP = """
import json, os, torch
from prorl_mega.config.compose import run_hydra
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ExitCode

def main(config: RunConfig) -> ExitCode:
    torch.distributed.init_process_group("gloo")
    total = torch.ones(1) * config.seed
    torch.distributed.all_reduce(total)
    rank = torch.distributed.get_rank()
    with open(f"{config.name}-rank{rank}.json", "w") as file:
        json.dump({"root": config.root, "sum": total.item(), "node": os.environ["SLURMD_NODENAME"]}, file)
    torch.distributed.destroy_process_group()
    return ExitCode.FINISHED

if __name__ == "__main__":
    run_hydra(main, RunConfig)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory to submit from whose `python` is the stand-in."""
    stand_in = tmp_path / "bin" / "python"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN.format(python=sys.executable))
    stand_in.chmod(0o755)
    (tmp_path / "slurm").mkdir()
    environment = f'source "{ROOT}/slurm/env.sh"\nexport PATH="{stand_in.parent}:$PATH"\n'
    (tmp_path / "slurm" / "env.sh").write_text(environment)
    return tmp_path


def batch(checkout: Path, *arguments: str, nodes: int = 2) -> list[str]:
    return [f"--nodes={nodes}", "--ntasks-per-node=1", str(ROOT / "slurm" / "train.sbatch"), *arguments]


def output(checkout: Path) -> str:
    return "\n".join(file.read_text() for file in checkout.glob("slurm-*.out"))


def test_two_nodes_meet_and_get_the_arguments_exactly(cluster: SlurmCluster, checkout: Path) -> None:
    state = cluster.submit(*batch(checkout, *HOSTILE), cwd=checkout, timeout=JOB_LIMIT_S)
    assert state == "COMPLETED", output(checkout)
    records = [json.loads((checkout / f"rank{rank}-attempt0.json").read_text()) for rank in range(2)]
    assert [record["argv"] for record in records] == [["-m", "prorl_mega.train", *HOSTILE]] * 2
    assert [record["sum"] for record in records] == [3.0, 3.0]
    assert [record["node"] for record in records] == ["n1", "n2"]
    assert [record["variables"]["WORLD_SIZE"] for record in records] == ["2", "2"]
    assert {record["cwd"] for record in records} == {str(checkout)}
    assert not list(checkout.rglob("canary"))
    assert "attempt 1," in output(checkout)


def test_another_attempt_appends_and_takes_another_port(cluster: SlurmCluster, checkout: Path) -> None:
    first = cluster.submit(*batch(checkout, nodes=2), cwd=checkout, timeout=JOB_LIMIT_S)
    assert first == "COMPLETED", output(checkout)
    job = next(checkout.glob("slurm-*.out")).stem.removeprefix("slurm-")
    cluster.run("scontrol", "requeue", job)
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # instead of Slurm's pause of two minutes
    assert cluster.wait(job, JOB_LIMIT_S) == "COMPLETED", output(checkout)
    assert "attempt 1," in output(checkout)
    assert "attempt 2," in output(checkout)
    ports = {json.loads((checkout / f"rank0-attempt{n}.json").read_text())["variables"]["MASTER_PORT"] for n in (0, 1)}
    assert len(ports) == 2


def test_a_failed_rank_ends_the_job(cluster: SlurmCluster, checkout: Path) -> None:
    assert cluster.submit(*batch(checkout, "fail"), cwd=checkout, timeout=JOB_LIMIT_S) == "FAILED"
    assert "task 1: Exited with exit code 24" in output(checkout)


def test_submitted_from_elsewhere(cluster: SlurmCluster, tmp_path: Path) -> None:
    assert cluster.submit(*batch(tmp_path), cwd=tmp_path, timeout=JOB_LIMIT_S) == "FAILED"
    assert "env.sh is missing; submit from the checkout" in output(tmp_path)


def test_sweep_submits_one_job_per_combination(cluster: SlurmCluster, tmp_path: Path) -> None:
    model = model_directory(tmp_path / "model")
    (tmp_path / "sweep.py").write_text(SWEEP)
    root = 'a b $(touch canary) `touch canary` "q" ; \\ |'
    overrides = [
        "-m",
        "experiment=demo",
        "seed=3,4",
        "model=random",
        f"model.path={model}",
        f"root='{root}'",
        "hydra/launcher=slurm",
        "cluster.nodes=2",
        "cluster.time_minutes=5",
    ]
    done = cluster.run(sys.executable, "sweep.py", *overrides, check=False, timeout=2 * JOB_LIMIT_S, cwd=tmp_path)
    assert done.returncode == ExitCode.FINISHED, done.stderr + logs(tmp_path)
    records = {file.name: json.loads(file.read_text()) for file in tmp_path.glob("demo--*.json")}
    assert len(records) == 4, sorted(records)
    assert sorted(record["sum"] for record in records.values()) == [6.0, 6.0, 8.0, 8.0]
    assert {record["root"] for record in records.values()} == {root}
    assert sorted(record["node"] for record in records.values()) == ["n1", "n1", "n2", "n2"]
    assert not list(tmp_path.rglob("canary"))


def test_training_on_two_nodes(cluster: SlurmCluster, tmp_path: Path) -> None:
    """The real program: Megatron and vLLM, tensor-parallel over the two nodes, one step from random weights."""
    (tmp_path / "slurm").mkdir()
    interpreter = f'export PATH="{Path(sys.executable).parent}:$PATH"\n'
    (tmp_path / "slurm" / "env.sh").write_text(f'source "{ROOT}/slurm/env.sh"\n{interpreter}')
    state = cluster.submit(
        *batch(tmp_path, "experiment=demo", "model.path=x", "name='two nodes'"), cwd=tmp_path, timeout=JOB_LIMIT_S
    )
    assert state == "FAILED"
    assert "error: name='two nodes' becomes a directory" in output(tmp_path)
    arguments = [*ONE_STEP, f"model.path={ROOT / 'examples' / 'tiny_qwen2'}", "parallel.tensor=2"]
    state = cluster.submit(*batch(tmp_path, *arguments), cwd=tmp_path, timeout=TRAINING_LIMIT_S)
    assert state == "COMPLETED", output(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "runs" / "demo" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    print(output(tmp_path))

    (tmp_path / "slurm" / "train.sbatch").write_text((ROOT / "slurm" / "train.sbatch").read_text())
    evaluate = [
        "--nodes=2",
        "--ntasks-per-node=1",
        str(ROOT / "slurm" / "evaluate.sbatch"),
        "run=demo",
        "rollout.tensor=1",
    ]
    state = cluster.submit(*evaluate, cwd=tmp_path, timeout=TRAINING_LIMIT_S)
    assert state == "COMPLETED", output(tmp_path)
    folder = tmp_path / "runs" / "demo" / "evaluation"
    final, again = (json.loads((folder / f"{name}.json").read_text()) for name in ("final", "step_000001"))
    assert again["metrics"]["evaluation/problems"] == final["metrics"]["evaluation/problems"]
    assert all(file.stat().st_size for file in (folder / "step_000001" / "samples").iterdir())
    assert len(list((folder / "step_000001" / "samples").iterdir())) == 2


def test_sweep_of_the_real_program(cluster: SlurmCluster, tmp_path: Path) -> None:
    """`python -m prorl_mega.train -m ... hydra/launcher=slurm`: two runs at the same time, one per node."""
    arguments = [*ONE_STEP, f"model.path={ROOT / 'examples' / 'tiny_qwen2'}", "seed=1,2", "cluster.time_minutes=15"]
    command = [sys.executable, "-m", "prorl_mega.train", "-m", *arguments, "hydra/launcher=slurm"]
    done = cluster.run(*command, check=False, timeout=2 * TRAINING_LIMIT_S, cwd=tmp_path)
    assert done.returncode == ExitCode.FINISHED, done.stdout + done.stderr + logs(tmp_path)
    runs = sorted(file.parent.name for file in (tmp_path / "runs").glob("*/metrics.jsonl"))
    assert runs == ["demo--seed_1", "demo--seed_2"]
    print(done.stdout, runs)


def logs(directory: Path) -> str:
    return "\n".join(file.read_text()[-3000:] for file in directory.rglob("*.err"))


def test_scripts_are_valid_bash() -> None:
    for script in ("train.sbatch", "evaluate.sbatch", "env.sh"):
        subprocess.run(["bash", "-n", str(ROOT / "slurm" / script)], check=True)
