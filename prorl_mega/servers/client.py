"""The calls to one server, each with a deadline and a bound on the size of its reply."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from prorl_mega.servers.answers import (
    BASE_BYTES,
    TOKEN_BYTES,
    GarbledAnswerError,
    GroupOrder,
    SampleLimits,
    VersionedSample,
    read_sample,
    read_status,
    sample_body,
)

CONNECT_S = 5.0
_LONGEST_REASON = 400  # characters of a server's words in a message
STATUS, VERIFY, GENERATE, HEALTH = "/prorl/status", "/prorl/verify", "/inference/v1/generate", "/health"


class ServerGoneError(Exception):
    """No answer: refused, broken off or too late. The message is the reason."""


class ServerRefusedError(Exception):
    """An answer that is not 200. The message is the server's own words."""


class EngineClient:
    """The address and token of one server. Use it in one event loop."""

    def __init__(self, name: str, address: str, port: int, token: str) -> None:
        self.name = name
        host = f"[{address}]" if ":" in address else address
        self._url, self._token = f"http://{host}:{port}", token
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def status(self, deadline_s: float) -> tuple[str, int | None]:
        """State and version of its weights; see `read_status`. The engine's core has answered as well."""
        return read_status(await self._ask("GET", STATUS, None, deadline_s, BASE_BYTES))

    async def is_there(self, deadline_s: float) -> None:
        """Whether the web server answers, whatever the engine's core does. Raises ServerGoneError and the others."""
        await self._ask("GET", HEALTH, None, deadline_s, BASE_BYTES)

    async def sample(
        self, order: GroupOrder, seed: int, *, limits: SampleLimits, versions: Callable[[], range], deadline_s: float
    ) -> VersionedSample:
        """One sample; see `read_sample`. `versions` is asked when the reply is there."""
        body = sample_body(order, seed, limits.end_ids)
        largest = BASE_BYTES + TOKEN_BYTES * order.max_tokens
        content = await self._ask("POST", GENERATE, body, deadline_s, largest)
        return read_sample(content, max_tokens=order.max_tokens, limits=limits, versions=versions(), server=self.name)

    async def call(self, path: str, body: Mapping[str, Any] | None, deadline_s: float) -> dict[str, Any]:
        """POST `body`; the JSON object of the reply."""
        content = await self._ask("POST", path, body or {}, deadline_s, BASE_BYTES)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise GarbledAnswerError(f"{path}: no JSON object")
        return found

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, deadline_s: float, largest: int
    ) -> bytes:
        """The content of a reply with status 200. Raises ServerGoneError, ServerRefusedError, GarbledAnswerError."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                headers={"Authorization": f"Bearer {self._token}", "Accept-Encoding": "identity"},
                auto_decompress=False,  # a small reply may unfold into a large one
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        content = bytearray()
        try:
            async with self._session.request(
                method, self._url + path, json=body, allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=deadline_s, sock_connect=min(CONNECT_S, deadline_s)),
            ) as response:  # fmt: skip
                async for part in response.content.iter_any():
                    content += part
                    if len(content) > largest:
                        raise GarbledAnswerError(f"{path}: a reply of more than {largest} bytes")
        except TimeoutError:
            raise ServerGoneError(f"{path}: no answer within {deadline_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ServerGoneError(f"{path}: {_described(error)}") from None
        if response.status != 200:
            raise ServerRefusedError(f"{path}: HTTP {response.status}: {self._words(bytes(content))}")
        return bytes(content)

    def _words(self, content: bytes) -> str:
        """The reason in an error's body, from where the guard and vLLM put it; one line, without the token."""
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        while isinstance(found, dict) and isinstance(found.get("error"), dict):
            found = found["error"]
        reason = (found.get("error") or found.get("message") or "") if isinstance(found, dict) else ""
        text = " ".join(str(reason or content[:_LONGEST_REASON].decode("utf-8", "replace")).split())
        text = "".join(each if each.isprintable() else "�" for each in text).replace(self._token, "(token)")
        return text[:_LONGEST_REASON] or "no reason is given"


def _described(error: BaseException) -> str:
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "the connection broke off"
    return (str(error) or type(error).__name__)[:200]
