"""One reward server as its client sees it."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from prorl_mega.config.schema import TasksConfig
from prorl_mega.sandbox.channel import BrokenMessageError, read_object
from prorl_mega.types import Scoring, Verdict
from prorl_mega.verifiers.batch import Job
from prorl_mega.verifiers.process import PATIENCE, STARTUP_S
from prorl_mega.verifiers.remote.protocol import (
    compare,
    encode_request,
    read_reply,
    sign_request,
    summary,
    unseal,
)

CONNECT_S = 5.0
SILENCE_S = 20.0  # the longest that a server says nothing while it works; it means to speak every `wire.BEAT_S`
OFTEN = 5  # failures in a row
_REPLY_BYTES = 1 << 22


class BusyError(Exception):
    """The server has too many requests at the moment."""


class RefusedError(Exception):
    """The server does not do what is asked of it, and will not do it later."""


class Endpoint:
    """Address, what is known about the server there, and the two requests that it answers.

    The requests raise BusyError, RefusedError, BrokenMessageError and what aiohttp raises when a connection fails.
    """

    def __init__(self, address: str, token: str, entries: dict[str, str], tasks: TasksConfig) -> None:
        self.address = address
        self.capacity, self.max_bytes = 1, 1 << 20  # until it has said so itself
        self.is_known = False  # since its last failure
        self.is_paused = False
        self.working = 0  # requests
        self.failures = 0  # in a row
        self.busy = 0  # answers in a row that it has too many requests
        self.reason = ""  # of the last one
        self.summary = summary(entries)
        self._entries = entries
        self._longest_s = (tasks.retries + 1) * tasks.timeout_s * PATIENCE  # for one answer
        self._refusal = f"it refuses the token of tasks.token_file={tasks.token_file}"
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    @property
    def free(self) -> int:
        """Requests that it can take. One to look at it anew, and then as many as it has processes."""
        return 0 if self.is_paused else (self.capacity if self.is_known else 1) - self.working

    @property
    def has_failed_often(self) -> bool:
        return self.failures >= OFTEN

    async def look(self) -> None:
        """Learn whether it scores the same tasks, and how much at a time."""
        found = await self._ask("GET", "/tasks", b"", SILENCE_S)
        difference = compare(self._entries, found.get("entries"))
        if difference:
            raise RefusedError(f"it was not started with the tasks of this run: {difference}")
        workers, size = found.get("workers"), found.get("max_bytes")
        if type(workers) is not int or type(size) is not int or workers < 1 or size < 1:
            raise BrokenMessageError("it does not say what it can take")
        self.capacity, self.max_bytes, self.is_known = workers, size, True

    async def score(self, jobs: list[Job], encoded: list[bytes]) -> tuple[list[Verdict], Scoring]:
        """A verdict for each of `jobs`, which are also given as they travel."""
        body = encode_request(self.summary, encoded)
        return read_reply(await self._ask("POST", "/score", body, STARTUP_S + len(jobs) * self._longest_s), jobs)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, path: str, body: bytes, total_s: float) -> dict[str, Any]:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)  # servers close connections, too
            self._session = aiohttp.ClientSession(connector=connector)
        limits = aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        signature, nonce = sign_request(self._token, method, path, body)
        async with self._session.request(
            method,
            f"http://{self.address}{path}",
            data=body or None,
            headers={"Authorization": signature},
            timeout=limits,
            allow_redirects=False,
        ) as response:
            content = bytearray()
            async for data in response.content.iter_any():
                content += data if content else data.lstrip()
                if len(content) > _REPLY_BYTES:
                    raise BrokenMessageError("its reply does not end")
        if response.status == 200:
            return read_object(unseal(self._token, nonce, bytes(content)))
        if response.status == 503:
            raise BusyError
        if response.status == 401:
            raise RefusedError(self._refusal)
        raise BrokenMessageError(f"HTTP {response.status}: {_error_text(bytes(content))}")


def _error_text(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])[:200]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "no reason is given"
