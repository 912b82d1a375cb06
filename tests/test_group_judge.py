"""Groups that are judged in a thread of their own, with real verifiers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from helpers.hostile_tasks import hostile_config
from helpers.programs import TOKENIZER

from prorl_mega.group_judge import GroupJudge
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.types import Completion, FinishReason, Problem, Sample
from prorl_mega.verifiers.pool import VerifierPool

PROBLEM = Problem(key="bad/0", task="bad", prompt="+")


def completion(text: str) -> Completion:
    tokens = Tokenizer(TOKENIZER).encode(text)
    zeros = np.zeros(len(tokens), dtype=np.float32)
    return Completion(tokens=tokens, logprobs=zeros, finish=FinishReason.STOP, version=0)


@pytest.fixture
def pool() -> Iterator[VerifierPool]:
    """One for each judge: workers end with the thread that started them, which is the judge's."""
    with VerifierPool(hostile_config(workers=2, timeout_s=60.0, retries=1)) as pool:
        yield pool


@pytest.fixture
def judge(pool: VerifierPool) -> Iterator[GroupJudge]:
    with GroupJudge(pool, Tokenizer(TOKENIZER)) as judge:
        yield judge


def all_finished(judge: GroupJudge, count: int) -> dict[int, list[Sample]]:
    found: dict[int, list[Sample]] = {}
    until = time.monotonic() + 60
    while len(found) < count and time.monotonic() < until:
        for number, samples in judge.finished(0.5):
            assert number not in found, "each once"
            found[number] = samples
    return found


def rewards(samples: list[Sample]) -> list[float | None]:
    return [sample.verdict.reward for sample in samples if sample.verdict is not None]


def test_groups_are_handed_over_whole_in_the_order_of_their_samples_whatever_arrives_first(judge: GroupJudge) -> None:
    random = Random(1)
    texts = {(group, place): random.choice(["good", "bad", "half"]) for group in range(12) for place in range(4)}
    for number in range(12):
        judge.expect(number, PROBLEM, 4)
    arrivals = random.sample(sorted(texts), len(texts))

    def arrive(part: list[tuple[int, int]]) -> None:
        for number, place in part:
            judge.put(number, place, completion(texts[number, place]))

    threads = [threading.Thread(target=arrive, args=(arrivals[i::3],)) for i in range(3)]
    for thread in threads:
        thread.start()
    found = all_finished(judge, 12)
    assert sorted(found) == list(range(12))
    value = {"good": 1.0, "bad": 0.0, "half": 0.5}
    for number, samples in found.items():
        assert [sample.text for sample in samples] == [texts[number, place] for place in range(4)]
        assert rewards(samples) == [value[sample.text] for sample in samples]
    assert judge.finished(0.0) == []
    scoring = judge.take_scoring()
    assert (scoring.answers, scoring.tail_s) == (48, 0.0)
    assert judge.take_scoring().answers == 0, "since the last call"


def test_a_group_is_not_finished_before_its_last_sample(judge: GroupJudge) -> None:
    judge.expect(0, PROBLEM, 2)
    judge.put(0, 1, completion("good"))
    assert judge.finished(0.5) == []
    judge.put(0, 0, completion("bad"))
    (samples,) = all_finished(judge, 1).values()
    assert rewards(samples) == [0.0, 1.0], samples


def test_others_have_the_verifiers_in_between(judge: GroupJudge) -> None:
    judge.expect(0, PROBLEM, 2)
    judge.put(0, 0, completion("good"))
    with judge.batch() as batch:
        judge.put(0, 1, completion("bad"))
        batch.add(PROBLEM, "half")
        while not batch.wait(0.5):
            pass
        assert [verdict.reward for verdict in batch.verdicts()] == [0.5]
        assert judge.finished(0.5) == [], "the rest waits"
    assert rewards(all_finished(judge, 1)[0]) == [1.0, 0.0]


def test_what_went_wrong_is_raised_where_groups_are_taken(judge: GroupJudge) -> None:
    judge.fail(RuntimeError("no server is left"))
    with pytest.raises(RuntimeError, match="no server is left"):
        judge.finished(0.5)


def test_an_error_in_the_thread_is_raised_as_well(pool: VerifierPool) -> None:
    class Broken:
        def batch(self) -> None:
            raise ValueError("no verifier is left")

    with GroupJudge(Broken(), Tokenizer(TOKENIZER)) as judge:  # type: ignore[arg-type]
        judge.expect(0, PROBLEM, 1)
        judge.put(0, 0, completion("good"))
        with pytest.raises(ValueError, match="no verifier is left"):
            judge.finished(5.0)


def test_it_ends_also_while_answers_are_judged(pool: VerifierPool) -> None:
    judge = GroupJudge(pool, Tokenizer(TOKENIZER))
    judge.expect(0, PROBLEM, 40)
    for place in range(39):
        judge.put(0, place, completion("good"))
    began = time.monotonic()
    judge.close()
    assert time.monotonic() - began < 30
    assert "judging" not in {thread.name for thread in threading.enumerate()}
