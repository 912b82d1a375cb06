"""Resets of the reference, stages and the end of a run, on histories made up for the purpose."""

import math
from typing import Any

import numpy as np
import pytest
from helpers.histories import (
    controller,
    distances,
    entropies,
    events,
    reset_steps,
    scores,
)

from prorl_mega.config.recipe import KLConfig, LossConfig, RecipeConfig
from prorl_mega.config.schedule import (
    EntropyAction,
    EntropyConfig,
    KLControlConfig,
    ResetConfig,
    ResetTarget,
)
from prorl_mega.config.schema import OptimizerConfig
from prorl_mega.recipe.control import ProRLController
from prorl_mega.recipe.entropy_band import ENTROPY
from prorl_mega.recipe.triggers import KL, SCORE
from prorl_mega.types import Metrics


def resetting(**reset: Any) -> ProRLController:
    return controller(reset=ResetConfig(**({"min_distance": 1} | reset)))


def test_improvement_never_resets() -> None:
    assert reset_steps(resetting(patience=2, decline=0.01), scores(*np.linspace(0, 1, 50))) == []


def test_plateau() -> None:
    subject = resetting(patience=3)
    assert reset_steps(subject, scores(0.1, 0.2, 0.3, 0.3, 0.29)) == []
    decision = subject.observe(6, {SCORE: 0.28})
    assert decision.reset_reference
    assert decision.reset_optimizer
    (reason,) = decision.reasons
    assert "evaluation/pass@1=0.28 after 3 evaluations without improvement over 0.3 at step 3" in reason
    (event,) = decision.events
    assert (event.trigger, event.action) == ("plateau", "reset")
    assert event.numbers == {"score": 0.28, "best": 0.3, "best_step": 3, "evaluations": 3}
    assert event.limits == {"patience": 3, "min_delta": 0.0}


def test_after_a_reset_progress_is_judged_anew() -> None:
    # 0.2 is worse than the best before the reset, but an improvement since
    assert reset_steps(resetting(patience=2), scores(0.5, 0.1, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4)) == [3, 8]


def test_min_delta_is_what_counts_as_improvement() -> None:
    noise = scores(0.5, 0.505, 0.498, 0.509, 0.51)
    assert reset_steps(resetting(patience=4, min_delta=0.02), noise) == [5]
    assert reset_steps(resetting(patience=4, min_delta=0.0), noise) == []


def test_a_noisy_rise_is_no_plateau() -> None:
    dice = np.random.default_rng(3)
    rise = np.linspace(0.2, 0.6, 100) + dice.normal(0, 0.01, 100)
    assert reset_steps(resetting(patience=12, min_delta=0.002, decline=0.08), scores(*rise)) == []
    flat = np.full(100, 0.4) + dice.normal(0, 0.01, 100)
    assert len(reset_steps(resetting(patience=12, min_delta=0.002), scores(*flat))) >= 4


def test_decline() -> None:
    subject = resetting(decline=0.1, decline_patience=2)
    assert reset_steps(subject, scores(0.3, 0.5, 0.45, 0.38)) == []
    decision = subject.observe(5, {SCORE: 0.37})
    (event,) = decision.events
    assert (event.trigger, event.action) == ("decline", "reset")
    assert event.numbers == {"score": 0.37, "best": 0.5, "best_step": 2, "evaluations": 2}
    assert event.limits == {"decline": 0.1, "decline_patience": 2}


def test_a_dip_is_no_decline() -> None:
    assert reset_steps(resetting(decline=0.1, decline_patience=2), scores(*[0.5, 0.3, 0.5] * 20)) == []


def test_hysteresis_of_a_decline() -> None:
    # 0.405 is not down, but not clearly up either (above 0.41): the evaluation before it still counts
    assert reset_steps(resetting(decline=0.1, decline_patience=2), scores(0.5, 0.39, 0.405, 0.39)) == [4]
    assert reset_steps(resetting(decline=0.1, decline_patience=2), scores(0.5, 0.39, 0.415, 0.39)) == []


def test_kl_bound() -> None:
    subject = resetting(kl_bound=0.1, kl_patience=3)
    assert reset_steps(subject, distances(0.05, 0.11, 0.12)) == []
    (event,) = subject.observe(4, {KL: 0.13}).events
    assert (event.trigger, event.action, event.numbers) == ("kl_bound", "reset", {"kl": 0.13, "steps": 3})
    assert event.limits == {"kl_bound": 0.1, "kl_patience": 3}
    assert reset_steps(subject, distances(0.13, 0.13, 0.0), first=5) == [], "the count begins again"


def test_a_spike_of_the_kl_is_nothing() -> None:
    assert reset_steps(resetting(kl_bound=0.1, kl_patience=2), distances(*[0.01, 5.0] * 30)) == []


def test_hysteresis_of_the_kl() -> None:
    assert reset_steps(resetting(kl_bound=0.1, kl_patience=3), distances(0.11, 0.095, 0.11, 0.095, 0.11)) == [5]
    assert reset_steps(resetting(kl_bound=0.1, kl_patience=3), distances(0.11, 0.085, 0.11, 0.085, 0.11)) == []


def test_schedule() -> None:
    assert reset_steps(resetting(every=10), [{}] * 35) == [10, 20, 30]


def test_a_plateau_moves_the_schedule() -> None:
    history: list[Metrics] = [{}] * 25
    history[2:4] = scores(0.5, 0.5)
    assert reset_steps(resetting(every=10, patience=1), history) == [4, 14, 24]


