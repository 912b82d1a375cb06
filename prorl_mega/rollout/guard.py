"""The gate in front of every route of an engine's server: a token, an order of calls, and verified weights.

vLLM's own `--api-key` leaves most routes open, those that pause, load weights and run methods of workers among them.
Here nothing is answered without the job's token, and with it only the routes of `ROUTES`, in an order that cannot end
in sampling from weights that nobody has verified:

    pause → start_weight_update → update_weights … → finish_weight_update → verify → reset_prefix_cache → resume

An update that broke off, or whose checksums differ, closes the server for good.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

STATUS, VERIFY = "/prorl/status", "/prorl/verify"
GENERATE = "/inference/v1/generate"
INIT, START, UPDATE, FINISH = (
    "/init_weight_transfer_engine",
    "/start_weight_update",
    "/update_weights",
    "/finish_weight_update",
)
PAUSE, RESUME, RESET = "/pause", "/resume", "/reset_prefix_cache"
ROUTES = {
    "GET": {STATUS, "/health", "/metrics"},
    "POST": {VERIFY, GENERATE, INIT, START, UPDATE, FINISH, PAUSE, RESUME, RESET, "/abort_requests"},
}
_LARGEST_QUESTION = 1 << 16  # bytes of a body that the gate reads itself


class WeightState(StrEnum):
    """The engine's weights as the gate knows them."""

    RANDOM = "random"  # as it started
    UPDATING = "updating"  # between start and finish
    FINISHED = "finished"  # and not verified yet
    VERIFIED = "verified"
    BROKEN = "broken"  # an update broke off or arrived changed


class Guard:
    """An ASGI middleware, the outermost one. `engine` is vLLM's `AsyncLLM`."""

    def __init__(self, app: Any, token: str, engine: Any) -> None:
        self._app, self._token, self._engine = app, token.encode(), engine
        self.state = WeightState.RANDOM
        self.version: str | None = None  # of the weights that were verified last
        self._paused = self._cache_is_clean = False
        self._finished_version: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":  # no route of ours is a web socket
            await send({"type": "websocket.close", "code": 1008})
        elif not self._knows_token(scope):
            await _answer(send, 401, error="every route needs the job's token: Authorization: Bearer …")
        elif scope["path"] not in ROUTES.get(scope["method"], ()):
            await _answer(send, 404, error=f"{scope['method']} {scope['path']} is no route of this server")
        elif reason := self._refusal(scope):
            await _answer(send, 409, error=reason, state=self.state)
        elif scope["path"] == STATUS:
            await self._tell_status(send)
        elif scope["path"] == VERIFY:
            await self._verify(await _body(receive), send)
        else:
            await self._pass_on(scope, receive, send)

    def _knows_token(self, scope: Scope) -> bool:
        values = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        given = values[0] if len(values) == 1 else b""
        return hmac.compare_digest(given, b"Bearer " + self._token)

    def _refusal(self, scope: Scope) -> str:
        """Why this call may not be made now; empty if it may."""
        path = scope["path"]
        if self.state is WeightState.BROKEN and path not in (STATUS, "/health", "/metrics", "/abort_requests"):
            return "an update of the weights broke off or arrived changed; this server has to be replaced"
        if path == PAUSE and parse_qs(scope["query_string"].decode("latin-1")).get("clear_cache", ["true"]) != ["true"]:
            return "clear_cache=false would keep keys and values of the old weights"
        if path == START and not self._paused:
            return "pause comes before start_weight_update"
        if path in (UPDATE, FINISH) and self.state is not WeightState.UPDATING:
            return f"start_weight_update comes before {path[1:]}"
        if path == VERIFY and self.state is not WeightState.FINISHED:
            return "finish_weight_update comes before verify"
        if path == RESUME and not (self.state is WeightState.VERIFIED and self._cache_is_clean):
            return "verify and reset_prefix_cache come before resume"
        if path == GENERATE and self.version is None:
            return "the weights are random: a push has to be verified before anything is sampled"
        return ""

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let vLLM answer, and remember what follows from its answer."""
        path, status = scope["path"], 500
        sent = bytearray()

        async def observed(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif path == RESET:
                sent.extend(message.get("body", b""))
            await send(message)

        if path == START:
            self.state, self._cache_is_clean = WeightState.UPDATING, False
        elif path == FINISH:
            receive, self._finished_version = await _replayed(receive)
        try:
            await self._app(scope, receive, observed)
        finally:  # also when the caller has hung up
            self._remember(path, succeeded=status == 200, content=bytes(sent))

    def _remember(self, path: str, *, succeeded: bool, content: bytes) -> None:
        if path in (START, UPDATE, FINISH) and not succeeded:
            self.state = WeightState.BROKEN
        elif path == FINISH:
            self.state = WeightState.FINISHED
        elif path == PAUSE and succeeded:
            self._paused = True
        elif path == RESET and succeeded and self.state is WeightState.VERIFIED:
            self._cache_is_clean = json.loads(content or b"{}").get("success") is True
        elif path == RESUME and succeeded:
            self._paused = False

    async def _tell_status(self, send: Send) -> None:
        """The state, after a question to the engine's core, which it answers between two steps: one that hangs or is
        slow is slow here."""
        core = await self._engine.get_weight_version()
        await _answer(send, 200, state=self.state, version=self.version, core_version=core)

    async def _verify(self, body: bytes, send: Send) -> None:
        """Compare the receipts of all workers with what was sent: `{"version", "digest", "tensors"}`."""
        try:
            question = json.loads(body)
            wanted = {"digest": str(question["digest"]), "tensors": int(question["tensors"])}
            version = str(question["version"])
        except (ValueError, KeyError, TypeError):
            await _answer(send, 400, error="version, digest and tensors are needed")
            return
        receipts = await self._engine.collective_rpc("weight_receipt")
        core = await self._engine.get_weight_version()
        wrong = [rank for rank, receipt in enumerate(receipts) if receipt != wanted]
        if wrong or core != version or self._finished_version != version:
            self.state = WeightState.BROKEN
            reason = f"workers {wrong} hold {[receipts[rank] for rank in wrong]}, sent was {wanted}"
            if not wrong:
                reason = f"the engine's version is {core}, pushed was {version}"
            await _answer(send, 409, error=reason, state=self.state)
            return
        self.state, self.version = WeightState.VERIFIED, version
        await _answer(send, 200, version=version, workers=len(receipts))


async def _body(receive: Receive) -> bytes:
    """The whole body, or nothing if it is too large for a question."""
    content = bytearray()
    while True:
        message = await receive()
        content += message.get("body", b"")
        if len(content) > _LARGEST_QUESTION:
            return b""
        if message["type"] != "http.request" or not message.get("more_body", False):
            return bytes(content)


async def _replayed(receive: Receive) -> tuple[Receive, str | None]:
    """A `receive` that gives the same body again, and the version that it names."""
    content = await _body(receive)
    try:
        version = json.loads(content)["weight_version"]
    except (ValueError, KeyError, TypeError):
        version = None
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return again, version


async def _answer(send: Send, status: int, **content: Any) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
