"""Groups ahead of training: what is in work when, how old a group may be, and that none is lost or repeated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from helpers.groups import scored_group
from helpers.shards import layouts
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.collect import Collector, NextGroups, Sampling, collect_informative
from prorl_mega.config.recipe import CurriculumConfig, RecipeConfig, SelectionConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import NoInformativeGroupsError, RolloutError
from prorl_mega.groups_ahead import GroupsAhead, staleness_metrics
from prorl_mega.recipe.curriculum import Curriculum
from prorl_mega.run.signals import Interrupted
from prorl_mega.types import Group, Metrics, Problem, Sample, Scoring

WANTED = 4


def sampling(step: int = 1) -> Sampling:
    return Sampling(samples=2, temperature=1.0, stream=f"step {step}")


def recipe(**selection: Any) -> RecipeConfig:
    return RecipeConfig(prompts_per_step=WANTED, samples_per_prompt=2, selection=SelectionConfig(**selection))


class Numbers:
    """Problems 0, 1, 2, … without end."""

    def __init__(self) -> None:
        self.next = 0

    def draw(self, count: int, times: object = None) -> list[Problem]:
        self.next += count
        return [
            Problem(key=str(number), task="t", prompt=str(number)) for number in range(self.next - count, self.next)
        ]

    def draw_metrics(self) -> Metrics:
        return {}

    def held_out(self, per_task: int) -> list[Problem]:
        return []

    def set_weights(self, weights: dict[str, float]) -> None:
        """There is one entry."""

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.next = state["next"]


class Tokens:
    def encode_prompt(self, prompt: str, system: str | None) -> np.ndarray:
        return np.array([int(prompt)], dtype=np.int32)


class Servers:
    """Sampling and judging in one: groups end when `order` says so. Those of problems in `dull` are all wrong."""

    def __init__(self, order: Callable[[list[int]], list[int]], dull: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.version = 0
        self.order, self.dull = order, dull
        self.open: dict[int, Problem] = {}
        self.submitted: list[tuple[int, list[int]]] = []
        self.outcomes: list[Future[Any]] = []
        self.failures: list[BaseException] = []

    # As the rollout.

    def submit(self, prompt: np.ndarray, seeds: list[int], arrived: object, **settings: Any) -> Future[Any]:
        assert settings == {"temperature": 1.0, "top_p": 1.0, "max_tokens": None}
        self.submitted.append((int(prompt[0]), seeds))
        self.outcomes.append(Future())
        return self.outcomes[-1]

    def serve_newcomers(self, *, has_work: bool) -> None:
        assert has_work

    # As the judge.

    def expect(self, number: int, problem: Problem, samples: int) -> None:
        assert samples == 2
        self.open[number] = problem

    def put(self, number: int, place: int, completion: object) -> None:
        raise AssertionError("nothing arrives by itself")

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)

    def finished(self, seconds: float) -> list[tuple[int, list[Sample]]]:
        for failure in self.failures:
            raise failure
        return [(number, self._sampled(self.open.pop(number))) for number in self.order(sorted(self.open))]

    def take_scoring(self) -> Scoring:
        return Scoring()

    # As the collector of the synchronous loop.

    @property
    def scoring(self) -> list[Scoring]:
        return [Scoring()]

    def collect(self, problems: list[Problem], sampling: Sampling, earlier: list[Group]) -> list[Group]:
        found = []
        for problem in problems:
            self.submitted.append((int(problem.key), []))
            samples = self._sampled(problem)
            prompt = Tokens().encode_prompt(problem.prompt, None)
            found.append(Group(problem=problem, prompt_tokens=prompt, samples=samples))
        return found

    def _sampled(self, problem: Problem) -> list[Sample]:
        samples = scored_group([0.0, float(int(problem.key) not in self.dull)], key=problem.key).samples
        for sample in samples:
            sample.completion = replace(sample.completion, version=self.version)
        return samples


def ahead(servers: Servers, problems: Curriculum, *, staleness: int, last_step: int = 100, **more: Any) -> GroupsAhead:
    collector = Collector(
        rollout=servers,  # type: ignore[arg-type]
        verifiers=None,  # type: ignore[arg-type]
        tokenizer=Tokens(),  # type: ignore[arg-type]
        layout=next(layouts(1, 1)),
        engine_size=1,
        seed=3,
        **more,
    )
    ranks = Ranks.alone()
    return GroupsAhead(
        servers,  # type: ignore[arg-type]
        servers,  # type: ignore[arg-type]
        collector,
        problems,
        ranks,
        staleness=staleness,
        last_step=last_step,
    )


def everything(open_groups: list[int]) -> list[int]:
    return open_groups


def oldest(open_groups: list[int]) -> list[int]:
    return open_groups[:1]


def outcome_of(collect: NextGroups, chosen: RecipeConfig) -> tuple[list[Group], list[Group], Metrics] | str:
    """What is collected, or the sentence that says why nothing is."""
    try:
        return collect(chosen, sampling())
    except NoInformativeGroupsError as error:
        return str(error)


def keys(groups: list[Group]) -> list[int]:
    return [int(group.problem.key) for group in groups]


@given(
    dull=st.sets(st.integers(0, 40)),
    oversampling=st.sampled_from([1.0, 1.5, 2.0]),
    dynamic=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_with_a_bound_of_no_version_it_is_the_synchronous_loop(
    dull: set[int], oversampling: float, dynamic: bool, seed: int
) -> None:
    """The same problems are drawn, sampled, kept and counted, in whatever order groups end."""
    order = random.Random(seed)
    chosen = recipe(oversampling=oversampling, dynamic_sampling=dynamic, min_groups_fraction=0.25)
    servers = Servers(lambda found: [order.choice(found)], dull)
    groups_ahead = ahead(servers, Curriculum(Numbers(), CurriculumConfig()), staleness=0)
    plain, problems = Servers(everything, dull), Curriculum(Numbers(), CurriculumConfig())
    for step in range(3):
        servers.version = plain.version = step
        expected = outcome_of(partial(collect_informative, plain, problems), chosen)  # type: ignore[arg-type]
        found = outcome_of(groups_ahead.collect, chosen)
        if isinstance(expected, str):
            assert found == expected
            return
        assert not isinstance(found, str)
        groups, sampled, metrics = found
        assert (keys(groups), keys(sampled)) == (keys(expected[0]), keys(expected[1]))
        own = {"staleness/mean", "staleness/max", "staleness/mixed", "groups/in_work", "groups/ready"}
        assert {name: value for name, value in metrics.items() if name not in own} == expected[2]
        assert metrics["staleness/max"] == metrics["groups/in_work"] == 0
    assert [number for number, _ in servers.submitted] == [number for number, _ in plain.submitted]


@given(
    staleness=st.integers(1, 3),
    dull=st.sets(st.integers(0, 60), max_size=25),
    seed=st.integers(0, 2**32),
    kills=st.lists(st.integers(0, 7), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_every_problem_has_one_outcome_also_over_kills_and_no_group_is_older_than_the_bound(
    staleness: int, dull: set[int], seed: int, kills: list[int]
) -> None:
    """A kill takes the run back to its last checkpoint (every second step here): everything after it is gone."""
    order = random.Random(seed)
    last_step = 8
    chosen = recipe(min_groups_fraction=0.25, max_sampling_rounds=8)

    def start(state: dict[str, Any] | None, version: int) -> tuple[Servers, Curriculum, GroupsAhead]:
        servers = Servers(lambda found: order.sample(found, order.randint(0, min(3, len(found)))), dull)
        servers.version = version
        problems = Curriculum(Numbers(), CurriculumConfig())
        if state is not None:
            problems.load_state_dict(state)
        return servers, problems, ahead(servers, problems, staleness=staleness, last_step=last_step)

    servers, problems, groups_ahead = start(None, 0)
    step, trained, dropped = 0, Counter[int](), 0
    saved: tuple[int, Any, Counter[int], int] = 0, None, Counter(), 0
    moments = sorted(kills)
    while step < last_step:
        groups, _, metrics = groups_ahead.collect(chosen, sampling(step))
        assert 1 <= len(groups) <= WANTED
        assert metrics["staleness/max"] <= staleness
        trained.update(keys(groups))
        dropped += sum(int(value) for name, value in metrics.items() if name.startswith("groups/dropped/"))
        step += 1
        servers.version = step
        if step % 2 == 0:
            saved = step, problems.state_dict(), trained.copy(), dropped
        if moments and step > moments[0]:
            moments.pop(0)
            step, state, trained, dropped = saved[0], saved[1], saved[2].copy(), saved[3]
            servers, problems, groups_ahead = start(state, step)
    state = problems.state_dict()
    still_open = {int(each["key"]) for each in state.get("open", [])}
    assert max(trained.values()) == 1, "no problem is trained on twice"
    assert not trained.keys() & dull
    assert not trained.keys() & still_open
    assert len(trained) + len(still_open) + dropped == state["next"], "all that was drawn is accounted for"


def test_where_every_group_is_of_use_none_is_left_out_whichever_ends_first() -> None:
    servers = Servers(lambda found: found[-1:])
    groups_ahead = ahead(servers, Curriculum(Numbers(), CurriculumConfig()), staleness=2)
    trained: list[int] = []
    for step in range(10):
        servers.version = step
        groups, _, metrics = groups_ahead.collect(recipe(), sampling(step))
        trained += keys(groups)
        assert not any(name.startswith("groups/dropped/") for name in metrics)
    assert sorted(trained) == list(range(40))


def test_few_groups_that_could_be_trained_on_are_left_out_for_their_age() -> None:
    order = random.Random(1)
    servers = Servers(oldest, dull={number for number in range(1000) if order.random() < 0.4})
    groups_ahead = ahead(servers, Curriculum(Numbers(), CurriculumConfig()), staleness=2)
    surplus = 0.0
    for step in range(50):
        servers.version = step
        surplus += groups_ahead.collect(recipe(), sampling(step))[2].get("groups/dropped/surplus", 0.0)
    assert surplus <= 0.1 * 50 * WANTED


def test_while_the_learner_trains_there_is_work_for_the_servers_also_when_half_of_the_groups_are_left_out() -> None:
    servers = Servers(oldest, dull=set(range(0, 1000, 2)))
    groups_ahead = ahead(servers, Curriculum(Numbers(), CurriculumConfig()), staleness=1)
    in_work = []
    for step in range(12):
        servers.version = step
        in_work.append(groups_ahead.collect(recipe(), sampling(step))[2]["groups/in_work"])
    assert min(in_work[4:]) >= WANTED, in_work


def test_the_work_ahead_is_bounded() -> None:
    servers = Servers(everything, dull=set())
    groups_ahead = ahead(servers, Curriculum(Numbers(), CurriculumConfig()), staleness=3)
    for step in range(12):
        servers.version = step
        metrics = groups_ahead.collect(recipe(oversampling=2.0), sampling(step))[2]
        assert metrics["groups/in_work"] + metrics["groups/ready"] <= 2 * (3 + 1) * WANTED


def test_the_last_steps_leave_nothing_in_work() -> None:
    servers = Servers(oldest)
    groups_ahead = ahead(servers, Curriculum(Numbers(), CurriculumConfig()), staleness=2, last_step=5)
    for step in range(5):
        servers.version = step
        metrics = groups_ahead.collect(recipe(), sampling(step))[2]
    assert metrics["groups/in_work"] == metrics["groups/ready"] == 0
    assert len(servers.submitted) == 5 * WANTED


def test_a_group_that_failed_everywhere_ends_the_step() -> None:
    def fail(found: list[int]) -> list[int]:
        servers.outcomes[0].set_exception(RolloutError("no server is left"))
        return []

    servers = Servers(fail)
    groups_ahead = ahead(servers, Curriculum(Numbers(), CurriculumConfig()), staleness=1)
    with pytest.raises(RolloutError, match="no server is left"):
        groups_ahead.collect(recipe(), sampling())


def test_a_run_that_has_to_stop_stops_while_it_waits() -> None:
    servers = Servers(lambda found: [])
    problems = Curriculum(Numbers(), CurriculumConfig())
    groups_ahead = ahead(servers, problems, staleness=1, is_stopping=lambda: True)
    with pytest.raises(Interrupted):
        groups_ahead.collect(recipe(), sampling())


def test_the_age_of_tokens_is_counted_token_by_token() -> None:
    one, other = scored_group([0.0, 1.0], lengths=[2, 4]).samples
    one.completion = replace(one.completion, version=5)
    other.completion = replace(other.completion, version=3, versions=np.array([3, 3, 4, 5], dtype=np.int32))
    group = scored_group([0.0, 1.0])
    group.samples = [one, other]
    assert staleness_metrics([group], 5) == {"staleness/mean": 5 / 6, "staleness/max": 2.0, "staleness/mixed": 0.5}
