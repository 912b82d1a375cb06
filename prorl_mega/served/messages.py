"""The bodies of requests to a server with OpenAI's API, and what its replies mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from prorl_mega.served.connection import BrokenReplyError
from prorl_mega.types import FinishReason

Id = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_CUT = {"content_filter", "tool_calls", "function_call", "abort", "error"}
_NO_TOKENS, _NO_LOGPROBS = np.empty(0, np.int32), np.empty(0, np.float32)


@dataclass(kw_only=True, slots=True, frozen=True)
class ServedAnswer:
    """An answer as the server gave it. Without `finish` it is none that may be judged: `reason` says why."""

    text: str
    finish: FinishReason | None
    reason: str
    length: int
    tokens: np.ndarray  # [T] int32; [0] if the server did not say
    logprobs: np.ndarray  # [T] float32; [0] if the server did not say


class _TokenLogprob(msgspec.Struct):
    logprob: float


class _Logprobs(msgspec.Struct):
    token_logprobs: list[float] | None = None  # of a completion
    content: list[_TokenLogprob] | None = None  # of a chat


class _Message(msgspec.Struct):
    content: str | None = None  # null: a refusal, a call of a tool, or all of it was thought


class _Choice(msgspec.Struct):
    finish_reason: str
    text: str | None = None
    message: _Message | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[Id] | None = None


class _Usage(msgspec.Struct):
    completion_tokens: Id


class _Reply(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1, max_length=1)]
    usage: _Usage | None = None


class _Model(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class _Models(msgspec.Struct):
    data: Annotated[list[_Model], msgspec.Meta(max_length=10_000)]


def chat_body(prompt: str, system: str | None) -> dict[str, Any]:
    """The turns of a chat; `system` None: there is no such turn."""
    turns = [] if system is None else [{"role": "system", "content": system}]
    return {"messages": [*turns, {"role": "user", "content": prompt}]}


def chat_wishes(arguments: dict[str, Any]) -> dict[str, Any]:
    """The fields of a chat that not every server knows: token ids, log-probabilities."""
    return {"logprobs": True, "return_token_ids": True} | ({"chat_template_kwargs": arguments} if arguments else {})


def completion_wishes(end_ids: Sequence[int]) -> dict[str, Any]:
    """The fields of a completion that not every server knows: token ids, log-probabilities, and our end tokens beside
    the server's. `ignore_eos`, which our engine sets, is left out: a server that knows nothing else would never end."""
    return {"logprobs": 0, "return_token_ids": True, "stop_token_ids": [int(each) for each in end_ids]}


def read_answer(reply: Any, *, max_tokens: int) -> ServedAnswer:
    """The one answer of a reply. Raises BrokenReplyError for a reply that has none, or contradicts itself."""
    found = _convert(reply, _Reply)
    (choice,) = found.choices
    text = choice.text if choice.message is None else choice.message.content or ""
    if text is None:
        raise BrokenReplyError("the reply has neither a text nor a message")
    tokens = _NO_TOKENS if choice.token_ids is None else np.array(choice.token_ids, dtype=np.int32)
    logprobs = _logprobs(choice.logprobs) if len(tokens) else _NO_LOGPROBS
    if len(logprobs) not in (0, len(tokens)):
        raise BrokenReplyError(f"the reply has {len(tokens)} tokens and {len(logprobs)} log-probabilities")
    if len(tokens) == 0 and found.usage is None:
        raise BrokenReplyError("the reply has neither token_ids nor usage.completion_tokens: its length is unknown")
    length = len(tokens) or (found.usage.completion_tokens if found.usage else 0)
    if length > max_tokens:
        raise BrokenReplyError(f"the reply has {length} tokens, and at most {max_tokens} were asked for")
    finish = _FINISH.get(choice.finish_reason)
    known = choice.finish_reason if choice.finish_reason in _CUT else "unknown"
    reason = "" if finish else f"finish_reason={known}"
    return ServedAnswer(
        text=well_formed(text), finish=finish, reason=reason, length=length, tokens=tokens, logprobs=logprobs
    )


def read_models(reply: Any) -> list[str]:
    """The names of the models that a server has. Raises BrokenReplyError."""
    return [each.id for each in _convert(reply, _Models).data]


def well_formed(text: str) -> str:
    """`text` with halves of surrogate pairs joined, and those without another half replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _logprobs(found: _Logprobs | None) -> np.ndarray:
    if found is None:
        return _NO_LOGPROBS
    values = found.token_logprobs or [each.logprob for each in found.content or []]
    array = np.array(values, dtype=np.float64)
    if not (array <= 1e-3).all():  # rounded zeros are a little more
        raise BrokenReplyError(f"a log-probability of {array.max()}")
    return np.maximum(array, np.finfo(np.float32).min).astype(np.float32)


def _convert(reply: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(reply, kind)
    except msgspec.ValidationError as error:
        raise BrokenReplyError(f"the reply is not as OpenAI's API has it: {error}") from None
