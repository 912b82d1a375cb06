"""Requests of an evaluation to an engine or a server, one per sample, and their answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from prorl_mega.types import FinishReason, Problem


@dataclass(kw_only=True, slots=True, frozen=True)
class SampleRequest:
    """Sample number `sample` of problem number `index` of the evaluation."""

    index: int
    sample: int
    seed: int  # of this sample; the same request gives the same answer
    problem: Problem


@dataclass(kw_only=True, slots=True, frozen=True)
class SampleAnswer:
    """The answer to a request. `text` is what a person and a verifier read."""

    request: SampleRequest
    text: str
    finish: FinishReason
    length: int  # tokens
    tokens: np.ndarray  # [T] int32; [0] if a server did not say
    logprobs: np.ndarray  # [T] float32; [0] if a server did not say


class SampleSource(Protocol):
    """Something that answers requests: an engine of this process, or a server."""

    name: str
    """The policy, for the header of the evaluation: a checksum of weights, or an address and a model."""

    @property
    def identity(self) -> str:
        """The part of the name that answers depend on: another address of a model does not make them another's."""

    def answers(
        self, requests: Iterator[SampleRequest], is_stopping: Callable[[], bool]
    ) -> Generator[list[SampleAnswer]]:
        """Answers as they end, often none, in any order; yields several times a second, so that its caller can go on.

        Requests are taken as there is room for them, never all at once. Ends when all are answered, or soon after
        `is_stopping()`; what was not answered by then is missing.
        """
