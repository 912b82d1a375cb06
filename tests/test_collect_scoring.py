"""Answers are scored while others are sampled, and nothing but the time that it takes depends on that."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from helpers.chat_models import chat_model
from helpers.hostile_tasks import hostile_config
from helpers.programs import TOKENIZER

from prorl_mega.collect import Collector, Sampling, group_metrics, sample_seed, scoring_metrics
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.protocols import Finished
from prorl_mega.run.signals import Interrupted
from prorl_mega.types import Completion, FinishReason, Group, Outcome, ParallelLayout, Problem, Sample, Scoring
from prorl_mega.verifiers.pool import PoolBatch, VerifierPool

PROBLEMS = [Problem(key=f"bad/{i}", task="bad", prompt="+") for i in range(20)]
SAMPLING = Sampling(samples=6, temperature=1.0, stream="step 0")


def completion(text: str) -> Completion:
    tokens = Tokenizer(TOKENIZER).encode(text)
    zeros = np.zeros(len(tokens), dtype=np.float32)
    return Completion(tokens=tokens, logprobs=zeros, finish=FinishReason.STOP, version=0)


class Engine:
    """Completions with given texts, which end in a given order, one per decoding step; then nothing until `may_end`."""

    def __init__(self, texts: list[str], order: list[int]) -> None:
        self.completions = [completion(text) for text in texts]
        self.order = order
        self.may_end: Callable[[], bool] = lambda: True

    def generate(self, prompts: list[np.ndarray], **settings: Any) -> Generator[Finished]:
        for index in self.order:
            yield [(index, self.completions[index])]
        while not self.may_end():
            time.sleep(0.01)
            yield []


class Spied:
    """A pool whose batch can be looked at."""

    def __init__(self, pool: VerifierPool) -> None:
        self.pool = pool
        self.seen: PoolBatch

    @contextlib.contextmanager
    def batch(self) -> Iterator[PoolBatch]:
        with self.pool.batch() as self.seen:
            yield self.seen

    def close(self) -> None:
        """The pool is somebody else's."""


