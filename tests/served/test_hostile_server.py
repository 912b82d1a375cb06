"""A server that is broken or means harm: its replies are gaps with a reason, within bounds, and nothing else."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from helpers.fake_openai import (
    COMPLETIONS,
    Exchange,
    chat_reply,
    completion_reply,
    fake_server,
    server_config,
    some_requests,
)
from helpers.served_models import Heard

from prorl_mega.errors import ConfigError
from prorl_mega.served.connection import LONGEST_PAUSE_S, describe, pause
from prorl_mega.served.messages import well_formed


def replied(handle: Callable[[Exchange], None], **changes: Any) -> Heard:
    """What becomes of one sample."""
    with fake_server(handle) as server:
        heard = Heard(server_config(server.url, **({"retries": 1} | changes)))
        heard.ask(some_requests(1))
    return heard


def with_choice(**changes: Any) -> dict[str, Any]:
    reply = completion_reply([72, 105], [-0.5, -0.25])
    reply["choices"][0] |= changes
    return reply


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "not valid JSON"),
        (b"<html>", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "more than 64 objects"),
        (b"[" * 5_000_000, "the reply has more than"),
        (b"1" * 10_000, "not valid JSON"),
        (json.dumps(with_choice(logprobs={"token_logprobs": [-0.5, float("nan")]})).encode(), "NaN"),
        ([], "not as OpenAI's API has it"),
        ({"choices": []}, "not as OpenAI's API has it"),
        ({"choices": [with_choice()["choices"][0]] * 2}, "not as OpenAI's API has it"),
        (chat_reply(["parts"]), "not as OpenAI's API has it"),
        (chat_reply("x", finish=None), "not as OpenAI's API has it"),
        (chat_reply("x", tokens=-1), "not as OpenAI's API has it"),
        (chat_reply("x", tokens=1.5), "not as OpenAI's API has it"),
        (chat_reply("x", tokens=10**30), "not as OpenAI's API has it"),
        (chat_reply("x", tokens=51), "51 tokens, and at most 50"),
        (chat_reply("x") | {"usage": None}, "its length is unknown"),
        (with_choice(text=None), "neither a text nor a message"),
        (with_choice(token_ids=[1, -2]), "not as OpenAI's API has it"),
        (with_choice(token_ids=[1, 2**31]), "not as OpenAI's API has it"),
        (with_choice(token_ids=["1", "2"]), "not as OpenAI's API has it"),
        (with_choice(token_ids=[1, 2, 3]), "3 tokens and 2 log-probabilities"),
        (with_choice(token_ids=[1] * 51, logprobs=None), "51 tokens"),
        (with_choice(logprobs={"token_logprobs": [-0.5, None]}), "not as OpenAI's API has it"),
        (with_choice(logprobs={"token_logprobs": [-0.5, 2.0]}), "a log-probability of 2.0"),
        (with_choice(logprobs={"token_logprobs": [-0.5, -(10**400)]}), ""),
    ],
)
def test_replies_that_cannot_be_used(reply: Any, reason: str) -> None:
    heard = replied(lambda it: it.reply(reply), **COMPLETIONS)
    assert heard.answers == {}
    assert dict(heard.model.gaps) == {"no usable answer after 2 attempts": 1}
    assert reason in heard.text
    assert max(len(line) for line in heard.said) < 700


@pytest.mark.parametrize("changes", [{}, COMPLETIONS])
def test_lone_surrogates_become_a_text_that_can_be_written(changes: dict[str, Any]) -> None:
    content = rb'{"choices": [{"finish_reason": "stop", "text": "a\ud800b\udc00\ud83d\ude00", "message": null}]'
    content += rb', "usage": {"completion_tokens": 1}}'
    (answer,) = replied(lambda it: it.reply(content), **changes).answers.values()
    assert answer.text == "a\ufffdb\ufffd😀"
    assert msgspec.json.decode(msgspec.json.encode(answer.text)) == answer.text
    assert well_formed("plain\x00") == "plain\x00"


def endless(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(10_000):
        exchange.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def dripping(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        exchange.wfile.write(b"1\r\n \r\n")
        time.sleep(0.1)


def endless_headers(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for index in range(100_000):
        exchange.wfile.write(b"X-%d: 1\r\n" % index * 100)


@pytest.mark.parametrize(
    ("handle", "reason"),
    [(endless, "the reply has more than"), (dripping, "no answer in time"), (endless_headers, "")],
)
def test_replies_without_an_end(handle: Callable[[Exchange], None], reason: str) -> None:
    started = time.monotonic()
    heard = replied(handle, timeout_s=1.0 if handle is dripping else 20.0, retries=0)
    assert heard.model.gaps.total() == 1
    assert reason in heard.text
    assert time.monotonic() - started < 8


def test_a_small_reply_that_unfolds_into_a_large_one_is_not_unfolded() -> None:
    bomb = gzip.compress(json.dumps(chat_reply("x" * 100_000)).encode())
    heard = replied(lambda it: it.reply(bomb, Content_Encoding="gzip"))
    assert "compressed, which was not asked for" in heard.text


def test_a_redirect_is_not_followed() -> None:
    with fake_server(lambda it: it.reply(chat_reply("stolen"))) as other:
        with pytest.raises(ConfigError, match=f"redirects to {other.url}.*not followed"):
            replied(lambda it: it.reply(b"", 307, Location=f"{other.url}/chat/completions"))
        assert other.seen == []


@pytest.mark.parametrize("words", [{"error": ["x"] * 1000}, {"detail": [{"loc": "\x1b[2J" * 500}]}, {"error": {}}, 7])
def test_an_error_in_any_form_is_one_short_line(words: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        replied(lambda it: it.reply(words, 404))
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()


def test_pauses_are_bounded_whatever_the_server_asks_for() -> None:
    assert all(pause(attempt, 1e12) == LONGEST_PAUSE_S for attempt in range(3))
    assert pause(90, 0.0) <= LONGEST_PAUSE_S
    assert describe(TimeoutError()) == "no answer in time"
