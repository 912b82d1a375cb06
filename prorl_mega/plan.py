"""The plan of a run, on a login node: validates, prints the settings and what follows from them: numbers, data files.
Starts nothing, and reads no more of the data than its first rows.

python -m prorl_mega.plan experiment=prorl_v1_1p5b model.path=/models/DeepSeek-R1-Distill-Qwen-1.5B
python -m prorl_mega.plan --best cluster=h100_8x8 experiment=...       layouts for these GPUs, the fastest first
"""

from __future__ import annotations

import sys

from omegaconf import DictConfig, OmegaConf

from prorl_mega.config.compose import run_composed, to_config, to_objects
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ExitCode
from prorl_mega.huggingface.config import describe
from prorl_mega.planning.numbers import best_lines, plan_lines
from prorl_mega.tasks.benchmarks import with_benchmarks

BEST = "--best"


def main(settings: DictConfig) -> ExitCode:
    """Print the plan for the ranks of `cluster`: nothing is launched, so there is no other number."""
    cluster = to_objects(settings, RunConfig).cluster
    world_size = cluster.nodes * cluster.ranks_per_node
    config = to_config(settings, RunConfig, world_size, with_benchmarks)
    print(OmegaConf.to_yaml(OmegaConf.structured(config)))
    for line in plan_lines(config, world_size):
        print(line)
    return ExitCode.FINISHED


def best(settings: DictConfig) -> ExitCode:
    """Print the fastest layouts for the GPUs of `cluster`, whatever `parallel` and `rollout.tensor` say."""
    settings.parallel.tensor = settings.parallel.pipeline = settings.rollout.tensor = 1
    cluster = to_objects(settings, RunConfig).cluster
    world_size = cluster.nodes * cluster.ranks_per_node
    config = to_config(settings, RunConfig, world_size, with_benchmarks)
    for line in best_lines(config, describe(config.model.path, config.model.family), world_size):
        print(line)
    return ExitCode.FINISHED


if __name__ == "__main__":
    chosen = best if BEST in sys.argv else main
    sys.argv = [each for each in sys.argv if each != BEST]
    run_composed(chosen, RunConfig)
