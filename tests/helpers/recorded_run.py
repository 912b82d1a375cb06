"""A run directory as a training run leaves it, with made-up numbers: a policy that improves and is reset twice."""

import math
from pathlib import Path

import numpy as np

from prorl_mega.config.schema import ModelConfig, RunConfig, ScheduleConfig, TaskConfig, TasksConfig
from prorl_mega.evaluation.conditions import conditions
from prorl_mega.run.decisions import append_decisions
from prorl_mega.run.evaluations import write_evaluation
from prorl_mega.run.jsonl import to_lines
from prorl_mega.run.metrics import append_metrics
from prorl_mega.run.settings import write_settings
from prorl_mega.types import Event, Metrics

TASKS = ("chain_sum", "gcd")
HOSTILE = "</pre><script>alert('x')</script><img src=http://example.com/x.png onerror=alert(1)>\x1b[31m"


def record_run(directory: Path, steps: int) -> None:
    directory.mkdir(parents=True)
    config = RunConfig(
        name=directory.name,
        model=ModelConfig(path=f"models/{HOSTILE[:20]}"),
        schedule=ScheduleConfig(steps=steps),
        tasks=TasksConfig(mixture={task: TaskConfig(name=task) for task in TASKS}),
    )
    write_settings(directory / "config.yaml", config)
    dice = np.random.default_rng(0)
    append_metrics(directory / "metrics.jsonl", 0, {"evaluation/pass@1": 0.15, "evaluation/pass@16": 0.3})
    for step in range(1, steps + 1):
        append_metrics(directory / "metrics.jsonl", step, metrics_of(step, steps, dice))
    for label, step, ability in (("base", 0, 0.2), ("final", steps, 0.7)):
        write_evaluation(
            directory / "evaluation",
            label=label,
            step=step,
            settings=conditions(config, problems_per_task=20, max_tokens=64),
            metrics={"evaluation/pass@1": ability},
            problems=[problem(task, index, ability, label) for task in TASKS for index in range(20)],
        )
    (directory / "samples").mkdir()
    row = {"key": "gcd/1", "task": "gcd", "prompt": HOSTILE, "completion": HOSTILE, "reward": 1.0}
    (directory / "samples" / f"step_{steps:06d}.jsonl").write_text(to_lines([row], readable=True))


def problem(task: str, index: int, ability: float, label: str) -> dict[str, object]:
    solved = round(16 * ability * (index % 5) / 4)
    return {
        "key": f"{task}/{index}",
        "task": task,
        "samples": 16,
        "solved": solved,
        "mean_reward": solved / 16,
        "prompt": f"Which number? {HOSTILE}",
        "completion": f"{label}: {HOSTILE}",
    }


def metrics_of(step: int, steps: int, dice: np.random.Generator) -> Metrics:
    share = 0.2 + 0.5 * (1 - math.exp(-3 * step / steps)) + dice.normal(0, 0.02)
    metrics = {
        "reward/mean": share,
        "reward/chain_sum": share - 0.1,
        "reward/gcd": share + 0.1,
        "pass/train": share,
        "policy/kl": float("nan") if step == 5 else 0.001 * (step % 20),
        "policy/entropy": math.exp(-step / steps),
        "optimizer/grad_norm": 0.5,
        "reference/reset": float(step % 20 == 0),
        "length/mean": 20 + dice.normal(),
        "length/truncated": 0.01,
        "sampler/logprob_gap": 1e-7,
        "sampler/logprob_gap_max": 3e-6,
        "groups/dropped/all_solved": float(dice.integers(0, 5)),
        "groups/dropped/none_solved": 0.0,
        "seconds/rollout": 2.0,
        "seconds/update": 1.0,
        "seconds/step": 3.0,
        "seconds/tokens_per_second": 1000.0,
    }
    if step % 10 == 0:
        metrics |= {"evaluation/pass@1": share, "evaluation/pass@4": share + 0.1, "evaluation/pass@16": share + 0.2}
    return metrics


def raise_alarm(directory: Path, step: int, alarm: str, completion: str) -> None:
    """An alarm of a step, and the answers behind it: two of one text, beside one that has nothing to do with it."""
    event = Event(trigger=alarm, action="warn", text=f"the alarm {alarm} begins at step {step}")
    append_decisions(directory / "decisions.jsonl", step, (event,))
    rows: list[dict[str, object]] = [
        {"key": f"gcd/{number}", "task": "gcd", "prompt": f"problem {number}", "completion": completion, "reward": 1.0,
         "outcome": "scored", "tokens": 40, "truncated": False, "behind": [alarm]}
        for number in range(2)
    ]  # fmt: skip
    rows.append({"key": "gcd/9", "task": "gcd", "prompt": "problem 9", "completion": "honest work", "reward": 1.0})
    (directory / "samples").mkdir(exist_ok=True)
    (directory / "samples" / f"step_{step:06d}.jsonl").write_text(to_lines(rows, readable=True))
