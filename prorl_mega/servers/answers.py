"""Orders for servers, and what their replies mean. A reply is not trusted: it is checked as a whole, or refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from prorl_mega.types import Completion, FinishReason

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_NO_LOGPROB = -9999.0  # vLLM's way to write NaN and minus infinity
_ABOVE_ZERO = 1e-3  # rounded zeros are a little more
BASE_BYTES, TOKEN_BYTES = 1 << 14, 512  # of a reply: at most so many, and so many more for each token

Id = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class GarbledAnswerError(ValueError):
    """A reply that cannot be true. The message says why."""


class AbortedSampleError(Exception):
    """The server gave a sample up, as a push with pause=abort asks it to."""


@dataclass(kw_only=True, slots=True, frozen=True)
class GroupOrder:
    """A prompt and the samples that are wanted of it. They go to one server, which computes the prompt once."""

    prompt: np.ndarray  # [P] int32
    seeds: tuple[int, ...]  # one for each sample
    temperature: float
    top_p: float
    max_tokens: int
    in_background: bool = False  # it is sampled where no other order has something to do


@dataclass(kw_only=True, slots=True, frozen=True)
class VersionedSample:
    """One sample of a server. `versions` are those of the weights that sampled each token; they never fall."""

    tokens: np.ndarray  # [T] int32, the end-of-sequence token included when it was emitted
    logprobs: np.ndarray  # [T] float32, the sampler's own
    versions: np.ndarray  # [T] int32
    finish: FinishReason
    server: str  # its name

    def completion(self) -> Completion:
        """The same with one version, the oldest of its tokens."""
        return Completion(tokens=self.tokens, logprobs=self.logprobs, finish=self.finish, version=int(self.versions[0]))


@dataclass(kw_only=True, slots=True, frozen=True)
class SampleLimits:
    """The facts that a true reply agrees with."""

    valid_vocab: int  # ids of the tokenizer: 0 to this, exclusive
    end_ids: tuple[int, ...]  # any of them ends a sample and stays in it


class _TokenLogprob(msgspec.Struct):
    token_id: Id
    logprob: float


class _Logprobs(msgspec.Struct):
    content: list[_TokenLogprob]


class _Span(msgspec.Struct):
    version: str
    start: Id
    end: Id


class _Choice(msgspec.Struct):
    finish_reason: str | None
    token_ids: list[Id] | None = None
    logprobs: _Logprobs | None = None
    weight_versions: list[_Span] | None = None


class _Reply(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1, max_length=1)]


class _Status(msgspec.Struct):
    state: str
    version: str | None
    core_version: str


def sample_body(order: GroupOrder, seed: int, end_ids: Iterable[int]) -> dict[str, Any]:
    """The body of a request for one sample."""
    return {
        "token_ids": order.prompt.tolist(),
        "sampling_params": {
            "temperature": order.temperature, "top_p": order.top_p, "max_tokens": order.max_tokens, "seed": seed,
            "logprobs": 0, "detokenize": False, "ignore_eos": True, "stop_token_ids": [int(each) for each in end_ids],
        },
    }  # fmt: skip


def read_sample(
    content: bytes, *, max_tokens: int, limits: SampleLimits, versions: range, server: str
) -> VersionedSample:
    """The one sample of a reply. Raises GarbledAnswerError, or AbortedSampleError.

    `versions` are those of the weights that the server may have had since it was asked.
    """
    try:
        (choice,) = msgspec.json.decode(content, type=_Reply).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GarbledAnswerError(f"not a reply of {len(content)} bytes as vLLM makes them ({error})") from None
    if choice.finish_reason == "abort":
        raise AbortedSampleError
    finish = _FINISH.get(choice.finish_reason or "")
    if finish is None:
        raise GarbledAnswerError(f"finish_reason={str(choice.finish_reason)[:40]!r}")
    tokens = np.array(choice.token_ids or [], dtype=np.int32)
    found = [] if choice.logprobs is None else choice.logprobs.content
    if not len(tokens) or [each.token_id for each in found] != tokens.tolist():
        raise GarbledAnswerError(f"{len(tokens)} tokens and {len(found)} log-probabilities, which have to be of them")
    if tokens.max() >= limits.valid_vocab:
        raise GarbledAnswerError(f"token {tokens.max()}; the tokenizer has {limits.valid_vocab} ids")
    ends = np.flatnonzero(np.isin(tokens, limits.end_ids))
    expected = len(ends) == 1 and ends[0] == len(tokens) - 1 if finish is FinishReason.STOP else not len(ends)
    if not expected or len(tokens) > max_tokens or (finish is FinishReason.LENGTH and len(tokens) != max_tokens):
        raise GarbledAnswerError(
            f"{len(tokens)} tokens, end tokens at {ends.tolist()[:5]}, finish_reason={finish.value}, "
            f"max_tokens={max_tokens}"
        )
    return VersionedSample(
        tokens=tokens,
        logprobs=_logprobs(found),
        versions=_versions(choice.weight_versions or [], len(tokens), versions),
        finish=finish,
        server=server,
    )


def read_status(content: bytes) -> tuple[str, int | None]:
    """The state of a server's weights and their version, None if it has none that were verified."""
    try:
        status = msgspec.json.decode(content, type=_Status)
        version = None if status.version is None else int(status.version[:10])
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise GarbledAnswerError(f"no status: {str(error)[:100]}") from None
    return status.state[:40], version


def _logprobs(found: Sequence[_TokenLogprob]) -> np.ndarray:
    values = np.array([each.logprob for each in found], dtype=np.float64)
    wrong = np.flatnonzero(~((values > _NO_LOGPROB) & (values <= _ABOVE_ZERO)))
    if len(wrong):
        raise GarbledAnswerError(f"log-probability {values[wrong[0]]:g} of token {wrong[0]}")
    return values.astype(np.float32)


def _versions(spans: Sequence[_Span], tokens: int, allowed: range) -> np.ndarray:
    found = np.full(tokens, -1, dtype=np.int32)
    reached, last = 0, -1
    for span in spans:
        number = (
            int(span.version) if span.version.isascii() and span.version.isdigit() and len(span.version) < 10 else -1
        )
        if span.start != reached or not reached < span.end <= tokens or number not in allowed or number < last:
            raise GarbledAnswerError(
                f"tokens {span.start} to {span.end} of {tokens} from weights {span.version[:20]!r}; pushed were "
                f"{allowed.start} to {allowed.stop - 1}"
            )
        found[reached : span.end] = number
        reached, last = span.end, number
    if reached != tokens:
        raise GarbledAnswerError(f"versions of {reached} of {tokens} tokens")
    return found