def collector(engine: Engine, verifiers: VerifierPool | Spied) -> Collector:
    return Collector(
        rollout=engine,  # type: ignore[arg-type]
        verifiers=verifiers,
        tokenizer=Tokenizer(TOKENIZER),
        layout=ParallelLayout(world_size=1, rank=0, tensor_size=1, tensor_rank=0, pipeline_size=1, pipeline_rank=0,
                      data_size=1, data_rank=0),
        engine_size=1,
        seed=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(hostile_config(workers=2, timeout_s=5.0, retries=1)) as pool:
        yield pool


def test_verdicts_are_those_of_scoring_afterwards(pool: VerifierPool) -> None:
    random = Random(1)
    texts = random.choices(["good", "bad", "half", "raise", "nan"], weights=[6, 6, 3, 1, 1], k=120)
    order = random.sample(range(120), 120)
    groups = collector(Engine(texts, order), pool).collect(PROBLEMS, SAMPLING)
    afterwards = pool.score([(PROBLEMS[i // 6], text) for i, text in enumerate(texts)])
    samples = [sample for group in groups for sample in group.samples]
    assert [sample.text for sample in samples] == texts
    assert [sample.verdict for sample in samples] == afterwards
    assert {verdict.outcome for verdict in afterwards} == set(Outcome)
    assert {verdict.reward for verdict in afterwards} == {0.0, 0.5, 1.0}
    later = iter(afterwards)
    copies = [
        Group(
            problem=group.problem,
            prompt_tokens=group.prompt_tokens,
            samples=[Sample(completion=sample.completion, verdict=next(later)) for sample in group.samples],
        )
        for group in groups
    ]
    assert group_metrics(groups) == group_metrics(copies)


def test_prompts_have_the_system_turn_and_answers_their_marks(pool: VerifierPool, tmp_path: Path) -> None:
    turns = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
    tokenizer = Tokenizer(chat_model(tmp_path, chat_template=turns, control=["<think>", "</think>"]))
    problem = Problem(key="bad/0", task="bad", prompt="+", system="Be brief.")
    engine = Engine(["good"], [0])
    marked = [len(tokenizer) - 2, *tokenizer.encode("x"), len(tokenizer) - 1, *tokenizer.encode("y"), tokenizer.eos_id]
    engine.completions = [replace(engine.completions[0], tokens=np.array(marked), logprobs=np.zeros(len(marked)))]
    collecting = replace(collector(engine, pool), tokenizer=tokenizer)
    (group,) = collecting.collect([problem], replace(SAMPLING, samples=1))
    assert tokenizer.decode(group.prompt_tokens) == "system:Be brief.;user:+;"
    assert group.samples[0].text == "<think>x</think>y"


def test_what_has_ended_is_scored_while_the_rest_is_sampled(pool: VerifierPool) -> None:
    """This engine goes on until nothing is left to be scored."""
    engine = Engine(["good", "bad"] * 3, [3, 1, 0, 2, 5, 4])
    spied = Spied(pool)
    engine.may_end = lambda: spied.seen.unfinished == 0
    watched = collector(engine, spied)
    (group,) = watched.collect(PROBLEMS[:1], SAMPLING)
    assert group.rewards() == [1.0, 0.0] * 3
    (scoring,) = watched.scoring
    assert scoring.answers == 6
    assert scoring.tail_s < scoring.busy_s
    metrics = scoring_metrics([[scoring]])
    assert 0 < metrics["seconds/verifier_wait"] < metrics["seconds/verifier_latency"]
    assert metrics["seconds/verifier_latency"] <= metrics["seconds/verifier_latency_max"] == scoring.longest_s


def test_an_engine_that_fails_leaves_a_pool_that_works(pool: VerifierPool) -> None:
    class Broken(Engine):
        def generate(self, prompts: list[np.ndarray], **settings: Any) -> Generator[Finished]:
            yield from super().generate(prompts, **settings)
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        collector(Broken(["sleep"] * 6, list(range(6))), pool).collect(PROBLEMS[:1], SAMPLING)
    assert not pool._workers, "those that slept were ended"
    assert [verdict.reward for verdict in pool.score([(PROBLEMS[0], "bad"), (PROBLEMS[0], "good")])] == [0.0, 1.0]


@pytest.mark.parametrize("text", ["sleep", "spin"])
def test_hanging_verifiers_do_not_delay_a_request_to_stop(text: str) -> None:
    """Their own time limit is ten minutes."""
    with VerifierPool(hostile_config(workers=1, timeout_s=600.0)) as pool:
        stopped = collector(Engine([text] * 6, list(range(6))), pool)
        asked: list[int] = []
        stopped.is_stopping = lambda: asked.append(1) is None and len(asked) > 3  # type: ignore[func-returns-value]
        with pytest.raises(Interrupted):
            stopped.collect(PROBLEMS[:1], SAMPLING)
        assert not pool._workers


def test_poll_does_not_wait(pool: VerifierPool) -> None:
    with pool.batch() as batch:
        batch.add(PROBLEMS[0], "sleep")
        for _ in range(300):
            batch.poll()
        assert batch.unfinished == 1
        assert batch.scoring.timeouts == 0


def test_a_completion_that_is_not_reported_is_noticed(pool: VerifierPool) -> None:
    with pytest.raises(AssertionError, match="one verdict for each completion"):
        collector(Engine(["good"] * 6, [0, 1, 2, 4, 5]), pool).collect(PROBLEMS[:1], SAMPLING)
    with pytest.raises(AssertionError, match="one verdict for each completion"):
        collector(Engine(["good"] * 6, [0, 1, 2, 2, 4, 5]), pool).collect(PROBLEMS[:1], SAMPLING)


def test_engines_score_at_the_same_time_and_rounds_follow_each_other() -> None:
    quick = Scoring(answers=8, retries=1, timeouts=1, busy_s=2.0, waited_s=1.0, latency_s=4.0, longest_s=3.0, tail_s=1)
    slow = Scoring(answers=8, retries=2, crashes=1, busy_s=4.0, waited_s=3.0, latency_s=8.0, longest_s=2.0, tail_s=2)
    none = Scoring()  # an engine without problems
    assert scoring_metrics([[quick, slow, none], [quick, quick, none]]) == {
        "verifier/retries": 5.0,
        "verifier/timeouts": 3.0,
        "verifier/crashes": 1.0,
        "seconds/verifier_answers_per_second": 32 / 6,
        "seconds/verifier_wait": 6 / 32,
        "seconds/verifier_latency": 20 / 32,
        "seconds/verifier_latency_max": 3.0,
        "seconds/verifier_tail": 3.0,
    }
    assert (quick.answers, slow.retries) == (8, 2), "what was added up is unchanged"
    assert set(scoring_metrics([[none]]).values()) == {0.0}


def test_a_problem_that_a_step_has_already_gets_other_seeds(pool: VerifierPool) -> None:
    """And the first draw those of version 0.1, bit for bit."""
    asked: list[list[list[int]]] = []

    class Asked(Engine):
        def generate(self, prompts: list[np.ndarray], **settings: Any) -> Generator[Finished]:
            asked.append(settings["seeds"])
            return super().generate(prompts, **settings)

    sampling = Sampling(samples=2, temperature=1.0, stream="step 3")
    first, second = PROBLEMS[:2]
    collecting = collector(Asked(["good"] * 6, list(range(6))), pool)
    earlier = collecting.collect([first, second, first], sampling)
    collecting.collect([second, first, first], sampling, earlier)
    collecting.collect([first, second, second], sampling)
    alone = [[sample_seed(1, "step 3", problem.key, index) for index in range(2)] for problem in (first, second)]
    assert alone[0] == [2965500658986011584, 2271772755117243484]
    assert asked[0][:2] == alone
    assert asked[2][:2] == alone, "another step, or an evaluation, begins anew"
    in_step = [seed for seeds in asked[0] + asked[1] for seed in seeds]
    assert len(set(in_step)) == 12
