"""The workload with this system: the parts that `train.py` uses, in its order. Arguments: workload, result."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.workload import Workload, reward, write_result
from prorl_mega.build import build
from prorl_mega.collect import Collector, Sampling
from prorl_mega.config.recipe import KLConfig
from prorl_mega.config.schema import (
    ModelConfig,
    OptimizerConfig,
    ParallelConfig,
    RecipeConfig,
    RolloutConfig,
    RunConfig,
    ScheduleConfig,
    TaskConfig,
    TasksConfig,
)
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.recipe.train_samples import assign_advantages, split_updates, to_train_samples
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.run.timers import TIMING_PREFIX
from prorl_mega.sampler import join_job
from prorl_mega.types import Grading, Problem, Scoring, Verdict


class Rewards:
    """The workload's reward in place of the worker processes, as TRL calls it in its own process too."""

    def __init__(self) -> None:
        self.scoring = Scoring()
        self._verdicts: list[Verdict] = []

    @contextlib.contextmanager
    def batch(self) -> Iterator[Rewards]:
        self._verdicts = []
        yield self

    def add(self, problem: Problem, text: str, grading: Grading = Grading.STRICT) -> None:
        self._verdicts.append(Verdict(reward=reward(text)))

    def poll(self) -> None:
        """Nothing is left to do."""

    def wait(self, seconds: float) -> bool:
        """Everything has been scored already."""
        return True

    def drain(self) -> list[tuple[int, Verdict]]:
        found, self._verdicts = self._verdicts, []
        return list(enumerate(found))

    def verdicts(self) -> list[Verdict]:
        return self._verdicts

    def close(self) -> None:
        """Nothing to close."""


def settings(workload: Workload, root: str) -> RunConfig:
    return RunConfig(
        name="benchmark",
        root=root,
        seed=workload.seed,
        model=ModelConfig(path=workload.model),
        parallel=ParallelConfig(max_tokens_per_microbatch=2048),
        rollout=RolloutConfig(
            temperature=workload.temperature, max_prompt_tokens=128, max_response_tokens=workload.tokens
        ),
        recipe=RecipeConfig(
            prompts_per_step=workload.prompts,
            samples_per_prompt=workload.samples,
            prompts_per_update=workload.prompts,
            kl=KLConfig(coef=workload.kl_coef),
        ),
        optimizer=OptimizerConfig(learning_rate=workload.learning_rate),
        schedule=ScheduleConfig(steps=workload.steps, evaluate_every=0, save_every=0),
        tasks=TasksConfig(mixture={"sums": TaskConfig(name="arithmetic")}),
    )


def main(workload: Workload, result: Path) -> None:
    problems = [Problem(key=f"sums/{i}", task="sums", prompt=text) for i, text in enumerate(workload.texts)]
    tokens = []
    with tempfile.TemporaryDirectory() as root:
        config = settings(workload, root)
        ranks = join_job(config)
        with TrainingRun(config, ranks) as run, build(config, run, ranks) as parts:
            collector = Collector(
                rollout=parts.rollout,
                verifiers=Rewards(),
                tokenizer=Tokenizer(workload.model),
                layout=parts.learner.layout,
                engine_size=1,
                seed=workload.seed,
            )
            parts.sync.update_weights(version=run.resume(parts.restore))
            for step in range(1, workload.steps + 1):
                drawn = problems[(step - 1) * workload.prompts : step * workload.prompts]
                sampling = Sampling(samples=workload.samples, temperature=workload.temperature, stream=f"step {step}")
                with run.step(step) as log:
                    with log.phase("rollout"):
                        groups = collector.collect(drawn, sampling)
                    with log.phase("reference"):
                        sequences = to_train_samples(groups, config.recipe)
                        parts.learner.compute_log_probs(sequences)
                        assign_advantages(groups, sequences, config.recipe, config.recipe.kl.coef)
                    with log.phase("update"):
                        for part in split_updates(sequences, config.recipe):
                            log.add(parts.learner.update(part, parts.controller.hyperparams(step)))
                    with log.phase("push"):
                        parts.sync.update_weights(version=step)
                tokens.append(float(sum(sequence.completion_length for sequence in sequences)))
        rows = list(read_rows(run.directory / "metrics.jsonl"))
    seconds = [
        {name.removeprefix(TIMING_PREFIX): value for name, value in row.items() if name.startswith(TIMING_PREFIX)}
        for row in rows
    ]
    notes: dict[str, object] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    write_result(result, seconds=seconds, tokens=tokens, notes=notes)


if __name__ == "__main__":
    main(Workload.read(Path(sys.argv[1])), Path(sys.argv[2]))
