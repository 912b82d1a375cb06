"""A run whose servers are steps on a node of their own: a heterogeneous job of Slurm, Megatron and vLLM."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from helpers.slurm_cluster import SlurmCluster

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).resolve().parents[2]


def test_the_learner_on_one_node_and_a_server_on_the_other(cluster: SlurmCluster, tmp_path: Path) -> None:
    settings = [
        "experiment=demo", "model=random", f"model.path={ROOT / 'examples' / 'tiny_qwen2'}", "name=apart",
        "schedule.steps=2", "recipe.prompts_per_step=12", "recipe.prompts_per_update=12",
        "tasks.mixture.instruction.weight=20", "recipe.selection.min_groups_fraction=0.01",
        "rollout.max_response_tokens=24", "evaluation.problems_per_task=1", "evaluation.final_problems_per_task=1",
        "evaluation.samples=2", "placement=disaggregated", "rollout.staleness=1", "servers.transport=gloo",
        "servers.probe_deadline_s=60", "cluster.server_nodes=1", "cluster.time_minutes=15",
    ]  # fmt: skip
    done = cluster.run(sys.executable, "-m", "prorl_mega.submit", *settings, cwd=tmp_path)
    job = done.stdout.split("submitted as job ")[1].split(";")[0]
    run = tmp_path / "runs" / "apart"
    ends = time.monotonic() + 600
    while (state := cluster.state(job)) in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"):
        assert time.monotonic() < ends, cluster.run("scontrol", "show", "job", job).stdout
        time.sleep(0.5)
    log = "\n".join(each.read_text() for each in (run / "slurm").glob("*-*.log")) if run.exists() else done.stdout
    servers = "\n".join(each.read_text() for each in run.glob("servers/*.log"))
    assert state == "COMPLETED", log + servers
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert rows[-1]["servers/push_failures"] == 0
    nodes = cluster.run("scontrol", "show", "job", "-o", job).stdout
    assert "NodeList=n1 " in nodes
    assert "NodeList=n2 " in nodes