def test_min_distance_postpones_and_says_so() -> None:
    subject = resetting(patience=1, min_distance=6)
    assert reset_steps(subject, scores(0.5)) == []
    waiting = subject.observe(2, {SCORE: 0.5})
    assert not waiting.reset_reference
    assert "waits for step 6 (min_distance)" in waiting.reasons[0]
    assert waiting.events[0].action == "wait"
    assert subject.observe(3, {}).reasons == ()  # only when there is news
    assert reset_steps(subject, [{}] * 10, first=4) == [6]


def test_improvement_while_waiting_calls_it_off() -> None:
    subject = resetting(patience=1, min_distance=10)
    assert reset_steps(subject, [*scores(0.5, 0.5, 0.9), *[{}] * 20]) == []


def test_off_by_default() -> None:
    assert events(resetting(), [{SCORE: 0.5, KL: 9.0, ENTROPY: 0.0}] * 100) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_decides_nothing(bad: float) -> None:
    subject = controller(
        reset=ResetConfig(patience=2, kl_bound=0.1, kl_patience=1, min_distance=1),
        entropy=EntropyConfig(low=0.5, target=1.0, proportional=0.1),
        kl=KLControlConfig(target=0.1),
    )
    assert reset_steps(subject, scores(0.5, 0.4)) == []
    before = subject.state_dict()
    decision = subject.observe(3, {SCORE: bad, KL: bad, ENTROPY: bad})
    assert not decision.reset_reference
    assert "ignored" in decision.reasons[0]
    assert subject.state_dict() == before
    assert subject.observe(4, {SCORE: 0.4}).reset_reference


def test_missing_validation_never_resets() -> None:
    assert reset_steps(resetting(patience=1, decline=0.01), [{}] * 50) == []
    assert reset_steps(resetting(patience=1, decline=0.01), scores(*[math.nan] * 20)) == []


def test_optimizer_is_kept_when_configured() -> None:
    decision = resetting(every=1, clear_optimizer=False).observe(1, {})
    assert decision.reset_reference
    assert not decision.reset_optimizer


def test_reset_to_the_best_policy() -> None:
    subject = resetting(decline=0.1, decline_patience=1, to=ResetTarget.best)
    decisions = [subject.observe(step, each) for step, each in enumerate(scores(0.2, 0.5, 0.45, 0.3), 1)]
    assert [each.keep_best for each in decisions] == [True, True, False, False]
    assert [each.reset_to_best for each in decisions] == [False, False, False, True]
    assert "reset to the best policy (step 2)" in decisions[3].reasons[0]
    # the policy is the one that scored 0.5 again, and is judged against that
    assert reset_steps(subject, scores(0.45, 0.41, 0.39), first=5) == [7]


def test_without_a_best_policy_the_reference_becomes_the_current_one() -> None:
    decision = resetting(every=2, to=ResetTarget.best).observe(2, {})
    assert decision.reset_reference
    assert not decision.reset_to_best


def test_resets_that_bring_nothing_stop_the_run() -> None:
    subject = resetting(patience=1, futile=2)
    history = scores(0.5, 0.5, 0.4, 0.4, 0.45, 0.3)
    decisions = [subject.observe(step, each) for step, each in enumerate(history, 1)]
    assert [each.reset_reference for each in decisions] == [False, True, True, False, False, False]
    assert [each.stop for each in decisions] == [False, False, False, True, False, True]
    (event,) = decisions[3].events
    assert (event.trigger, event.action, event.numbers["resets"]) == ("plateau", "stop", 2)
    better = resetting(patience=1, futile=2)
    assert not any(better.observe(step, each).stop for step, each in enumerate(scores(0.5, 0.5, 0.4, 0.6, 0.5, 0.5), 1))


def test_coefficients() -> None:
    subject = controller(
        recipe=RecipeConfig(kl=KLConfig(coef=0.3), loss=LossConfig(entropy_coef=0.2)),
        optimizer=OptimizerConfig(learning_rate=1e-4, warmup_steps=4),
    )
    rates = [subject.hyperparams(step).learning_rate for step in range(6)]
    assert rates == pytest.approx([1e-5, 3.25e-5, 5.5e-5, 7.75e-5, 1e-4, 1e-4])
    assert (subject.hyperparams(0).kl, subject.hyperparams(0).entropy) == (0.3, 0.2)
    constant = controller(optimizer=OptimizerConfig(learning_rate=1e-4, warmup_steps=0))
    assert constant.hyperparams(0).learning_rate == 1e-4


@pytest.mark.parametrize("clear", [True, False])
def test_warm_up_begins_again_when_the_optimizer_is_cleared(clear: bool) -> None:
    subject = controller(
        reset=ResetConfig(every=6, min_distance=1, clear_optimizer=clear),
        optimizer=OptimizerConfig(learning_rate=1e-4, warmup_steps=2),
    )
    rates = []
    for step in range(9):
        rates.append(subject.hyperparams(step).learning_rate)
        subject.observe(step + 1, {})
    again = [1e-5, 5.5e-5, 1e-4] if clear else [1e-4] * 3
    assert rates == pytest.approx([1e-5, 5.5e-5, 1e-4, 1e-4, 1e-4, 1e-4, *again])


def test_an_alarm_of_entropy_can_reset_and_stop() -> None:
    subject = controller(
        entropy=EntropyConfig(low=0.5, patience=2, on_low=EntropyAction.reset, high=3.0, on_high=EntropyAction.stop),
        reset=ResetConfig(min_distance=3),
    )
    decided = events(subject, entropies(0.4, 0.4, 0.4, 0.4, 1.0, 4.0, 4.0))
    assert [(step, event.trigger, event.action) for step, event in decided] == [
        (2, "entropy_low", "wait"),
        (4, "entropy_low", "reset"),
        (5, "entropy_low", "over"),
        (7, "entropy_high", "stop"),
    ]
