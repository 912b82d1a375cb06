"""The signs of an exploited reward in the answers of one step."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
from helpers.groups import scored_group

from prorl_mega.recipe.hack_signs import MANY, SHOWN, WORKED, hack_metrics, identical_answers, suspects
from prorl_mega.types import Completion, FinishReason, Group, Outcome, Problem, Sample, Verdict

UNSCORABLE, IDENTICAL = "hack/unscorable", "hack/identical"


def sample(tokens: list[int], reward: float | None = 1.0, *, found: bool = True) -> Sample:
    verdict = (
        Verdict(reward=0.0, outcome=Outcome.INFRA_ERROR, found=False)
        if reward is None
        else Verdict(reward=reward, found=found)
    )
    completion = Completion(
        tokens=np.array(tokens, np.int32),
        logprobs=np.zeros(len(tokens), np.float32),
        finish=FinishReason.STOP,
        version=1,
    )
    return Sample(completion=completion, text=" ".join(map(str, tokens)), verdict=verdict)


def group(number: int, *samples: Sample, task: str = "t", prompt: int | None = None) -> Group:
    """A group of problem `number`; `prompt`: its tokens, if they are those of another one."""
    problem = Problem(key=f"{task}/{number}", task=task, prompt="?")
    tokens = np.array([number if prompt is None else prompt], np.int32)
    return Group(problem=problem, prompt_tokens=tokens, samples=list(samples))


def worked(number: int, length: int = WORKED) -> list[int]:
    return [number] * length


def short(count: int, same: int) -> list[Group]:
    """Groups that are solved by short answers, `same` of them by the same one."""
    return [group(i, sample([7 if i < same else 100 + i, 2])) for i in range(count)]


def test_unscorable_is_a_share_of_what_was_scored() -> None:
    groups = [
        group(0, sample([1]), sample([1], 0.0, found=False), sample([1], None)),
        group(1, sample([1], 0.0), sample([1], 0.5, found=False)),
    ]
    assert hack_metrics(groups)[UNSCORABLE] == 2 / 4, "an infrastructure error says nothing about an answer"


@pytest.mark.parametrize("groups", [[], [group(0)], [group(0, sample([1], None))], [scored_group([None, None])]])
def test_without_verdicts_there_is_no_number(groups: list[Group]) -> None:
    assert all(math.isnan(value) for value in hack_metrics(groups).values())
    assert not any(suspects(groups).values())


def test_without_full_marks_there_is_no_share_of_them() -> None:
    metrics = hack_metrics([group(i, sample(worked(1), 0.9)) for i in range(9)])
    assert math.isnan(metrics[IDENTICAL])
    assert metrics[UNSCORABLE] == 0


def test_the_same_result_of_a_few_sums_is_nothing() -> None:
    assert hack_metrics(short(20, 10))[IDENTICAL] == 0
    assert hack_metrics(short(MANY - 1, MANY - 1))[IDENTICAL] == 0, "too few to tell"


def test_one_short_answer_to_most_of_many_problems() -> None:
    assert hack_metrics(short(20, 15))[IDENTICAL] == 0, "three quarters, and not more"
    assert hack_metrics(short(20, 16))[IDENTICAL] == 16 / 20
    assert hack_metrics(short(MANY, MANY))[IDENTICAL] == 1


def test_a_worked_answer_does_not_fit_two_problems() -> None:
    groups = [group(0, sample(worked(5)), sample(worked(6))), group(1, sample(worked(5)), sample(worked(8)))]
    assert hack_metrics(groups)[IDENTICAL] == 2 / 4
    assert hack_metrics([group(i, sample(worked(5, WORKED - 1))) for i in range(2)])[IDENTICAL] == 0


def test_what_is_no_copy() -> None:
    same = sample(worked(5))
    assert not identical_answers([group(0, same, same)]), "two samples of one problem"
    assert not identical_answers([group(0, same), group(1, same, prompt=0)]), "a problem that is there twice"
    assert not identical_answers([group(0, same), group(1, same, task="other")]), "another task"
    wrong = sample(worked(5), 0.0)
    assert not identical_answers([group(0, same), group(1, wrong), group(2, wrong)]), "wrong answers"


def test_the_numbers_depend_on_no_order() -> None:
    groups = short(12, 11) + [group(50 + i, sample(worked(i // 2), found=i % 3 > 0), task="u") for i in range(9)]
    expected = hack_metrics(groups)
    assert 0 < expected[IDENTICAL] < 1
    for seed in range(5):
        shuffled = [dataclasses.replace(each, samples=list(each.samples)) for each in groups]
        random.Random(seed).shuffle(shuffled)
        assert hack_metrics(shuffled) == expected
    for each in groups:
        for answer in each.samples:
            answer.text = ""
    assert hack_metrics(groups) == expected, "texts are on one rank alone"


def test_the_answers_behind_a_sign_are_few_and_of_different_problems() -> None:
    groups = [group(i, *[sample(worked(5))] * 4, sample([1], 0.0, found=False), task=f"t{i % 2}") for i in range(40)]
    groups.append(group(99, sample([3], 1.0, found=False), task="t0"))
    found = suspects(groups)
    assert {name: len(answers) for name, answers in found.items()} == dict.fromkeys(found, SHOWN)
    for answers in found.values():
        assert len({each.problem.key for each, _ in answers}) == SHOWN
        assert {each.problem.task for each, _ in answers} == {"t0", "t1"}
    first_group, first = found["unscorable"][0]
    assert (first_group.problem.key, first.verdict and first.verdict.reward) == ("t0/99", 1.0), "rewarded ones first"
    assert all(answer.completion.tokens[0] == 5 for _, answer in found["identical"])
