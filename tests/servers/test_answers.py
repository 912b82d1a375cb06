"""Replies that are taken and replies that are refused, with the reason."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorl_mega.servers.answers import (
    AbortedSampleError,
    GarbledAnswerError,
    GroupOrder,
    SampleLimits,
    VersionedSample,
    read_sample,
    read_status,
    sample_body,
)
from prorl_mega.types import FinishReason

LIMITS = SampleLimits(valid_vocab=100, end_ids=(2, 5))


def reply(tokens: list[Any], finish: Any = "length", **changes: Any) -> dict[str, Any]:
    content = [{"token_id": token, "logprob": -0.5 - place, "rank": 1} for place, token in enumerate(tokens)]
    choice = {
        "index": 0, "finish_reason": finish, "token_ids": tokens, "logprobs": {"content": content},
        "weight_versions": [{"version": "3", "start": 0, "end": len(tokens)}],
    }  # fmt: skip
    return {"request_id": "x", "choices": [choice | changes]}


def read(found: Any, *, max_tokens: int = 4, versions: range = range(3, 6)) -> VersionedSample:
    content = found if isinstance(found, bytes) else json.dumps(found).encode()
    return read_sample(content, max_tokens=max_tokens, limits=LIMITS, versions=versions, server="s")


def spans(*parts: tuple[str, int, int]) -> list[dict[str, Any]]:
    return [{"version": version, "start": start, "end": end} for version, start, end in parts]


def test_a_reply_that_is_true() -> None:
    sample = read(reply([9, 8, 7, 6], weight_versions=spans(("3", 0, 1), ("5", 1, 4))))
    assert sample.tokens.tolist() == [9, 8, 7, 6]
    assert sample.logprobs.tolist() == [-0.5, -1.5, -2.5, -3.5]
    assert sample.versions.tolist() == [3, 5, 5, 5]
    assert (sample.tokens.dtype, sample.logprobs.dtype, sample.versions.dtype) == (np.int32, np.float32, np.int32)
    assert (sample.finish, sample.completion().version) == (FinishReason.LENGTH, 3)
    assert read(reply([9, 2], "stop")).finish is FinishReason.STOP


def test_a_sample_that_was_given_up() -> None:
    with pytest.raises(AbortedSampleError):
        read(reply([9], "abort"))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (b"", "not a reply of 0 bytes"),
        (b"\xff\xfe{}", "not a reply"),
        (b"[" * 100_000, "not a reply"),
        ({"choices": []}, "not a reply"),
        ({"choices": [reply([9])["choices"][0]] * 2}, "not a reply"),
        (reply([9, 8, 7, 6], "content_filter"), "finish_reason='content_filter'"),
        (reply([9, 8, 7, 6], None), "finish_reason='None'"),
        (reply([]), "0 tokens"),
        (reply([9, 8, 7, 6], logprobs=None), "4 tokens and 0 log-probabilities"),
        (reply([9, 8, 7, 6], token_ids=[9, 8, 7, 5]), "which have to be of them"),
        (reply([9, 8, 7, 100]), "token 100; the tokenizer has 100 ids"),
        (reply([9, 8, 7, -1]), "not a reply"),
        (reply([9, 8, 7, 1.5]), "not a reply"),
        (reply([9, 8, 7, 2**40]), "not a reply"),
        (reply([9, 8, 7]), "3 tokens, end tokens at .*max_tokens=4"),
        (reply([9, 8, 7, 6, 1]), "5 tokens"),
        (reply([9, 2, 7, 6]), r"end tokens at \[1\], finish_reason=length"),
        (reply([9, 2, 5], "stop"), r"end tokens at \[1, 2\]"),
        (reply([9, 8], "stop"), "finish_reason=stop"),
        (reply([9, 8, 7, 6], weight_versions=None), "versions of 0 of 4 tokens"),
        (reply([9, 8, 7, 6], weight_versions=spans(("3", 0, 3))), "versions of 3 of 4 tokens"),
        (reply([9, 8, 7, 6], weight_versions=spans(("3", 0, 5))), "tokens 0 to 5 of 4"),
        (reply([9, 8, 7, 6], weight_versions=spans(("3", 1, 4))), "tokens 1 to 4 of 4"),
        (reply([9, 8, 7, 6], weight_versions=spans(("3", 0, 0), ("3", 0, 4))), "tokens 0 to 0"),
        (reply([9, 8, 7, 6], weight_versions=spans(("4", 0, 2), ("3", 2, 4))), "from weights '3'"),
        (reply([9, 8, 7, 6], weight_versions=spans(("2", 0, 4))), "from weights '2'; pushed were 3 to 5"),
        (reply([9, 8, 7, 6], weight_versions=spans(("6", 0, 4))), "from weights '6'"),
        (reply([9, 8, 7, 6], weight_versions=spans(("default", 0, 4))), "from weights 'default'"),
        (reply([9, 8, 7, 6], weight_versions=spans(("٣", 0, 4))), "from weights '٣'"),
    ],
)
def test_replies_that_cannot_be_true(found: Any, message: str) -> None:
    with pytest.raises(GarbledAnswerError, match=message):
        read(found)


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "Infinity", "1e400", "0.1", "-9999.0", "null", '"-1"'])
def test_log_probabilities_that_are_none(value: str) -> None:
    """-9999 is how vLLM writes NaN and minus infinity."""
    content = json.dumps(reply([9, 8, 7, 6])).replace("-2.5", value).encode()
    with pytest.raises(GarbledAnswerError):
        read(content)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "token_ids", "logprobs", "content", "finish_reason", "weight_versions", "x"]
                ),
                inner,
            )
        ),
    )
)
def test_any_json_is_refused_and_nothing_else_happens(found: Any) -> None:
    with pytest.raises(GarbledAnswerError):
        read({"choices": [found]})
    with pytest.raises(GarbledAnswerError):
        read_status(json.dumps(found).encode())


def test_the_status() -> None:
    assert read_status(b'{"state": "verified", "version": "12", "core_version": "12"}') == ("verified", 12)
    assert read_status(b'{"state": "random", "version": null, "core_version": "default"}') == ("random", None)
    with pytest.raises(GarbledAnswerError):
        read_status(b'{"state": "verified", "version": "twelve", "core_version": "12"}')


def test_the_body_of_a_request() -> None:
    order = GroupOrder(prompt=np.array([1, 2], dtype=np.int32), seeds=(7, 8), temperature=0.7, top_p=0.9, max_tokens=5)
    body = json.loads(json.dumps(sample_body(order, 8, np.array([2, 5]).tolist())))
    assert body["token_ids"] == [1, 2]
    params = body["sampling_params"]
    assert (params["seed"], params["max_tokens"], params["logprobs"], params["stop_token_ids"]) == (8, 5, 0, [2, 5])
