"""Generated problems that a run cannot use: left out, counted, said once, and drawn the same by a resumed run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.thread_ranks import run_ranks

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import Mixture
from prorl_mega.tasks.objection import Check, length_check
from prorl_mega.tasks.shared_mixture import SharedMixture
from prorl_mega.types import Problem

TASKS = TasksConfig(
    mixture={
        "sums": TaskConfig(name="arithmetic", options={"style": "short", "max_digits": 4}),
        "words": TaskConfig(name="instruction", options={"style": "short"}),
    }
)
SETTING = "rollout.max_prompt_tokens"


def characters(most: int) -> Check:
    return length_check(lambda problem: len(problem.prompt), most, SETTING)


def of(entry: str, problems: list[Problem]) -> list[str]:
    return [problem.prompt for problem in problems if problem.task == entry]


def test_others_are_drawn_in_their_place_and_they_are_counted() -> None:
    everything = Mixture(TASKS, seed=1).draw(4000)
    limited = Mixture(TASKS, 1, characters(7))
    drawn = limited.draw(400)
    assert [problem.task for problem in drawn] == [problem.task for problem in everything[:400]], "shares stay"
    sums, all_sums = of("sums", drawn), of("sums", everything)
    assert max(map(len, sums)) == 7
    assert sums == [prompt for prompt in all_sums if len(prompt) <= 7][: len(sums)]
    left_out = all_sums.index(sums[-1]) + 1 - len(sums)
    metrics = limited.draw_metrics()
    assert metrics["problems/prompt_too_long"] >= left_out > 0
    assert limited.draw_metrics() == {}, "of one step"
    assert Mixture(TASKS, 1, characters(1000)).draw(400) == everything[:400], "nothing changes where all fit"


def test_people_are_told_once_with_entry_and_problem() -> None:
    lines: list[str] = []
    problems = SharedMixture(TASKS, 1, Ranks.alone(), check=characters(7), report=lines.append)
    problems.draw(200)
    assert len(lines) == 1
    assert "the prompt of sums/1-" in lines[0]
    assert f"tokens and {SETTING} is 7" in lines[0]
    problems.draw(200)
    assert [line for line in lines if "left out" in line] == lines[:1]


def test_a_resumed_run_draws_the_same() -> None:
    whole = Mixture(TASKS, 1, characters(7))
    head = whole.draw(37)
    state = json.loads(json.dumps(whole.state_dict()))
    tail = whole.draw(100)
    resumed = Mixture(TASKS, 1, characters(7))
    resumed.load_state_dict(state)
    assert resumed.draw(100) == tail
    assert resumed.state_dict() == whole.state_dict()
    assert Mixture(TASKS, 1, characters(7)).draw(137) == head + tail


def test_held_out_problems_fit_and_are_as_many() -> None:
    mixture = Mixture(TASKS, 1, characters(7))
    held_out = mixture.held_out(32)
    assert max(len(problem.prompt) for problem in held_out) <= 7
    assert len(of("sums", held_out)) == 32
    assert mixture.draw_metrics() == {}, "the metric is of training"
    assert not set(of("sums", held_out)) & set(of("sums", mixture.draw(2000)))


def test_a_generator_that_never_fits_is_refused_at_the_start_on_every_rank() -> None:
    for error in run_ranks(2, lambda ranks: SharedMixture(TASKS, 1, ranks, check=characters(2))):
        assert isinstance(error, ConfigError)
        assert "tasks.mixture.sums: none of its first 64 problems can be used: the prompt of sums/0-" in str(error)
        assert f"tokens and {SETTING} is 2 (the least of them); raise {SETTING} to 4 or more" in str(error)


def test_a_text_that_the_tokenizer_cannot_express_is_named() -> None:
    def tokens(problem: Problem) -> int:
        raise DataError("cannot encode '+'")

    with pytest.raises(DataError, match=r"sums/0-0: cannot encode"):
        Mixture(TASKS, 1, length_check(tokens, 7, SETTING))


def test_every_rank_has_the_counts() -> None:
    def work(ranks: Ranks) -> Any:
        problems = SharedMixture(TASKS, 1, ranks, check=characters(7))
        problems.draw(50)
        return problems.draw_metrics()

    first, second = run_ranks(2, work)
    assert first == second
    assert first["problems/prompt_too_long"] > 0


LONG = ("arc_agi", "boxnet", "mahjong_puzzle", "needle_haystack", "rearc", "rectangle_count", "rotten_oranges")
"""Data sets of `tasks=logic` with prompts of more than 1,024 tokens, at a token per digit."""


def digits_apart(texts: Iterator[str]) -> Any:
    """A byte-level BPE tokenizer that spends a token on every digit, of a few thousand tokens learned from `texts`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    made.pre_tokenizer = pre_tokenizers.Sequence(parts)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet, show_progress=False)
    )
    return made


@pytest.mark.slow
def test_five_hundred_steps_of_the_longest_puzzles_at_default_lengths() -> None:
    entries = {name: TaskConfig(name="reasoning_gym", options={"dataset": name}) for name in LONG}
    tasks = TasksConfig(mixture=entries)
    learned = Mixture(tasks, seed=3).draw(20 * len(LONG))
    tokenizer = digits_apart(problem.prompt for problem in learned)
    mixture = Mixture(tasks, 1, length_check(lambda problem: len(tokenizer.encode(problem.prompt)), 1024, SETTING))
    left_out = 0.0
    for _ in range(500):
        assert len(mixture.draw(len(LONG))) == len(LONG)
        left_out += mixture.draw_metrics().get("problems/prompt_too_long", 0.0)
    assert left_out > 1000
    held_out = mixture.held_out(8)
    assert {problem.task for problem in held_out} == set(LONG)
    assert max(len(tokenizer.encode(problem.prompt)) for problem in held_out) <= 1024
