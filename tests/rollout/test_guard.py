"""The gate in front of vLLM's routes: the token, the routes, and the only order that ends in sampling."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from prorl_mega.rollout.guard import FINISH, GENERATE, INIT, PAUSE, RESET, RESUME, START, STATUS, UPDATE, VERIFY, Guard

TOKEN = "a-token-of-a-job"
RECEIPT = {"digest": "d" * 32, "tensors": 3}


class Engine:
    """vLLM's engine as the guard asks it."""

    def __init__(self, *receipts: dict[str, Any]) -> None:
        self.receipts, self.version = list(receipts or (RECEIPT,)), "default"

    async def get_weight_version(self) -> str:
        return self.version

    async def collective_rpc(self, method: str) -> list[dict[str, Any]]:
        assert method == "weight_receipt"
        return self.receipts


class Server:
    """A guard before an application that answers everything with 200, or as it is told."""

    def __init__(self, *receipts: dict[str, Any]) -> None:
        self.engine = Engine(*receipts)
        self.guard = Guard(self.application, TOKEN, self.engine)
        self.reached: list[str] = []
        self.statuses: dict[str, int] = {}
        self.replies: dict[str, bytes] = {RESET: b'{"success": true}'}

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.reached.append(path)
        if path == FINISH:
            self.engine.version = json.loads((await receive())["body"])["weight_version"]
        await send({"type": "http.response.start", "status": self.statuses.get(path, 200), "headers": []})
        await send({"type": "http.response.body", "body": self.replies.get(path, b"{}")})

    def ask(self, path: str, body: Any = None, *, method: str = "POST", token: str | None = TOKEN, **scope: Any) -> int:
        """The status of a reply; its content is in `said`."""
        path, _, query = path.partition("?")
        headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
        full = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers}
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": json.dumps(body or {}).encode(), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.guard(full | scope, receive, send))
        self.said = b"".join(each.get("body", b"") for each in sent).decode()
        return sent[0]["status"]

    def push(self, version: str = "1", *, until: str = "") -> list[int]:
        """The statuses of a whole push, or of its steps before `until`."""
        steps: list[tuple[str, Any]] = [
            (f"{PAUSE}?mode=keep", {}), (START, {}), (UPDATE, {}), (UPDATE, {}), (FINISH, {"weight_version": version}),
            (VERIFY, {"version": version, **RECEIPT}), (RESET, {}), (RESUME, {}),
        ]  # fmt: skip
        statuses = []
        for path, body in steps:
            if until and path.startswith(until):
                break
            statuses.append(self.ask(path, body))
        return statuses


@pytest.mark.parametrize("token", [None, "", "a-token-of-a-jo", "a-token-of-a-job ", "A-TOKEN-OF-A-JOB", "é"])
def test_nothing_is_answered_without_the_token(token: str | None) -> None:
    server = Server()
    for method, path in [("GET", STATUS), ("POST", GENERATE), ("POST", UPDATE), ("GET", "/"), ("PUT", "/no/route")]:
        assert server.ask(path, method=method, token=token) == 401
    assert server.reached == []


def test_two_tokens_are_none() -> None:
    good = (b"authorization", f"Bearer {TOKEN}".encode())
    assert Server().ask(STATUS, method="GET", headers=[good, (b"authorization", b"Bearer x")]) == 401
    assert Server().ask(STATUS, method="GET", headers=[good]) == 200


def test_web_sockets_are_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Server().guard({"type": "websocket", "path": "/v1/realtime", "headers": []}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/collective_rpc"), ("POST", "/update_weight_version"), ("POST", "/sleep"), ("GET", GENERATE),
     ("POST", "/weight_checker"), ("POST", f"{GENERATE}/"), ("POST", f"/{GENERATE}"), ("POST", "/v1/completions")],
)  # fmt: skip
def test_other_routes_are_shut_with_the_token(method: str, path: str) -> None:
    server = Server()
    server.push()
    server.reached.clear()
    assert server.ask(path, method=method) == 404
    assert server.reached == []


def test_a_whole_push_opens_it() -> None:
    server = Server()
    assert server.ask(GENERATE) == 409
    assert "weights are random" in server.said
    assert server.push() == [200] * 8
    assert server.ask(GENERATE) == 200
    assert server.ask(STATUS, method="GET") == 200
    assert json.loads(server.said) == {"state": "verified", "version": "1", "core_version": "1"}
    assert server.push("2") == [200] * 8


@pytest.mark.parametrize(
    ("until", "early"),
    [(PAUSE, START), (START, UPDATE), (START, FINISH), (START, VERIFY), (FINISH, VERIFY), (FINISH, RESUME),
     (VERIFY, RESUME), (RESET, RESUME), (PAUSE, RESUME)],
)  # fmt: skip
def test_no_step_comes_before_its_turn(until: str, early: str) -> None:
    server = Server()
    server.push(until=until)
    assert server.ask(early, {"weight_version": "1"}) == 409
    assert early not in server.reached
    assert server.ask(GENERATE) in (409, 200)
    assert (server.ask(GENERATE) == 200) == (until == RESET), "verified, and paused"


def test_the_cache_of_old_weights_is_not_kept() -> None:
    server = Server()
    assert server.ask(f"{PAUSE}?mode=keep&clear_cache=false") == 409
    assert server.reached == []
    server.replies[RESET] = b'{"success": false}'
    assert server.push()[-2:] == [200, 409], "the cache could not be cleared"


@pytest.mark.parametrize("broken", [START, UPDATE, FINISH])
def test_an_update_that_breaks_off_closes_it_for_good(broken: str) -> None:
    server = Server()
    assert server.push() == [200] * 8
    server.statuses[broken] = 500
    server.push("2")
    assert server.ask(GENERATE) == 409
    assert "has to be replaced" in server.said
    server.statuses.clear()
    assert set(server.push("3")) == {409}


@pytest.mark.parametrize(
    "receipts",
    [({"digest": "e" * 32, "tensors": 3},), (RECEIPT, {"digest": "d" * 32, "tensors": 2}), ({},), (RECEIPT, {})],
)
def test_weights_that_no_worker_vouches_for(receipts: tuple[dict[str, Any], ...]) -> None:
    server = Server(*receipts)
    assert server.push() == [200] * 5 + [409] * 3
    assert server.ask(GENERATE) == 409


def test_another_version_than_the_one_that_was_pushed() -> None:
    server = Server()
    server.push("1", until=VERIFY)
    assert server.ask(VERIFY, {"version": "2", **RECEIPT}) == 409
    assert server.ask(GENERATE) == 409


def test_a_question_that_is_none() -> None:
    server = Server()
    server.push(until=VERIFY)
    assert server.ask(VERIFY, {"version": "1"}) == 400
    assert server.ask(VERIFY, {"version": "x" * (1 << 17), **RECEIPT}) == 400
    assert server.ask(INIT) == 200
