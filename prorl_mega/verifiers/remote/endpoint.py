"""One reward server as its client sees it."""

from __future__ import annotations

import aiohttp

from prorl_mega.config.schema import TasksConfig
from prorl_mega.sandbox.channel import BrokenMessageError, dump, load
from prorl_mega.types import Scoring, Verdict
from prorl_mega.verifiers.batch import Job
from prorl_mega.verifiers.process import PATIENCE, STARTUP_S
from prorl_mega.verifiers.remote.protocol import (
    Claim,
    ErrorReply,
    ScoreRequest,
    TasksReply,
    compare,
    read_reply,
    sign_request,
    summary,
    unseal,
)

CONNECT_S = 5.0
SILENCE_S = 20.0  # the longest that a server may be silent while it works; it writes every `protocol.BEAT_S`
OFTEN = 5  # failures in a row
_REPLY_BYTES = 1 << 22


class BusyError(Exception):
    """The server has too many requests at the moment."""


class RefusedError(Exception):
    """The server refuses the request, and will refuse it later."""


class Endpoint:
    """The address and state of one server, and the two requests that it answers.

    The requests raise BusyError, RefusedError, BrokenMessageError and what aiohttp raises when a connection fails.
    """

    def __init__(self, address: str, token: str, entries: dict[str, str], tasks: TasksConfig) -> None:
        self.address = address
        self.capacity, self.max_bytes = 1, 1 << 20  # until the server has told its own
        self.is_known = False  # since its last failure
        self.is_paused = False
        self.working = 0  # requests under way
        self.failures = 0  # in a row
        self.busy = 0  # times in a row that it had too many requests
        self.reason = ""  # of the last failure
        self.entries = entries
        self._longest_s = (tasks.retries + 1) * tasks.timeout_s * PATIENCE  # for one answer
        self._refusal = f"it refuses the token of tasks.token_file={tasks.token_file}"
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    @property
    def free(self) -> int:
        """The number of further requests it can take: one to probe it, and then as many as it has processes."""
        return 0 if self.is_paused else (self.capacity if self.is_known else 1) - self.working

    @property
    def has_failed_often(self) -> bool:
        return self.failures >= OFTEN

    async def look(self) -> None:
        """Probe the server: whether it scores the same tasks, and how much at a time."""
        content = await self._ask("GET", "/tasks", b"", SILENCE_S)
        if difference := compare(self.entries, load(content, Claim).entries):
            raise RefusedError(f"it was not started with the tasks of this run: {difference}")
        found = load(content, TasksReply)
        self.capacity, self.max_bytes, self.is_known = found.workers, found.max_bytes, True

    def encode(self, jobs: list[Job]) -> bytes:
        """The body of a request to score these answers."""
        return dump(ScoreRequest(summary(self.entries), [job.message for job in jobs]))

    async def score(self, ids: list[int], body: bytes) -> tuple[list[Verdict], Scoring]:
        """A verdict for each answer of a request, by `ids`, and the counts of scoring them."""
        return read_reply(await self._ask("POST", "/score", body, STARTUP_S + len(ids) * self._longest_s), ids)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, path: str, body: bytes, total_s: float) -> bytes:
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
            return unseal(self._token, nonce, bytes(content))
        if response.status == 503:
            raise BusyError
        if response.status == 401:
            raise RefusedError(self._refusal)
        try:
            reason = load(bytes(content), ErrorReply).error[:200]
        except BrokenMessageError:
            reason = "no reason is given"
        raise BrokenMessageError(f"HTTP {response.status}: {reason}")
