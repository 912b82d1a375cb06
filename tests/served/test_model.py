"""A model behind a server: what is asked, and what becomes of replies and of failures."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

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

from prorl_mega.config.schema import ChatConfig
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.types import FinishReason

KEY = "sk-secret0123456789"


def answer_kindly(exchange: Exchange) -> None:
    time.sleep(0.02)
    exchange.reply(chat_reply(f"answer {exchange.body['seed']}"))


def test_a_chat_is_asked_sample_by_sample_with_its_own_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with fake_server(answer_kindly) as server:
        heard = Heard(server_config(server.url, key_env="MY_KEY"), chat=ChatConfig(system="Be brief."), tokenizer=None)
        answers = heard.ask([*some_requests(11), *some_requests(12, system="Own.")[11:]])
    assert {place: each.text for place, each in answers.items()} == {
        (number // 2, number % 2): f"answer {100 + number}" for number in range(12)
    }
    assert {each.finish for each in answers.values()} == {FinishReason.STOP}
    assert {(each.length, len(each.tokens), len(each.logprobs)) for each in answers.values()} == {(3, 0, 0)}
    assert 2 <= server.most <= 4, "as many at a time as `concurrency`"
    by_seed = {body["seed"]: body for _, body, _ in server.seen}
    user = {"role": "user", "content": "5 + 1?"}
    assert by_seed[110]["messages"] == [{"role": "system", "content": "Be brief."}, user]
    assert by_seed[111]["messages"] == [{"role": "system", "content": "Own."}, user]
    wanted = {"model": "m", "temperature": 0.6, "top_p": 0.95, "max_tokens": 50, "n": 1, "seed": 110}
    assert wanted.items() <= by_seed[110].items()
    assert {(path, headers["Authorization"]) for path, _, headers in server.seen} == {
        ("/v1/chat/completions", f"Bearer {KEY}")
    }
    assert heard.model.name == f"{server.url} m"
    assert heard.said == []
    assert heard.model.gaps.total() == 0


def test_a_completion_is_asked_with_token_ids_and_gives_them() -> None:
    with fake_server(lambda it: it.reply(completion_reply([72, 105, 2], [-0.5, 0.0, -9999.0], finish="length"))) as it:
        answers = Heard(server_config(it.url, **COMPLETIONS)).ask(some_requests(1))
    ((path, body, _),) = it.seen
    assert path == "/v1/completions"
    assert body["prompt"] == [ord(each) for each in "0 + 1?"]
    assert body["stop_token_ids"] == [2, 5]
    (answer,) = answers.values()
    assert (answer.tokens.tolist(), answer.tokens.dtype) == ([72, 105, 2], "int32")
    assert (answer.logprobs.tolist(), answer.logprobs.dtype) == ([-0.5, 0.0, -9999.0], "float32")
    assert (answer.text, answer.length, answer.finish) == ("Hi\x02", 3, FinishReason.LENGTH)


def test_a_server_that_refuses_what_it_does_not_know_is_asked_for_texts_alone() -> None:
    def plain(exchange: Exchange) -> None:
        if "return_token_ids" in exchange.body:
            exchange.reply({"error": {"message": "Unrecognized request argument: return_token_ids"}}, 400)
        else:
            exchange.reply({"choices": [{"text": "7", "finish_reason": "stop"}], "usage": {"completion_tokens": 2}})

    with fake_server(plain) as server:
        heard = Heard(server_config(server.url, concurrency=1, **COMPLETIONS))
        answers = heard.ask(some_requests(4))
    assert [(each.text, each.length, len(each.tokens)) for each in answers.values()] == [("7", 2, 0)] * 4
    assert len(server.seen) == 5, "refused once"
    assert len(heard.said) == 1
    assert "texts alone" in heard.text


def test_what_is_refused_without_wishes_is_not_asked_again() -> None:
    def plain(exchange: Exchange) -> None:
        is_known = "return_token_ids" not in exchange.body and exchange.body["seed"] == 100
        exchange.reply(chat_reply("7") if is_known else {"error": {"message": "no"}}, 200 if is_known else 400)

    with fake_server(plain) as server:
        heard = Heard(server_config(server.url, concurrency=1))
        with pytest.raises(DataError, match="refuses sample 1 of p/0: HTTP 400: no"):
            heard.ask(some_requests(2))
    assert [(body["seed"], "logprobs" in body) for _, body, _ in server.seen] == [
        (100, True), (100, False), (101, False)
    ]  # fmt: skip


def test_an_answer_that_was_all_thought_is_an_empty_text() -> None:
    with fake_server(lambda it: it.reply(chat_reply(None, finish="length", tokens=50))) as server:
        (answer,) = Heard(server_config(server.url)).ask(some_requests(1)).values()
    assert (answer.text, answer.length, answer.finish) == ("", 50, FinishReason.LENGTH)


def test_arguments_of_the_template_go_along() -> None:
    with fake_server(answer_kindly) as server:
        Heard(server_config(server.url), chat=ChatConfig(arguments={"enable_thinking": False})).ask(some_requests(1))
    assert server.seen[0][1]["chat_template_kwargs"] == {"enable_thinking": False}


def failing_first(times: int, fail: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """Every request fails `times` times before it is answered."""
    failures: dict[int, int] = {}

    def handle(exchange: Exchange) -> None:
        seed = exchange.body["seed"]
        failures[seed] = failures.get(seed, 0) + 1
        if failures[seed] <= times:
            fail(exchange)
        else:
            answer_kindly(exchange)

    return handle


def hang_up(exchange: Exchange) -> None:
    exchange.close_connection = True


def hang_up_half_way(exchange: Exchange) -> None:
    exchange.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": [')
    exchange.close_connection = True


@pytest.mark.parametrize(
    "fail",
    [
        lambda it: it.reply({"error": "busy"}, 429),
        lambda it: it.reply(b"<html>bad gateway", 502),
        lambda it: it.reply(b'{"choices": [{"text'),
        hang_up,
        hang_up_half_way,
    ],
    ids=["429", "502", "broken", "lost", "half"],
)
def test_what_passes_is_asked_again(fail: Callable[[Exchange], None]) -> None:
    with fake_server(failing_first(2, fail)) as server:
        heard = Heard(server_config(server.url))
        assert len(heard.ask(some_requests(6))) == 6
    assert len(server.seen) == 18
    assert heard.said == []


def test_a_server_says_how_long_it_wants_to_be_left_alone() -> None:
    with fake_server(failing_first(1, lambda it: it.reply({}, 429, Retry_After="1"))) as server:
        started = time.monotonic()
        assert len(Heard(server_config(server.url)).ask(some_requests(1))) == 1
    assert time.monotonic() - started >= 1


def test_one_request_that_always_fails_is_a_gap_among_answers() -> None:
    def handle(exchange: Exchange) -> None:
        if exchange.body["seed"] == 101:
            exchange.reply({"error": {"message": "CUDA error"}}, 500)
        else:
            answer_kindly(exchange)

    with fake_server(handle) as server:
        heard = Heard(server_config(server.url, retries=3))
        answers = heard.ask(some_requests(40))
    assert len(answers) == 39
    assert (0, 1) not in answers
    assert dict(heard.model.gaps) == {"no usable answer after 4 attempts": 1}
    assert "sample 1 of p/0 has no answer: no usable answer after 4 attempts (HTTP 500)" in heard.text
    assert "1 sample without an answer from" in heard.text


def test_a_server_that_goes_leaves_gaps_and_is_asked_again_by_the_next_call() -> None:
    is_gone = threading.Event()

    def handle(exchange: Exchange) -> None:
        if is_gone.is_set():
            hang_up(exchange)
        else:
            answer_kindly(exchange)
            if exchange.body["seed"] == 105:
                is_gone.set()

    requests = some_requests(100)
    with fake_server(handle) as server:
        heard = Heard(server_config(server.url))
        first = dict(heard.ask(requests))
        assert 1 <= len(first) < 20
        assert heard.model.gaps.total() == 100 - len(first)
        assert heard.model.gaps["not asked for, the server is gone"] > 80
        assert len(server.seen) < 50, "the others were not tried"
        assert f"{100 - len(first)} samples without an answer" in heard.text
        is_gone.clear()
        left = [each for each in requests if (each.index, each.sample) not in first and each.seed != 105]
        heard.ask(left)
        assert heard.model.gaps.total() == 0
    assert len(heard.answers) >= 99


def test_a_server_that_is_not_there_is_named() -> None:
    with fake_server(answer_kindly) as server:
        url = server.url
    heard = Heard(server_config(url))
    assert heard.ask(some_requests(10)) == {}
    assert heard.model.gaps.total() == 10
    assert "Connection refused" in heard.text
    with pytest.raises(ConfigError, match=r"server\.url=.*: no server answers \(Connection refused\)"):
        Heard(server_config(url, model=None))


@pytest.mark.parametrize(
    ("status", "error", "match"),
    [
        (401, ConfigError, r"HTTP 401: wrong key \(key\)\x3b look at the key in MY_KEY"),
        (
            404,
            ConfigError,
            r"HTTP 404: wrong key \(key\).*evaluation\.server\.model=m and evaluation\.server\.api=chat",
        ),
        (400, DataError, r"refuses sample [01] of p/\d: HTTP 400"),
    ],
)
def test_what_the_server_will_never_accept_ends_it_without_the_key(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception], match: str
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with fake_server(lambda it: it.reply({"error": {"message": f"wrong key {KEY}"}}, status)) as server:
        heard = Heard(server_config(server.url, key_env="MY_KEY"))
        with pytest.raises(error, match=match) as caught:
            heard.ask(some_requests(4))
    assert KEY not in str(caught.value) + heard.text


def test_answers_that_are_there_come_before_the_error() -> None:
    def handle(exchange: Exchange) -> None:
        if exchange.body["seed"] > 100:
            time.sleep(0.1)  # these two end while the caller is away
        if exchange.body["seed"] == 102:
            exchange.reply({"error": {"message": "no"}}, 404)
        else:
            exchange.reply(chat_reply("there"))

    with fake_server(handle) as server:
        heard = Heard(server_config(server.url, concurrency=3))
        answers = heard.model.answers(iter(some_requests(5)), lambda: False)
        got = [each.request.seed for each in next(answers)]
        time.sleep(0.6)
        with pytest.raises(ConfigError, match="HTTP 404"):
            got.extend(answer.request.seed for each in answers for answer in each)
    assert {100, 101} <= set(got)


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "This model's maximum context length is 512 tokens. However, you requested 600"}},
        {"error": {"message": "too long", "code": "context_length_exceeded"}},
        {"error": {"message": "the request exceeds the available context size"}},
        {"error": {"message": "not allowed", "code": "content_policy_violation"}},
    ],
)
def test_a_prompt_that_the_server_cannot_take_is_a_gap(error: dict[str, Any]) -> None:
    def handle(exchange: Exchange) -> None:
        if exchange.body["seed"] in (101, 102):
            exchange.reply(error, 400)
        else:
            answer_kindly(exchange)

    with fake_server(handle) as server:
        heard = Heard(server_config(server.url))
        assert len(heard.ask(some_requests(6))) == 4
    assert dict(heard.model.gaps) == {"refused for this prompt": 2}
    assert error["error"]["message"] in heard.text


def test_answers_that_were_cut_off_are_gaps() -> None:
    reasons = {100: "content_filter", 101: "tool_calls", 102: "sold out\x1b[31m", 103: "length"}
    with fake_server(lambda it: it.reply(chat_reply("x", finish=reasons[it.body["seed"]]))) as server:
        heard = Heard(server_config(server.url))
        assert [each.finish for each in heard.ask(some_requests(4)).values()] == [FinishReason.LENGTH]
    assert dict(heard.model.gaps) == {
        "finish_reason=content_filter": 1, "finish_reason=tool_calls": 1, "finish_reason=unknown": 1
    }  # fmt: skip
    assert "\x1b" not in heard.text


def test_it_ends_soon_after_it_was_told_to_and_leaves_nothing_behind() -> None:
    release = threading.Event()

    def handle(exchange: Exchange) -> None:
        if exchange.body["seed"] > 101:
            release.wait(20)
        answer_kindly(exchange)

    with fake_server(handle) as server:
        heard = Heard(server_config(server.url))
        sizes: list[int] = []
        started = time.monotonic()
        for answers in heard.model.answers(iter(some_requests(50)), lambda: sizes.count(0) > 3):
            sizes.append(len(answers))
        assert sum(sizes) == 2
        assert time.monotonic() - started < 10
        assert heard.model.gaps.total() == 0, "what was not asked for is no gap"
        unfinished = heard.model.answers(iter(some_requests(50)), lambda: False)
        next(unfinished)
        unfinished.close()
        assert threading.active_count() < 20
        release.set()


def test_requests_are_taken_as_there_is_room() -> None:
    taken = 0

    def requests() -> Any:
        nonlocal taken
        for each in some_requests(30):
            taken += 1
            yield each

    with fake_server(answer_kindly) as server:
        got = 0
        for answers in Heard(server_config(server.url)).model.answers(requests(), lambda: False):
            assert taken <= got + 4
            got += len(answers)
    assert (taken, got) == (30, 30)


def test_the_model_is_the_only_one_that_the_server_has() -> None:
    names = ["one"]
    with fake_server(lambda it: it.reply({"data": [{"id": each} for each in names]})) as server:
        url = server.url.removesuffix("/v1")
        assert Heard(server_config(url, model=None)).model.name == f"{server.url} one"
        names.append("two\x1b[2J")
        with pytest.raises(ConfigError, match=r"server\.model is not set, and .* has one, two\[2J; name one"):
            Heard(server_config(url, model=None))
        names.clear()
        with pytest.raises(ConfigError, match="has no model"):
            Heard(server_config(url, model=None))


@pytest.mark.parametrize("key", [None, "", "two words", "line\nbreak", "ключ"])
def test_a_key_that_is_none_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="the environment variable MY_KEY") as caught:
        Heard(server_config("http://127.0.0.1:1/v1", key_env="MY_KEY"))
    assert not key or key not in str(caught.value)


def test_it_imports_neither_torch_nor_vllm() -> None:
    code = "import sys, prorl_mega.served.model; sys.exit(any(each in sys.modules for each in ('torch', 'vllm')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
