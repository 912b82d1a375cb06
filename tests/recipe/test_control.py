import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.schema import OptimizerConfig, RecipeConfig, ResetConfig, ScheduleConfig
from prorl_mega.errors import CheckpointError
from prorl_mega.recipe.control import ENTROPY, SCORE, ProRLController
from prorl_mega.types import Metrics


def controller(entropy_floor: float = 0.0, **reset: Any) -> ProRLController:
    schedule = ScheduleConfig(reset=ResetConfig(**({"min_distance": 1} | reset)), entropy_floor=entropy_floor)
    return ProRLController(schedule, RecipeConfig(), OptimizerConfig())


def reset_steps(subject: ProRLController, history: list[Metrics], first: int = 1) -> list[int]:
    return [step for step, metrics in enumerate(history, first) if subject.observe(step, metrics).reset_reference]


def scores(*values: float) -> list[Metrics]:
    return [{SCORE: value} for value in values]


def test_improvement_never_resets() -> None:
    assert reset_steps(controller(patience=2), scores(*np.linspace(0, 1, 50))) == []


def test_plateau() -> None:
    subject = controller(patience=3)
    assert reset_steps(subject, scores(0.1, 0.2, 0.3, 0.3, 0.29)) == []
    decision = subject.observe(6, {SCORE: 0.28})
    assert decision.reset_reference
    assert decision.reset_optimizer
    (reason,) = decision.reasons
    assert "evaluation/pass@1=0.28 after 3 evaluations without improvement over 0.3 at step 3" in reason


def test_after_a_reset_progress_is_judged_anew() -> None:
    # 0.2 is worse than the best before the reset, but an improvement since
    assert reset_steps(controller(patience=2), scores(0.5, 0.1, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4)) == [3, 8]


def test_min_delta_is_what_counts_as_improvement() -> None:
    noise = scores(0.5, 0.505, 0.498, 0.509, 0.51)
    assert reset_steps(controller(patience=4, min_delta=0.02), noise) == [5]
    assert reset_steps(controller(patience=4, min_delta=0.0), noise) == []


def test_schedule() -> None:
    assert reset_steps(controller(every=10), [{}] * 35) == [10, 20, 30]


def test_a_plateau_moves_the_schedule() -> None:
    history: list[Metrics] = [{}] * 25
    history[2:4] = scores(0.5, 0.5)
    assert reset_steps(controller(every=10, patience=1), history) == [4, 14, 24]


def test_min_distance_postpones_and_says_so() -> None:
    subject = controller(patience=1, min_distance=6)
    assert reset_steps(subject, scores(0.5)) == []
    waiting = subject.observe(2, {SCORE: 0.5})
    assert not waiting.reset_reference
    assert "waits for step 6 (min_distance)" in waiting.reasons[0]
    assert subject.observe(3, {}).reasons == ()  # only when there is news
    assert reset_steps(subject, [{}] * 10, first=4) == [6]


def test_improvement_while_waiting_calls_it_off() -> None:
    subject = controller(patience=1, min_distance=10)
    assert reset_steps(subject, [*scores(0.5, 0.5, 0.9), *[{}] * 20]) == []


def test_off_by_default() -> None:
    assert reset_steps(controller(), scores(*[0.5] * 100)) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_decides_nothing(bad: float) -> None:
    subject = controller(patience=2)
    assert reset_steps(subject, scores(0.5, 0.4)) == []
    before = subject.state_dict()
    decision = subject.observe(3, {SCORE: bad})
    assert not decision.reset_reference
    assert "ignored" in decision.reasons[0]
    assert subject.state_dict() == before
    assert subject.observe(4, {SCORE: 0.4}).reset_reference


def test_only_nan_never_resets() -> None:
    assert reset_steps(controller(patience=1), scores(*[math.nan] * 20)) == []


def test_optimizer_is_kept_when_configured() -> None:
    decision = controller(every=1, clear_optimizer=False).observe(1, {})
    assert decision.reset_reference
    assert not decision.reset_optimizer


