"""Supervised training on worked solutions: the cold start before reinforcement learning.

    python -m prorl_mega.warmstart experiment=demo_base                                    a base model from nothing
    python -m prorl_mega.warmstart model.path=/models/base tasks=arithmetic output=runs/warm     from an existing one
    python -m prorl_mega.warmstart … answers=runs/x/evaluation/LABEL         on its own right answers, kept by evaluate

The same Megatron learner that reinforcement learning uses maximises the likelihood of the solutions that tasks give
with their problems; `output` is a Hugging Face directory, with the tokenizer of `model.path`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from string import ascii_lowercase, digits
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from prorl_mega.config.compose import run_hydra
from prorl_mega.config.recipe import KLConfig
from prorl_mega.config.schema import RecipeConfig, ScheduleConfig, Split, WarmstartConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError, ExitCode
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.right_answers import RightAnswers
from prorl_mega.run.console import Console, duration
from prorl_mega.run.progress import RunProgress
from prorl_mega.run.sample_store import LineWriter
from prorl_mega.run.storage import storage_errors
from prorl_mega.tasks.objection import Check, Objection, length_check
from prorl_mega.tasks.shared_mixture import SharedMixture
from prorl_mega.types import Problem, TrainSample

if TYPE_CHECKING:
    from prorl_mega.learner.learner import MegatronLearner

FINAL_LEARNING_RATE = 0.1  # of the peak, reached by a cosine
SECONDS_BETWEEN_LINES = 5.0
BUCKET_MIB = 512
SHARD_BYTES = 5 << 30  # of one safetensors file


class TrainedText(msgspec.Struct):
    """A line of the file `corpus`."""

    text: str


def with_label_noise(solution: str, random: Random) -> str:
    """`solution` with one digit or letter of its last line, which has the answer, replaced by another one."""
    answer = solution.rfind("\n") + 1
    places = [
        place for place in range(answer, len(solution)) if solution[place].isdecimal() or solution[place].isalpha()
    ]
    if not places:
        return solution
    place = random.choice(places)
    kind = digits if solution[place].isdecimal() else ascii_lowercase
    wrong = random.choice([character for character in kind if character != solution[place].lower()])
    return solution[:place] + (wrong.upper() if solution[place].isupper() else wrong) + solution[place + 1 :]


def worked_example(problem: Problem, tokenizer: Tokenizer, config: WarmstartConfig) -> TrainSample:
    """The prompt as at rollout time, followed by the task's solution and, if it ends, the end-of-sequence token.

    A share `config.label_noise` of the problems gets a solution with a wrong character, always the same.
    """
    assert problem.solution is not None, "`usable` leaves such problems out"
    prompt = tokenizer.encode_prompt(problem.prompt, problem.system)
    random = Random(f"{config.seed}/{problem.key}")
    text = with_label_noise(problem.solution, random) if random.random() < config.label_noise else problem.solution
    solution = tokenizer.encode(text)
    end = [tokenizer.eos_id] if problem.solution_ends else []
    tokens = np.concatenate([prompt, solution, end]).astype(np.int32)
    nothing = np.zeros(len(tokens) - len(prompt), dtype=np.float32)
    return TrainSample(
        tokens=tokens, prompt_length=len(prompt), advantage=0.0, reward=1.0, rollout_logprobs=nothing, version=0
    )


def usable(tokenizer: Tokenizer, config: WarmstartConfig) -> Check:
    """The check that refuses problems without a worked solution, or whose example is longer than `max_tokens`."""
    fits = length_check(
        lambda problem: len(worked_example(problem, tokenizer, config).tokens),
        config.max_tokens,
        "max_tokens",
        "worked example",
    )

    def check(problem: Problem) -> Objection | None:
        if config.tasks.mixture[problem.task].split is Split.validation:
            return None  # nothing is evaluated here
        if problem.solution is None:
            return Objection(reason="no worked solution", detail=f"{problem.key} has no worked solution")
        return fits(problem)

    return check


def source(
    config: WarmstartConfig, tokenizer: Tokenizer, ranks: Ranks, report: Callable[[str], None]
) -> SharedMixture | RightAnswers:
    """The problems with the solutions that are trained on. Collective."""
    check = usable(tokenizer, config)
    if config.answers is None:
        return SharedMixture(config.tasks, config.seed, ranks, check=check, report=report)
    with ranks.raise_on_all_ranks("reading the answers"):
        answers = RightAnswers(Path(config.answers), config.seed)
        report(answers.describe())
        for each in answers.answers:
            if (length := len(worked_example(each, tokenizer, config).tokens)) > config.max_tokens:
                raise ConfigError(
                    f"max_tokens={config.max_tokens}: {each.key} of {config.answers} has {length} tokens; raise it"
                )
    return answers


def fresh(path: Path) -> Path:
    """`path`, at which there is no file any more: an interrupted warm start begins again."""
    with storage_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    return path


def learning_rate(step: int, config: WarmstartConfig) -> float:
    """Linear warm-up, then a cosine to a tenth of the peak."""
    peak, warmup = config.optimizer.learning_rate, config.optimizer.warmup_steps
    if step <= warmup:
        return peak * step / warmup
    progress = (step - warmup) / max(1, config.steps - warmup)
    return peak * (FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


def main(config: WarmstartConfig) -> ExitCode:
    from prorl_mega.build import build_learner  # seconds of imports, after the settings have been checked
    from prorl_mega.sampler import join_job, load_tokenizer
    from prorl_mega.weights.directory import check_target

    ranks = join_job(config)
    check_target(config.output)
    output = Path(config.output)
    with storage_errors(f"creating {output.parent}"):
        output.parent.mkdir(parents=True, exist_ok=True)
    console = Console(output.with_name(f"{output.name}.log") if ranks.is_first else None)
    tokenizer = load_tokenizer(config.model)

    problems = source(config, tokenizer, ranks, console.line)
    with console.phase("building the learner"):
        learner = build_learner(
            config.model,
            config.parallel,
            config.optimizer,
            RecipeConfig(kl=KLConfig(coef=0.0)),  # no reference policy in supervised training
            temperature=1.0,
            valid_vocab=len(tokenizer),
            seed=config.seed,
        )
    progress = RunProgress(ScheduleConfig(steps=config.steps, evaluate_every=0, save_every=0))
    corpus = LineWriter(fresh(Path(config.corpus))) if config.corpus and ranks.is_first else None
    shown = time.monotonic()
    for step in range(1, config.steps + 1):
        started = time.monotonic()
        drawn = problems.draw(config.problems_per_step)
        examples = [worked_example(problem, tokenizer, config) for problem in drawn]
        if corpus is not None:
            corpus.write(TrainedText(text=tokenizer.decode(example.tokens)) for example in examples)
        metrics = learner.sft_step(examples, learning_rate(step, config))
        now = time.monotonic()
        progress.step_done({"step": now - started})
        if now - shown > SECONDS_BETWEEN_LINES or step in (1, config.steps):
            shown = now
            left = duration(progress.seconds_left(step) or 0.0)
            console.line(
                f"warm start {step:>{len(str(config.steps))}}/{config.steps}  loss {metrics['loss/total']:.4f}  "
                f"{now - started:.2f} s/step  left {left}"
            )
    if corpus is not None:
        corpus.close()
    with console.phase(f"writing {output}"):
        write_huggingface(learner, config, writes=ranks.is_first)
    console.close()
    return ExitCode.FINISHED


def write_huggingface(learner: MegatronLearner, config: WarmstartConfig, *, writes: bool) -> None:
    """The learner's weights as a Hugging Face directory at `config.output`. Collective."""
    from prorl_mega.weight_sync import policy_stream
    from prorl_mega.weights.directory import save_directory

    stream = policy_stream(learner, bucket_mib=BUCKET_MIB)
    save_directory(stream, config.model.path, config.output, max_shard_bytes=SHARD_BYTES, writes=writes)


if __name__ == "__main__":
    run_hydra(main, WarmstartConfig)
