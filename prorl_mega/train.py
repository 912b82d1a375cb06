"""Prolonged reinforcement learning (ProRL, arXiv 2505.24864): the whole method, top to bottom.

Per step: draw verifiable problems, sample a group of answers to each with the inference engines, verify them, keep the
groups whose rewards differ, turn rewards into advantages, add the log-probabilities of the policy and of the reference
policy, take the optimizer steps, hand the new weights to the engines, and let the controller decide. At a reset,
the reference policy becomes the current policy and the optimizer starts afresh: that is what lets a run go on for
thousands of steps. The controller may also begin the next stage of the schedule, with settings of its own.

    python -m prorl_mega.train experiment=demo                          one process
    torchrun --nproc-per-node 4 -m prorl_mega.train experiment=demo parallel.tensor=2 parallel.pipeline=2
    sbatch --nodes 4 slurm/train.sbatch experiment=prorl_v1_1p5b        a cluster
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prorl_mega.collect import Sampling
from prorl_mega.config.compose import run_hydra
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ExitCode, NoInformativeGroupsError
from prorl_mega.recipe.hack_signs import DISPUTED, suspects
from prorl_mega.recipe.parity import is_parity_due, parity_metrics
from prorl_mega.recipe.shaping import shape_rewards
from prorl_mega.recipe.train_samples import assign_advantages, split_updates, to_train_samples
from prorl_mega.report import write_report
from prorl_mega.rollback import with_rollbacks
from prorl_mega.run.evaluations import final_scores
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.run.signals import Interrupted
from prorl_mega.run.step import StepLog
from prorl_mega.tasks.benchmarks import with_benchmarks
from prorl_mega.validation import Validation, evaluate_as, evaluate_base

if TYPE_CHECKING:
    from prorl_mega.build import Parts


def train(config: RunConfig, run: TrainingRun, parts: Parts) -> ExitCode:
    """The loop. It writes everything through `run`, and `controller` makes all decisions.

    A signal, or the end of the time, ends sampling, scoring and evaluations by Interrupted; an update is finished.
    """
    controller = parts.controller
    step = run.resume(parts.restore)  # updates of the policy so far, 0 when starting fresh
    parts.sync.update_weights(version=step)
    if step == 0:
        evaluate_base(parts, config, run)
    validation = Validation(parts, config, run)
    validation.begin_again(step)

    while (coming := run.next_step(step)) is not None:
        settings = controller.settings()  # those of the stage, with the controller's adjustments
        parts.apply_settings(settings)
        with run.step(coming, parts.save) as log:
            if coming > step:  # otherwise an earlier job has updated the policy and was stopped in the evaluation
                improve(step, settings, parts, run, log)
            step = coming
            if validation.has_results(step):
                with log.phase("evaluate"):
                    log.add(validation.results(step))

            decision = controller.observe(step, log.metrics)
            parts.apply(decision, step)
            log.decide(decision)
            validation.begin(step)
        if decision.stop:
            run.stop(decision)
        if run.due_to_save(step):
            run.save(step, parts.save)

    code = run.finish(step, parts.save)
    if code is ExitCode.FINISHED:
        evaluate_as("final", step, parts, config, run)
    return code


def improve(step: int, settings: RunConfig, parts: Parts, run: TrainingRun, log: StepLog) -> None:
    """The policy after `step` updates becomes the next one, in the learner and in the engines."""
    learner, rollout = parts.learner, parts.rollout
    recipe, limit = settings.recipe, settings.rollout.max_response_tokens
    hyperparams = parts.controller.hyperparams(step)
    with parts.drawn_again_if_interrupted():
        with log.phase("rollout"):
            sampling = Sampling(
                samples=recipe.samples_per_prompt,
                temperature=settings.rollout.temperature,
                max_tokens=limit,
                stream=f"step {step}",
            )
            groups, sampled, counts = parts.next_groups(recipe, sampling)
        log.add(counts)
        log.samples(sampled)
        log.suspects(suspects(sampled))
        parts.second_opinions.begin(sampled)
        rollout.sleep()

        with log.phase("reference"):
            log.add(shape_rewards(groups, recipe.shaping, step, limit))
            sequences = to_train_samples(groups, recipe)
            learner.compute_log_probs(sequences)
            log.add(assign_advantages(groups, sequences, recipe, hyperparams.kl))
        run.interruption_point()

    log.begin_update()
    with log.phase("update"), run.spikes.watching(log, step + 1, sequences):
        for part in split_updates(sequences, recipe):
            log.add(learner.update(part, hyperparams))
        parts.compare_engine(sequences, step)
    if is_parity_due(step + 1, settings.schedule.parity_every):
        with log.phase("parity"):
            report = parts.parity(sequences, step)
            log.add(parity_metrics(report))
            log.keep_parity(report)
    with log.phase("push"):
        rollout.wake()
        parts.sync.update_weights(version=step + 1)
    log.add(rollout.metrics())
    opinions = parts.second_opinions.end()
    log.add(opinions.metrics)
    log.suspects({DISPUTED: opinions.disputed})


def main(config: RunConfig) -> ExitCode:
    """One rank of the job: join the others, open the run directory, build the parts, train."""
    from prorl_mega.build import build  # seconds of imports, after the settings have been checked
    from prorl_mega.consistency import contradictions
    from prorl_mega.sampler import join_job

    ranks = join_job(config)
    with TrainingRun(config, ranks, contradictions) as run:
        with build(config, run, ranks) as parts:
            try:
                code = with_rollbacks(partial(train, config, run, parts), run, parts)
            except Interrupted as interruption:
                code = run.interrupted(interruption)
            except NoInformativeGroupsError:
                run.say_what_is_saved()
                raise
        if ranks.is_first:
            run.message(f"report: {write_report(run.directory)}")
    return code


if __name__ == "__main__":
    run_hydra(main, RunConfig, with_benchmarks, final_scores)
