"""Requests to a server with OpenAI's API: bounded in time and size, and made again where that can help.

The server is not trusted: it may redirect, compress, send anything or never end, and may repeat the key in a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from prorl_mega.config.schema import ServerConfig
from prorl_mega.documents import BrokenDocumentError, parse_json
from prorl_mega.errors import ConfigError
from prorl_mega.run.console import printable

CONNECT_S = 10.0
PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0  # before the first repetition, doubled each time; also of a server's Retry-After
_AGAIN = {408, 409, 425, 429}  # and all from 500 on
_LONGEST_REASON = 300  # characters of a server's words in a message
_LOST = (aiohttp.ClientError, OSError, TimeoutError)
Content = TypeVar("Content")


class BrokenReplyError(ValueError):
    """A reply that cannot be used. The message says why."""


class UnansweredError(Exception):
    """A request got no usable reply, however often it was made. The message is the last reason.

    `is_alone`: since it failed first no other request got one either, so the server is gone.
    """

    def __init__(self, reason: str, *, is_alone: bool) -> None:
        super().__init__(reason)
        self.is_alone = is_alone


class RequestRefusedError(Exception):
    """The server refuses a request, and will refuse it again. `code` and the message are its own words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}" if message else f"HTTP {status} without a reason")
        self.status, self.code = status, code


class Connection:
    """A server's address and key. Open it in the event loop that makes the requests, and close it there."""

    def __init__(self, server: ServerConfig) -> None:
        """Raises ConfigError if the variable of `key_env` holds no key."""
        assert server.url is not None
        address = server.url.rstrip("/")
        self.url = address if urlsplit(address).path else f"{address}/v1"
        self._key = _read_key(server.key_env)
        self._timeout_s, self._retries = server.timeout_s, server.retries
        self._limit = server.concurrency
        self._answered = 0  # requests with a usable reply so far
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._limit),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=CONNECT_S),
            headers={"Accept-Encoding": "identity", "Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            auto_decompress=False,  # a small reply may unfold into a large one
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], Content], *, largest: int
    ) -> Content:
        """POST `body` (None: GET); returns what `read` makes of the JSON reply of `largest` bytes at most.

        `read` raises BrokenReplyError for a reply that it cannot use, which is like none. Raises RequestRefusedError,
        or UnansweredError after all repetitions.
        """
        answered_before = self._answered
        for attempt in range(self._retries + 1):
            retry_after = 0.0
            try:
                status, retry_after, content = await self._once(path, body, largest)
                if status == 200:
                    found = read(parse_json(content))
                    self._answered += 1
                    return found
                reason = f"HTTP {status}"
                if status not in _AGAIN and status < 500:
                    raise RequestRefusedError(status, *self._words(content))
            except (*_LOST, BrokenReplyError, BrokenDocumentError) as error:
                reason = self.shown(describe(error))
            if attempt == 0:
                answered_before = self._answered
            if attempt < self._retries:
                await asyncio.sleep(pause(attempt, retry_after))
        raise UnansweredError(reason, is_alone=self._answered == answered_before)

    async def _once(self, path: str, body: Mapping[str, Any] | None, largest: int) -> tuple[int, float, bytes]:
        """Status, Retry-After in seconds, and content."""
        assert self._session is not None
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        async with self._session.request(method, self.url + path, data=data, allow_redirects=False) as response:
            if 300 <= response.status < 400:
                where = self.shown(response.headers.get("Location", "nowhere"))
                raise ConfigError(f"evaluation.server.url={self.url} redirects to {where}, which is not followed")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise BrokenReplyError("the reply is compressed, which was not asked for")
            content = bytearray()
            async for part in response.content.iter_any():
                content += part
                if len(content) > largest:
                    raise BrokenReplyError(f"the reply has more than {largest} bytes")
            return response.status, _seconds(response.headers.get("Retry-After", "")), bytes(content)

    def _words(self, content: bytes) -> tuple[str, str]:
        """Code and message of an error, from wherever servers put them."""
        found: Any = None
        with contextlib.suppress(BrokenDocumentError):
            found = parse_json(content)
        while isinstance(found, dict) and isinstance(found.get("error"), dict):
            found = found["error"]
        if not isinstance(found, dict):
            return "", ""
        message = next((found[name] for name in ("message", "error", "detail") if found.get(name)), "")
        return str(found.get("code", ""))[:100], self.shown(str(message))

    def shown(self, text: str) -> str:
        """A server's words as a message may have them: one line, not long, without the key."""
        if self._key:
            text = text.replace(self._key, "(key)")
        text = " ".join(printable(text).split())
        return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"


def pause(attempt: int, retry_after: float) -> float:
    """Seconds to wait before the repetition number `attempt`, from 0; random, so that requests do not come back
    together. A server that names a time gets it, within bounds."""
    own = min(PAUSE_S * 2.0**attempt, LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
    return max(own, min(retry_after, LONGEST_PAUSE_S))


def describe(error: BaseException) -> str:
    """The error in a few words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return os.strerror(error.os_error.errno)
    return str(error) or type(error).__name__


def _read_key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"evaluation.server.key_env: the environment variable {variable} is not set; put the key there"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"evaluation.server.key_env: the environment variable {variable} holds no key of one word")
    return key


def _seconds(retry_after: str) -> float:
    """The time that a server asks for, as a number or a date; 0 for anything else."""
    if retry_after.strip().isascii() and retry_after.strip().isdigit():
        return float(retry_after.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
