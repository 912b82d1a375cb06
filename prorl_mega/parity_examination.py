"""Do sampler and learner compute the same model? Asked before a run, with the settings of that run.

    python -m prorl_mega.doctor parity experiment=demo
    python -m prorl_mega.doctor parity experiment=prorl_v1_1p5b model.path=/models/x --problems 64 --samples 8
    torchrun --nproc-per-node 2 -m prorl_mega.doctor parity experiment=demo parallel.tensor=2 rollout.tensor=2

Builds learner, engine and verifiers as `prorl_mega.train` does, pushes the weights of model.path into the engine,
samples answers to training problems, and has the learner compute the log-probability of every sampled token. Nothing is
trained, and nothing is written: the table goes to the console.

    --problems N   problems that are drawn (default: 16, or one per rank)
    --samples N    answers to each (default: 4)

The table has |log p(learner) − log p(sampler)| in nats over all tokens, by position in the answer (from 0), as a
histogram, and the ten tokens that differ most, with the text before them. How to read it: docs/parity.md. The verdict
is on the mean, by the bound that ends the first step of a run: rollout.max_logprob_gap, or 1e-3 in fp32 and 0.05 in
bf16.

Exit codes: 0 they agree; 23 they do not; 10 stopped by a signal; 20 settings are wrong, 21 data; 24 the engine fails.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from omegaconf import DictConfig

from prorl_mega.config.compose import run_composed
from prorl_mega.config.schema import RunConfig
from prorl_mega.distributed.launch import read_launch
from prorl_mega.errors import ConfigError, ExitCode, NumericsError
from prorl_mega.examination import examined_config, refuse_sweeps
from prorl_mega.reporting.parity_text import parity_lines
from prorl_mega.run.console import counted
from prorl_mega.run.signals import Interrupted
from prorl_mega.run.unrecorded_run import UnrecordedRun

if TYPE_CHECKING:
    from prorl_mega.build import Parts
    from prorl_mega.types import ParityReport

PROBLEMS, SAMPLES = 16, 4


def examine(arguments: list[str]) -> NoReturn:
    """The program, with the command line behind its name. Ends with an exit code."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--problems", type=int)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    options, sys.argv[1:] = parser.parse_known_args(arguments)
    refuse_sweeps()

    def main(settings: DictConfig) -> ExitCode:
        launch = read_launch(os.environ)
        os.environ.update(launch.variables())
        problems = max(PROBLEMS, launch.world_size) if options.problems is None else options.problems
        for flag, number in (("--problems", problems), ("--samples", options.samples)):
            if number < 1:
                raise ConfigError(f"{flag} {number}: at least 1 works")
        return run(examined_config(settings, launch.world_size), problems, options.samples)

    run_composed(main, RunConfig)


def run(config: RunConfig, problems: int, samples: int) -> ExitCode:
    """One rank of the job. Raises NumericsError, on every rank, where sampler and learner do not agree."""
    from prorl_mega.build import build  # seconds of imports, after the settings have been checked
    from prorl_mega.sampler import join_job

    ranks = join_job(config)
    with UnrecordedRun(ranks) as run, build(config, run, ranks) as parts:
        try:
            report = sampled_report(parts, problems, samples)
        except Interrupted:
            run.message("stopped; nothing was examined")
            return ExitCode.SAVED_AFTER_SIGNAL
        answers = f"{counted(report.answers, 'answer')} to {counted(problems, 'problem')}"
        run.message(f"{answers}, weights of {config.model.path}")
        for line in parity_lines(report):
            run.message(line)
        if complaint := objection(report, parts.max_logprob_gap):
            raise NumericsError(complaint)
        run.message(
            f"verdict: sampler and learner agree; they differ by {report.whole.mean:.3g} nats per token on average, "
            f"and {parts.max_logprob_gap:g} is allowed"
        )
    return ExitCode.FINISHED


def sampled_report(parts: Parts, problems: int, samples: int) -> ParityReport:
    """The report on answers that are sampled now, from the learner's weights as they are. Collective."""
    from prorl_mega.collect import Sampling
    from prorl_mega.recipe.train_samples import unjudged_samples

    settings = parts.controller.settings()
    parts.apply_settings(settings)
    parts.sync.update_weights(version=0)
    sampling = Sampling(
        samples=samples,
        temperature=settings.rollout.temperature,
        max_tokens=settings.rollout.max_response_tokens,
        stream="doctor",
    )
    sequences = unjudged_samples(parts.collector.collect(parts.problems.draw(problems), sampling))
    parts.rollout.sleep()
    parts.learner.compute_old_log_probs(sequences)
    return parts.parity(sequences, version=0)


def objection(report: ParityReport, bound: float) -> str:
    """Why the two do not agree; empty if they do. The mean is in nats per token, as `bound`."""
    from prorl_mega.recipe.agreement import LIKELY_CAUSES

    if report.not_finite:
        return (
            f"{counted(report.not_finite, 'sampled token')} of {report.whole.tokens + report.not_finite:,} have a "
            "log-probability that is not finite in the engine or in the learner; the first of them are in the table"
        )
    if report.whole.mean <= bound:
        return ""
    return (
        f"sampler and learner do not compute the same model: they differ by {report.whole.mean:.3g} nats per token on "
        f"average, by {report.whole.max:.3g} at most, and rollout.max_logprob_gap is {bound:g}. {LIKELY_CAUSES}"
    )


if __name__ == "__main__":
    examine(sys.argv[1:])
