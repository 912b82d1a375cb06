"""A store adds up to what the same answers add up to in memory, in whatever order and with whatever gaps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.groups import scored_group
from helpers.stores import header, sample, write_store

from prorl_mega.evaluation.pass_at_k import pass_at_k
from prorl_mega.evaluation.store_summary import summarise_store
from prorl_mega.evaluation.summary import problem_records, summarise
from prorl_mega.run.evaluations import load_evaluation, write_evaluation
from prorl_mega.run.sample_store import (
    Places,
    SampleStore,
    StoredProblem,
    StoredSample,
    StoredVerdict,
    write_header,
)
from prorl_mega.types import FinishReason, Group, Outcome


def store_of(directory: Path, groups: list[Group], asked: int) -> SampleStore:
    """The groups as a store, its lines in an order of chance."""
    problems, samples, verdicts = [], [], []
    for number, group in enumerate(groups):
        problems.append(StoredProblem(key=group.problem.key, task=group.problem.task, prompt=group.problem.prompt))
        for index, each in enumerate(group.samples):
            finish, length = each.completion.finish, len(each.completion.tokens)
            samples.append(sample(number, index, each.text, finish=finish.value, length=length))
            assert each.verdict is not None
            reward = None if each.verdict.outcome is Outcome.INFRA_ERROR else each.verdict.reward
            verdicts.append(StoredVerdict(problem=number, sample=index, reward=reward, answer=str(reward)))
    random = np.random.default_rng(0)
    shuffled: tuple[list[StoredSample], list[StoredVerdict]] = (
        [samples[i] for i in random.permutation(len(samples))],
        [verdicts[i] for i in random.permutation(len(verdicts))],
    )
    return SampleStore(write_store(directory / "policy", problems, *shuffled, about=header(samples=asked)))


def test_a_store_and_groups_have_the_same_metrics_and_records(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    groups = []
    for number in range(12):
        rewards: list[float | None] = [float(each) for each in random.choice([0, 1 / 3, 0.1, 1], size=8)]
        if number % 3 == 0:
            rewards[number % 8] = None
        groups.append(
            scored_group(
                [None, None] if number == 7 else rewards[: 8 - number % 2],
                key=f"{number % 2}/{number}",
                task=f"task {number % 2}",
                lengths=None if number == 7 else random.integers(1, 20, size=8 - number % 2).tolist(),
                limit=15,
            )
        )
    metrics, records = summarise_store(store_of(tmp_path, groups, asked=8), lambda answers, rewards: None)
    from_groups = summarise(groups)
    assert {name: metrics[name] for name in from_groups} == from_groups
    assert records == problem_records(groups)
    assert set(metrics) - set(from_groups) == {
        "evaluation/avg@8", "evaluation/avg@8/task 0", "evaluation/avg@7/task 1", "evaluation/tokens",
        "evaluation/tokens/task 0", "evaluation/tokens/task 1", "evaluation/missing", "evaluation/fewest_samples",
    }  # fmt: skip
    assert metrics["evaluation/avg@8"] == metrics["evaluation/pass@1"]
    assert metrics["evaluation/infra_errors"] == 6
    assert metrics["evaluation/missing"] == 6 + 5  # of problem 7, and one of each other odd one
    assert metrics["evaluation/fewest_samples"] == 6


def most_common(answers: Sequence[str], rewards: Sequence[float]) -> float | None:
    counted = {answer: answers.count(answer) for answer in answers if answer}
    return rewards[answers.index(max(counted, key=lambda answer: counted[answer]))] if counted else None


def planted(directory: Path) -> SampleStore:
    """Problem 0: three answers 7 (right, two of them in another form) and one 8. Problem 1: a long wrong one, unread by
    a verifier, cut off. Problem 2 is of a task that nobody relaxes."""
    problems = [StoredProblem(key=f"a/{i}", task="a" if i < 2 else "b", prompt=f"How many? {i}") for i in range(3)]
    samples = [sample(0, i, f"answer {i}") for i in (3, 1, 0, 2)]
    samples += [sample(1, 0, "x" * 90, finish="length", length=5000), sample(2, 0), sample(2, 0, "again"), sample(9, 0)]
    verdicts = [
        StoredVerdict(problem=0, sample=0, reward=1.0, answer="7"),
        StoredVerdict(problem=0, sample=1, reward=0.0, relaxed=1.0, answer="7"),
        StoredVerdict(problem=0, sample=2, reward=0.0, relaxed=1.0, answer="7"),
        StoredVerdict(problem=0, sample=3, reward=0.0, relaxed=0.0, answer="8"),
        StoredVerdict(problem=0, sample=4, reward=1.0, answer="7"),  # on an answer that is not there
        StoredVerdict(problem=1, sample=0, reward=None),
        StoredVerdict(problem=2, sample=0, reward=1.0, answer="y" * 5000),
        StoredVerdict(problem=9, sample=0, reward=1.0),
    ]
    return SampleStore(write_store(directory / "policy", problems, samples, verdicts, header(samples=4)))


def test_by_hand(tmp_path: Path) -> None:
    assert summarise_store(planted(tmp_path / "again"))[0]["evaluation/maj@4"] == (1 / 3 + 1) / 2
    metrics, records = summarise_store(planted(tmp_path), most_common)
    assert metrics["evaluation/avg@4"] == metrics["evaluation/pass@1"] == (1 / 4 + 1) / 2
    assert metrics["evaluation/pass@4"] == 1  # of the one problem with four verdicts
    assert metrics["evaluation/relaxed_pass@1"] == (3 / 4 + 1) / 2  # of all problems: it is never below the strict one
    assert metrics["evaluation/relaxed_pass@1/a"] == 3 / 4
    assert metrics["evaluation/relaxed_pass@2/a"] == pass_at_k(4, 3, 2)
    assert not any(name.startswith("evaluation/relaxed") and name.endswith("/b") for name in metrics)
    assert metrics["evaluation/maj@4"] == 1
    assert metrics["evaluation/missing"] == 12 - 6
    assert metrics["evaluation/infra_errors"] == 1
    assert metrics["evaluation/truncated/a"] == 1 / 5
    assert metrics["evaluation/tokens"] == 4 * 9 + 5000 + 2
    assert [(each["samples"], each["solved"], each.get("relaxed")) for each in records] == [
        (4, 1, 3), (0, 0, 0), (1, 1, None),
    ]  # fmt: skip
    assert [each.get("majority") for each in records] == [1.0, None, 1.0]
    assert records[0]["completion"] == "answer 0"
    assert records[0]["posterior"][0] == 2 / 6
    assert records[0]["posterior"][1] < 1 / 4 < records[0]["posterior"][2]


def test_records_can_be_written_and_read(tmp_path: Path) -> None:
    metrics, records = summarise_store(planted(tmp_path), most_common)
    write_evaluation(tmp_path / "e", label="policy", step=0, settings={}, metrics=metrics, problems=records)
    found = load_evaluation(tmp_path / "e" / "policy.json")["problems"]
    assert json.dumps(found, sort_keys=True) == json.dumps(records, sort_keys=True)
    for key, value in (("relaxed", 0), ("relaxed", 5), ("tokens", -1), ("posterior", [0, 1])):
        records[0][key], kept = value, records[0][key]
        write_evaluation(tmp_path / "e", label="policy", step=0, settings={}, metrics=metrics, problems=records)
        with pytest.raises(ValueError, match=r"solved in any form|>= 0|length 3"):
            load_evaluation(tmp_path / "e" / "policy.json")
        records[0][key] = kept


def test_places_are_a_set() -> None:
    random = np.random.default_rng(3)
    places, known = Places(), set[tuple[int, int]]()
    for problem, sample_ in zip(random.integers(0, 3, size=4000), random.integers(0, 2500, size=4000), strict=True):
        place = (int(problem), int(sample_))
        assert places.add(*place) == (place not in known)
        known.add(place)
    assert all(((problem, i) in places) == ((problem, i) in known) for problem in range(4) for i in range(2600))
    assert places.add(7, 2**31 - 1)
    assert len(places) == len(known) + 1


def test_an_empty_store(tmp_path: Path) -> None:
    metrics, records = summarise_store(SampleStore(write_store(tmp_path / "policy", [], [])), most_common)
    assert records == []
    assert math.isnan(metrics["evaluation/reward"])
    assert metrics["evaluation/missing"] == 0


def test_a_group_that_was_cut_off_says_so() -> None:
    group = scored_group([1.0, 0.0], lengths=[3, 9], limit=9)
    assert group.samples[1].completion.finish is FinishReason.LENGTH
    assert problem_records([group])[0]["truncated"] == 1


def test_the_same_request_has_the_same_results_whatever_else_the_store_has(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    rewards = random.choice([0.0, 1.0], size=(6, 8)).tolist()
    groups = [scored_group(each, key=f"task/{number}") for number, each in enumerate(rewards)]
    fewer = [scored_group(rewards[number][:4], key=f"task/{number}") for number in (1, 4)]
    fresh = summarise_store(store_of(tmp_path / "fresh", fewer, asked=4))
    store = store_of(tmp_path / "all", groups, asked=8)
    everything = summarise_store(store)
    write_header(store.directory, header(samples=4, asked=[1, 4, 99]))
    assert summarise_store(SampleStore(store.directory)) == fresh
    assert fresh[0]["evaluation/missing"] == 0
    write_header(store.directory, header(samples=8))
    assert summarise_store(SampleStore(store.directory)) == everything
