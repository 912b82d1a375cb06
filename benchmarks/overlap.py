"""Generation ahead of training against the synchronous loop: samples per second, idle time, reward at equal samples.

    python benchmarks/overlap.py --output runs/overlap                 three seeds, two cores, one thread a process
    python benchmarks/overlap.py --output runs/overlap --report        what is there

Answers have log-normal lengths (`overlap_task.py`). Every arm trains the same base on as many samples. The arms of a
seed run one after the other, so that each has the machine; runs that are there are not repeated. Rates are those of all
steps but the first ten, without evaluations and checkpoints. The synchronous arms are measured with one and with two
threads, because their processes take turns; the faster one counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev

import yaml

ROOT = Path(__file__).parents[1]
STEPS, FIRST, LAST = 60, 10, 20
SERVERS = ("placement=disaggregated", "servers.probe_deadline_s=60")
ARMS: dict[str, tuple[int, tuple[str, ...]]] = {
    "colocated": (1, ()),
    "colocated, 2 threads": (2, ()),
    "servers": (1, SERVERS),
    "servers, 2 threads": (2, SERVERS),
    "1 ahead": (1, (*SERVERS, "rollout.staleness=1")),
    "2 ahead": (1, (*SERVERS, "rollout.staleness=2")),
}
SYNCHRONOUS = [name for name in ARMS if "ahead" not in name]
MIXTURE = {
    "modules": [str(ROOT / "benchmarks" / "overlap_task.py")],
    "mixture": {"lines": {"name": "lines_of_letters"}},
}
TRAIN = {
    "defaults": [{"override /rollout": "tiny"}, {"override /schedule": "standard"}, {"override /tasks": "overlap"}],
    "name": "overlap",
    "parallel": {"max_tokens_per_microbatch": 4096},
    "rollout": {"max_prompt_tokens": 16, "max_response_tokens": 256},
    "recipe": {
        "prompts_per_step": 8,
        "samples_per_prompt": 8,
        "prompts_per_update": 8,
        "selection": {"dynamic_sampling": False, "keep_uniform_groups": True},
        "kl": {"coef": 0.001},
    },
    "optimizer": {"learning_rate": 1e-4},
    "schedule": {"steps": STEPS, "evaluate_every": 0, "save_every": STEPS, "parity_every": 0, "reset": {"patience": 0}},
    "evaluation": {"problems_per_task": 1, "samples": 1, "final_problems_per_task": 1},
    "tasks": {"workers": 1},
}
WARMSTART = {
    "defaults": [{"override /model": "random"}, {"override /tasks": "overlap"}],
    "model": {"path": str(ROOT / "examples" / "tiny_boundary")},
    "optimizer": {"learning_rate": 2e-3, "warmup_steps": 20},
    "parallel": {"max_tokens_per_microbatch": 4096},
    "steps": 200,
    "problems_per_step": 32,
    "max_tokens": 272,
}


def write_settings(output: Path) -> None:
    for name, content in {
        "tasks/overlap": MIXTURE,
        "experiment/overlap": TRAIN,
        "experiment/overlap_base": WARMSTART,
    }.items():
        file = output / "configs" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        header = "# @package _global_\n" if name.startswith("experiment") else ""
        file.write_text(header + yaml.safe_dump(content, sort_keys=False))


def run(output: Path, program: str, threads: int, *arguments: str) -> None:
    command = [sys.executable, "-m", f"prorl_mega.{program}", "--config-dir", str(output / "configs"), *arguments]
    log = (output / "log.txt").open("a")
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, check=True)


def rows_of(output: Path, arm: str, seed: int) -> list[dict[str, float]]:
    file = output / directory(arm, seed) / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [row for row in rows if row["step"] > 0]


def directory(arm: str, seed: int) -> str:
    return f"{arm.replace(', ', '_').replace(' ', '_')}_seed{seed}"


def numbers(rows: list[dict[str, float]]) -> dict[str, float]:
    """Samples per second, shares of idle time, and the mean reward of the last steps."""
    counted = rows[FIRST:]
    seconds = sum(row["seconds/step"] - row.get("seconds/evaluate", 0.0) for row in counted)
    samples = TRAIN["recipe"]["prompts_per_step"] * TRAIN["recipe"]["samples_per_prompt"]  # type: ignore[index]
    learner = sum(row["seconds/rollout"] for row in counted) / seconds
    return {
        "samples/s": samples * len(counted) / seconds,
        "learner idle": learner,
        "engines idle": sum(
            row.get("seconds/servers_idle", row["seconds/step"] - row["seconds/rollout"]) for row in counted
        )
        / seconds,
        "reward": fmean(row["reward/mean"] for row in rows[-LAST:]),
        "tokens": fmean(row["length/mean"] for row in rows),
        "age": fmean(row.get("staleness/mean", 0.0) for row in counted),
    }


def report(output: Path, seeds: list[int]) -> None:
    found = {
        (arm, seed): numbers(rows) for arm in ARMS for seed in seeds if len(rows := rows_of(output, arm, seed)) == STEPS
    }
    names = ["samples/s", "reward", "learner idle", "engines idle", "tokens", "age"]
    print(f"{'arm':22}{'seeds':>6}" + "".join(f"{name:>22}" for name in names))
    for arm in ARMS:
        runs = [each for (name, _), each in found.items() if name == arm]
        if runs:
            cells = [
                f"{fmean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}"
                for name in names
                if (values := [each[name] for each in runs])
            ]
            print(f"{arm:22}{len(runs):>6}" + "".join(f"{cell:>22}" for cell in cells))
    for arm in ("1 ahead", "2 ahead"):
        pairs = [
            (found[arm, seed], max(synchronous, key=lambda each: each["samples/s"]))
            for seed in seeds
            if (synchronous := [found[name, seed] for name in SYNCHRONOUS if (name, seed) in found])
            and (arm, seed) in found
        ]
        if pairs:
            rates = ", ".join(f"{ours['samples/s'] / theirs['samples/s']:.2f}" for ours, theirs in pairs)
            rewards = ", ".join(f"{ours['reward'] - theirs['reward']:+.3f}" for ours, theirs in pairs)
            print(f"{arm} against the fastest synchronous arm, by seed: samples/s × {rates}; reward {rewards}")
    (output / "overlap.json").write_text(
        json.dumps([{"arm": arm, "seed": seed} | each for (arm, seed), each in found.items()], indent=1) + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--report", action="store_true", help="only print what is there")
    options = parser.parse_args()
    output: Path = options.output.resolve()
    if not options.report:
        write_settings(output)
        if not (output / "base" / "config.json").exists():
            run(output, "warmstart", 2, "experiment=overlap_base", f"output={output}/base")
        for seed in options.seeds:
            for arm in options.arms:
                threads, settings = ARMS[arm]
                if len(rows_of(output, arm, seed)) < STEPS:
                    where = (
                        f"name={directory(arm, seed)}",
                        f"root={output}",
                        f"model.path={output}/base",
                        f"seed={seed}",
                    )
                    run(output, "train", threads, "experiment=overlap", *where, *settings)
                    print(arm, seed, numbers(rows_of(output, arm, seed)), flush=True)
    report(output, options.seeds)


if __name__ == "__main__":
    main()
