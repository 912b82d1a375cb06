"""Evaluations in the gaps of training: which answers they have, how old those are, and what happens in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.groups import scored_group
from helpers.shards import layouts

from prorl_mega.collect import Collector, Sampling
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import RolloutError
from prorl_mega.evaluation.summary import summarise
from prorl_mega.evaluation_beside import EvaluationBeside
from prorl_mega.run.signals import Interrupted
from prorl_mega.types import Problem, Sample

PROBLEMS = [Problem(key=f"t/{number}", task="t", prompt=str(number)) for number in range(5)]
SAMPLING = Sampling(samples=2, temperature=0.6, top_p=0.95, max_tokens=7, stream="evaluation")


class Tokens:
    def encode_prompt(self, prompt: str, system: str | None) -> np.ndarray:
        return np.array([int(prompt)], dtype=np.int32)


class Servers:
    """Sampling and judging in one; a group ends when the test says so. Problem 2 is not solved."""

    def __init__(self) -> None:
        self.version = 0
        self.error: BaseException | None = None
        self.open: dict[int, tuple[Problem, Callable[[list[Sample]], None]]] = {}
        self.asked: list[tuple[int, list[int]]] = []
        self.outcomes: list[Future[Any]] = []
        self.served_newcomers = 0

    def submit(self, prompt: np.ndarray, seeds: list[int], arrived: object, **settings: Any) -> Future[Any]:
        assert settings == {"temperature": 0.6, "top_p": 0.95, "max_tokens": 7, "in_background": True}
        self.asked.append((int(prompt[0]), seeds))
        self.outcomes.append(Future())
        return self.outcomes[-1]

    def serve_newcomers(self, *, has_work: bool) -> None:
        assert has_work
        self.served_newcomers += 1

    def expect(self, number: int, problem: Problem, samples: int, done: Callable[[list[Sample]], None]) -> None:
        assert samples == 2
        assert number not in self.open
        assert number < 0, "the others are of training"
        self.open[number] = problem, done

    def put(self, number: int, place: int, completion: object) -> None:
        raise AssertionError("nothing arrives by itself")

    def fail(self, error: BaseException) -> None:
        self.error = error

    def end(self, key: int, versions: tuple[int, ...]) -> None:
        """The group of problem `key` is judged, its tokens sampled by `versions`."""
        number = next(number for number, (problem, _) in self.open.items() if problem.key == f"t/{key}")
        problem, done = self.open.pop(number)
        samples = scored_group([float(key != 2)] * 2, key=problem.key, lengths=[len(versions)] * 2).samples
        for sample in samples:
            sample.completion = replace(
                sample.completion, version=versions[0], versions=np.array(versions, dtype=np.int32)
            )
        done(samples)


def beside(servers: Servers, **more: Any) -> EvaluationBeside:
    collector = Collector(
        rollout=servers,  # type: ignore[arg-type]
        verifiers=None,  # type: ignore[arg-type]
        tokenizer=Tokens(),  # type: ignore[arg-type]
        layout=next(layouts(1, 1)),
        engine_size=1,
        seed=3,
        **more,
    )
    return EvaluationBeside(servers, servers, collector, Ranks.alone())  # type: ignore[arg-type]


def test_its_numbers_are_those_of_its_answers_whatever_ends_first_with_their_age() -> None:
    servers = Servers()
    evaluation = beside(servers)
    assert evaluation.began is None
    evaluation.begin(4, PROBLEMS, SAMPLING)
    for key in (3, 0, 2, 4):
        servers.end(key, (4, 4, 5))
        assert not evaluation.has_ended()
        assert evaluation.began == 4
    servers.end(1, (5, 6, 6))
    assert evaluation.has_ended()
    found = evaluation.results(7)
    assert evaluation.began is None
    age = {name: found.pop(name) for name in ("evaluation/lag", "evaluation/versions")}
    assert age == {"evaluation/lag": pytest.approx(7 - (4 * 13 + 17) / 15), "evaluation/versions": 3.0}
    groups = [scored_group([float(number != 2)] * 2, key=f"t/{number}") for number in range(5)]
    assert found == summarise(groups)
    assert found["evaluation/pass@1"] == 0.8


def test_two_evaluations_have_the_same_problems_and_seeds() -> None:
    servers = Servers()
    evaluation = beside(servers)
    for step in (0, 2):
        evaluation.begin(step, PROBLEMS, SAMPLING)
        for key in range(5):
            servers.end(key, (step,))
        evaluation.results(step + 1)
    assert servers.asked[:5] == servers.asked[5:]
    assert [number for number, _ in servers.asked[:5]] == list(range(5))
    assert len({seed for _, seeds in servers.asked for seed in seeds}) == 10


def test_who_asks_for_the_numbers_waits_and_new_servers_get_weights_meanwhile() -> None:
    servers = Servers()
    evaluation = beside(servers)
    evaluation.begin(1, PROBLEMS, SAMPLING)
    for key in range(4):
        servers.end(key, (1,))
    late = threading.Timer(0.5, servers.end, (4, (1,)))
    late.start()
    assert evaluation.results(2)["evaluation/lag"] == 1.0
    assert servers.served_newcomers >= 1


def test_a_run_that_has_to_stop_stops_waiting_and_the_evaluation_is_still_open() -> None:
    evaluation = beside(Servers(), is_stopping=lambda: True)
    evaluation.begin(6, PROBLEMS, SAMPLING)
    with pytest.raises(Interrupted):
        evaluation.results(7)
    assert evaluation.began == 6


def test_a_group_that_failed_everywhere_ends_it() -> None:
    servers = Servers()
    evaluation = beside(servers)
    evaluation.begin(1, PROBLEMS, SAMPLING)
    servers.outcomes[3].set_exception(RolloutError("no server is left"))
    with pytest.raises(RolloutError, match="no server is left"):
        evaluation.has_ended()
