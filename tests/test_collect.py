"""Dynamic sampling: how many groups each round draws, what is kept and what is counted."""

from __future__ import annotations

import pytest
from helpers.groups import scored_group

from prorl_mega.collect import Sampling, collect_informative
from prorl_mega.config.recipe import RecipeConfig, SelectionConfig
from prorl_mega.errors import NoInformativeGroupsError
from prorl_mega.types import Group, Metrics, Problem, Scoring

SAMPLING = Sampling(samples=2, temperature=1.0, stream="step 0")


class Script:
    """Problems numbered in the order drawn, and groups that are informative where the script says so."""

    def __init__(self, informative: str) -> None:
        self.informative = informative  # one character per problem: "+" or "-"
        self.rounds: list[int] = []
        self.scoring = [Scoring(answers=8, retries=1, busy_s=2.0, longest_s=0.5), Scoring(answers=8, busy_s=4.0)]

    def draw(self, count: int) -> list[Problem]:
        first = sum(self.rounds)
        self.rounds.append(count)
        return [Problem(key=str(first + i), task="t", prompt="p") for i in range(count)]

    def observe(self, groups: list[Group]) -> Metrics:
        return {"curriculum/observed": float(len(groups))}

    def collect(self, problems: list[Problem], sampling: Sampling, earlier: list[Group]) -> list[Group]:
        assert sampling is SAMPLING
        assert len(earlier) == sum(self.rounds[:-1])
        rewards = {"+": [0.0, 1.0], "-": [0.0, 0.0]}
        return [
            scored_group(list(rewards[self.informative[int(problem.key)]]), key=problem.key) for problem in problems
        ]


def recipe(**settings: float | bool) -> RecipeConfig:
    return RecipeConfig(
        prompts_per_step=4,
        samples_per_prompt=2,
        prompts_per_update=4,
        selection=SelectionConfig(**settings),  # type: ignore[arg-type]
    )


def keys(groups: list[Group]) -> str:
    return "".join(group.problem.key for group in groups)


def test_rounds_go_on_until_there_are_enough() -> None:
    script = Script("+--+-+++++")
    kept, sampled, metrics = collect_informative(script, script, recipe(), SAMPLING)  # type: ignore[arg-type]
    # half of the first four were of use, so the two that are missing are drawn as four
    assert script.rounds == [4, 4]
    assert (keys(kept), keys(sampled)) == ("0356", "01234567")
    assert metrics["groups/rounds"] == 2
    assert metrics["curriculum/observed"] == 8, "those that are left out as well"
    assert metrics["groups/dropped/all_wrong"] == 3
    assert metrics["groups/dropped/surplus"] == 1


def test_oversampling_draws_more_at_once() -> None:
    script = Script("+--+-+++++")
    kept, sampled, metrics = collect_informative(script, script, recipe(oversampling=1.75), SAMPLING)  # type: ignore[arg-type]
    assert script.rounds == [7]
    assert (keys(kept), keys(sampled)) == ("0356", "0123456")
    assert metrics["groups/rounds"] == 1
    assert "groups/dropped/surplus" not in metrics


def test_without_dynamic_sampling_there_is_one_round_of_what_was_asked_for() -> None:
    script = Script("+--+-+++++")
    settings = recipe(oversampling=2.0, dynamic_sampling=False)
    kept, _, metrics = collect_informative(script, script, settings, SAMPLING)  # type: ignore[arg-type]
    assert script.rounds == [4]
    assert keys(kept) == "03"
    assert metrics["groups/kept"] == 2


def test_rounds_are_bounded_and_nothing_to_learn_from_is_an_error() -> None:
    script = Script("-" * 100)
    with pytest.raises(NoInformativeGroupsError, match=r"only 0 of 12 groups .* after 3 rounds \(all_wrong: 12\)"):
        collect_informative(script, script, recipe(max_sampling_rounds=3), SAMPLING)  # type: ignore[arg-type]
    assert script.rounds == [4, 4, 4]


def test_a_band_of_pass_rates_draws_again_and_counts_why() -> None:
    script = Script("+-" + "+" * 10)
    with pytest.raises(NoInformativeGroupsError, match=r"all_wrong: 1, too_easy: 11"):
        collect_informative(script, script, recipe(pass_rate_max=0.4, max_sampling_rounds=3), SAMPLING)  # type: ignore[arg-type]
    assert script.rounds == [4, 4, 4]


def test_groups_of_equal_rewards_can_be_kept() -> None:
    script = Script("+--+")
    settings = recipe(dynamic_sampling=False, keep_uniform_groups=True)
    kept, _, metrics = collect_informative(script, script, settings, SAMPLING)  # type: ignore[arg-type]
    assert keys(kept) == "0123"
    assert metrics["groups/kept"] == 4
