"""Second opinions by real verifier processes, among them some that hang, crash and lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from helpers import back_door, hostile_tasks
from helpers.back_door import DOOR
from helpers.thread_ranks import run_ranks

from prorl_mega.config.schema import SecondOpinionsConfig, TaskConfig, TasksConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.second_opinions import MOST_FAILURES, Opinions, SecondOpinions, chosen
from prorl_mega.types import Completion, FinishReason, Group, Problem, Sample, Verdict

FILE, BROKEN = back_door.__name__, hostile_tasks.__name__


def tasks(name: str = f"{FILE}:without_door", answers: int = 16, **settings: float) -> TasksConfig:
    return TasksConfig(
        mixture={"sums": TaskConfig(name="back_door"), "other": TaskConfig(name="back_door")},
        modules=[FILE, BROKEN],
        second_opinions=SecondOpinionsConfig(answers=answers, verifiers={"sums": name}),
        **settings,  # type: ignore[arg-type]
    )


def group(number: int, *texts: str, task: str = "sums", reward: float = 1.0) -> Group:
    samples = [
        Sample(
            completion=Completion(
                tokens=np.array([number], np.int32),
                logprobs=np.zeros(1, np.float32),
                finish=FinishReason.STOP,
                version=1,
            ),
            text=text,
            verdict=Verdict(reward=reward),
        )
        for text in texts
    ]
    problem = Problem(key=f"{task}/{number}", task=task, prompt=f"{number}+1=", entry={"answer": number + 1})
    return Group(problem=problem, prompt_tokens=np.array([number], np.int32), samples=samples)


@contextmanager
def opened(config: TasksConfig) -> Iterator[tuple[SecondOpinions, list[str]]]:
    said: list[str] = []
    with SecondOpinions(config, Ranks.alone(), said.append) as opinions:
        yield opinions, said


def texts(opinions: Opinions) -> list[str]:
    return [sample.text for _, sample in opinions.disputed]


def numbers(opinions: Opinions) -> tuple[float, float, float | None]:
    """Answers that were judged, that could not be, and the share that was rejected."""
    metrics = opinions.metrics
    return (
        metrics["hack/second_opinions"], metrics["hack/second_opinion_failures"], metrics.get("hack/disputed")
    )  # fmt: skip


def test_answers_that_the_second_verifier_rejects_are_counted_and_kept() -> None:
    groups = [group(1, "2", DOOR), group(2, "3"), group(3, DOOR, task="other"), group(4, DOOR, reward=0.9)]
    with opened(tasks()) as (opinions, said):
        for _ in range(2):
            opinions.begin(groups)
            found = opinions.end()
            assert numbers(found) == (3, 0, 1 / 3)
            assert texts(found) == [DOOR]
        opinions.begin([group(1, "2", reward=0.0)])
        assert numbers(opinions.end()) == (0, 0, None), "nothing to judge"
        assert numbers(opinions.end()) == (0, 0, None), "a step that an earlier job has updated"
        assert said == []


def test_every_rank_has_the_same_numbers_and_the_first_the_answers() -> None:
    def work(ranks: Ranks) -> Opinions:
        groups = [group(1, "2", DOOR), group(2, "3")]
        for each in groups if not ranks.is_first else []:
            for sample in each.samples:
                sample.text = ""  # as after an exchange of shares
        with SecondOpinions(tasks(), ranks, lambda text: None) as opinions:
            opinions.begin(groups)
            return opinions.end()

    first, second = run_ranks(2, work)
    assert first.metrics == second.metrics
    assert (texts(first), texts(second)) == ([DOOR], [])


@pytest.mark.parametrize("config", [TasksConfig(mixture={}), tasks(answers=0)])
def test_without_second_verifiers_nothing_happens(config: TasksConfig) -> None:
    with opened(config) as (opinions, _):
        opinions.begin([group(1, DOOR)])
        assert opinions.end() == Opinions()


def test_a_verifier_that_hangs_is_asked_no_more_in_the_step() -> None:
    with opened(tasks("hostile", timeout_s=0.5)) as (opinions, said):
        opinions.begin([group(number, "sleep" if 0 < number < 5 else "good") for number in range(12)])
        assert numbers(opinions.end()) == (1, 11, 0.0)
        assert any("second opinions: verifiers fail" in line for line in said)
        opinions.begin([group(1, "good"), group(2, "bad")])
        assert numbers(opinions.end()) == (2, 0, 0.5), "and goes on with the next"
        opinions.begin([group(number, "raise" if number < 4 else "good") for number in range(12)])
        assert numbers(opinions.end()) == (0, 12, None), "however fast it fails"
        opinions.begin([group(1, "half")])
        assert numbers(opinions.end()) == (1, 0, 1.0), "less than full marks is a dispute"


@pytest.mark.parametrize("answer", ["raise", "segfault", "kill", "nan", "forge", "exit"])
def test_failures_are_counted_and_end_nothing(answer: str) -> None:
    assert MOST_FAILURES > 1
    with opened(tasks("hostile", timeout_s=5.0)) as (opinions, _):
        opinions.begin([group(1, "good"), group(2, answer), group(3, "bad"), group(4, "good")])
        assert numbers(opinions.end()) == (3, 1, 1 / 3)


def test_judging_that_breaks_altogether_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("no more processes")

    with opened(tasks()) as (opinions, said):
        assert opinions._pool is not None
        monkeypatch.setattr(opinions._pool, "batch", broken)
        opinions.begin([group(1, "2")])
        assert numbers(opinions.end()) == (0, 1, None)
        assert said == ["second opinions: OSError: no more processes"]


def test_a_step_that_was_given_up_leaves_nothing_behind() -> None:
    with opened(tasks("hostile", timeout_s=60.0)) as (opinions, _):
        opinions.begin([group(1, "sleep")])  # interrupted before its end
        opinions.begin([group(1, "good")])
        assert numbers(opinions.end()) == (1, 0, 0.0)
        opinions.begin([group(1, "sleep")])  # and so is the run


def test_what_is_chosen_is_bounded_and_of_different_problems() -> None:
    groups = [group(number, "a", "b", "c") for number in range(5)] + [group(9, "x", task="other")]
    entries = frozenset({"sums", "other"})
    found = [(each.problem.key, sample.text) for each, sample in chosen(groups, entries, 8)]
    assert len({key for key, _ in found[:6]}) == 6
    assert len(found) == len(set(found)) == 8
    assert found[1] == ("other/9", "x"), "tasks in turn"
    assert len(chosen(groups, entries, 100)) == 16
    sums = [(each.problem.key, sample.text) for each, sample in chosen(groups, frozenset({"sums"}), 2)]
    assert sums == [("sums/0", "a"), ("sums/1", "a")]
    for each in groups:
        for sample in each.samples:
            sample.verdict = dataclasses.replace(sample.verdict, reward=0.5) if sample.verdict else None
    assert chosen(groups, entries, 8) == []