def test_entropy_floor_warns_once_per_crossing() -> None:
    subject = controller(entropy_floor=0.1)
    entropies = [0.5, 0.09, 0.08, math.nan, 0.11, 0.05]
    reasons = [subject.observe(step, {ENTROPY: value}).reasons for step, value in enumerate(entropies, 1)]
    assert [len(each) for each in reasons] == [0, 1, 0, 0, 1, 1]
    assert reasons[1] == ("entropy fell below the floor: 0.09 nats at step 2, entropy_floor=0.1",)
    assert "back above" in reasons[4][0]
    assert controller().observe(1, {ENTROPY: 0.0}).reasons == ()


def test_coefficients() -> None:
    subject = ProRLController(
        ScheduleConfig(),
        RecipeConfig(kl_coef=0.3, entropy_coef=0.2),
        OptimizerConfig(learning_rate=1e-4, warmup_steps=4),
    )
    rates = [subject.coefficients(step).learning_rate for step in range(6)]
    assert rates == pytest.approx([1e-5, 3.25e-5, 5.5e-5, 7.75e-5, 1e-4, 1e-4])
    assert (subject.coefficients(0).kl, subject.coefficients(0).entropy) == (0.3, 0.2)
    constant = ProRLController(ScheduleConfig(), RecipeConfig(), OptimizerConfig(learning_rate=1e-4, warmup_steps=0))
    assert constant.coefficients(0).learning_rate == 1e-4


@pytest.mark.parametrize("clear", [True, False])
def test_warm_up_begins_again_when_the_optimizer_is_cleared(clear: bool) -> None:
    reset = ResetConfig(every=6, min_distance=1, clear_optimizer=clear)
    subject = ProRLController(
        ScheduleConfig(reset=reset), RecipeConfig(), OptimizerConfig(learning_rate=1e-4, warmup_steps=2)
    )
    rates = []
    for step in range(9):
        rates.append(subject.coefficients(step).learning_rate)
        subject.observe(step + 1, {})
    again = [1e-5, 5.5e-5, 1e-4] if clear else [1e-4] * 3
    assert rates == pytest.approx([1e-5, 5.5e-5, 1e-4, 1e-4, 1e-4, 1e-4, *again])


metrics = st.fixed_dictionaries(
    {}, optional={SCORE: st.sampled_from([0.1, 0.2, 0.3, math.nan]), ENTROPY: st.sampled_from([0.05, 0.5, math.nan])}
)


@settings(deadline=None)
@given(
    st.lists(metrics, max_size=30),
    st.integers(0, 30),
    st.builds(
        ResetConfig,
        every=st.integers(0, 6),
        patience=st.integers(0, 3),
        min_delta=st.sampled_from([0.0, 0.15]),
        min_distance=st.integers(1, 6),
    ),
)
def test_interrupted_equals_uninterrupted(history: list[Metrics], cut: int, reset: ResetConfig) -> None:
    def fresh() -> ProRLController:
        return ProRLController(ScheduleConfig(reset=reset, entropy_floor=0.1), RecipeConfig(), OptimizerConfig())

    straight = fresh()
    expected = [straight.observe(step, each) for step, each in enumerate(history, 1)]
    first, second = fresh(), fresh()
    decisions = [first.observe(step, each) for step, each in enumerate(history[:cut], 1)]
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    decisions += [second.observe(step, each) for step, each in enumerate(history[cut:], cut + 1)]
    assert [asdict(each) for each in decisions] == [asdict(each) for each in expected]
    steps = [step for step, each in enumerate(decisions, 1) if each.reset_reference]
    assert all(b - a >= reset.min_distance for a, b in zip([0, *steps], steps, strict=False))
    assert all(each.reasons for each in decisions if each.reset_reference)


def test_state_of_another_program() -> None:
    with pytest.raises(CheckpointError, match=r"expected .*last_reset"):
        controller().load_state_dict({"last_reset": 3})
