"""Answers of the job's inference engines, for an evaluation: a `SampleSource`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from prorl_mega.config.schema import EvaluationConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.distributed.vote import StepwiseVote
from prorl_mega.fleet_rollout import FleetRollout
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.rollout.engine import VllmRollout
from prorl_mega.sample_requests import SampleAnswer, SampleRequest
from prorl_mega.types import Completion

AHEAD = 2  # requests in the engine, as a multiple of those that it decodes at once: it never waits for one


@dataclass(kw_only=True, slots=True)
class EngineSamples:
    """One engine, whose ranks (`engine_ranks`) call everything together. The first of them gets the answers, the others
    the same or none."""

    rollout: VllmRollout | FleetRollout
    tokenizer: Tokenizer
    evaluation: EvaluationConfig
    max_concurrent: int
    engine_ranks: Ranks
    name: str  # checksum of the weights

    @property
    def identity(self) -> str:
        return self.name

    def answers(
        self, requests: Iterator[SampleRequest], is_stopping: Callable[[], bool]
    ) -> Generator[list[SampleAnswer]]:
        open_requests: dict[int, SampleRequest] = {}
        encode = lru_cache(maxsize=1)(self.tokenizer.encode_prompt)  # samples of a problem follow each other

        def numbered() -> Iterator[tuple[np.ndarray, int]]:
            for number, request in enumerate(requests):
                open_requests[number] = request
                yield encode(request.problem.prompt, request.problem.system), request.seed

        vote = StepwiseVote(self.engine_ranks, is_stopping)
        steps = self.rollout.stream(
            numbered(),
            ahead=AHEAD * self.max_concurrent,
            temperature=self.evaluation.temperature,
            top_p=self.evaluation.top_p,
            max_tokens=None,
        )
        with closing(steps):
            for finished in steps:
                texts = self.tokenizer.decode_batch([completion.tokens for _, completion in finished])
                yield [
                    _answer(open_requests.pop(number), completion, text)
                    for (number, completion), text in zip(finished, texts, strict=True)
                ]
                if vote():
                    return


def _answer(request: SampleRequest, completion: Completion, text: str) -> SampleAnswer:
    return SampleAnswer(
        request=request,
        text=text,
        finish=completion.finish,
        length=len(completion.tokens),
        tokens=completion.tokens,
        logprobs=completion.logprobs,
    )
