"""The HTTP side of the reward server (`python -m prorl_mega.serve`): hands requests to verifier processes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import queue
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from aiohttp import web

from prorl_mega.config.schema import ServeConfig, TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.sandbox.channel import BrokenMessageError, dump
from prorl_mega.tasks.registry import create
from prorl_mega.verifiers.pool import VerifierPool
from prorl_mega.verifiers.remote.protocol import (
    BEAT_S,
    ErrorReply,
    ScoreRequest,
    TasksReply,
    check_request,
    digests,
    encode_reply,
    read_request,
    seal,
)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_SILENT = logging.getLogger(f"{__name__}.requests")  # aiohttp's: a traceback for whatever a stranger sends
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_WAITING = 2  # connections for each request that may be in hand: the others have sent no request yet


class RewardServer:
    """`tasks.workers` threads, each with one verifier process, and an HTTP server that hands them requests."""

    def __init__(self, tasks: TasksConfig, token: str) -> None:
        self._entries = digests(tasks)
        for entry, each in tasks.mixture.items():
            create(each.name, entry, each.options)  # wrong options are an error here, not in every worker
        self._tasks = tasks
        self._serve = tasks.serve
        self._token = token
        self._in_hand = 0
        self._requests: queue.SimpleQueue[tuple[ScoreRequest, Future[bytes]]] = queue.SimpleQueue()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end.set)
        for _ in range(self._tasks.workers):
            # Verifier processes live as long as the thread that started them; as a daemon it ends with the program.
            threading.Thread(target=self._verify, daemon=True).start()
        seconds = self._serve.request_s
        runner = web.AppRunner(
            self._application(), access_log=None, logger=_SILENT, keepalive_timeout=seconds, lingering_time=seconds
        )
        await runner.setup()
        listening = await loop.create_server(lambda: self._connect(runner), sock=_socket(self._serve))
        host, port = listening.sockets[0].getsockname()[:2]
        print(
            f"reward server on {f'[{host}]' if ':' in host else host}:{port}: {', '.join(self._tasks.mixture)}; "
            f"{self._tasks.workers} verifier processes; token in {self._tasks.token_file}",
            flush=True,
        )
        await end.wait()
        listening.close()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=self._serve.max_request_mib << 20)
        application.add_routes([web.get("/tasks", self._describe), web.post("/score", self._score)])
        return application

    def _connect(self, runner: web.AppRunner) -> asyncio.BaseProtocol:
        """Bound the number of connections that send nothing, each of which aiohttp closes after `request_s`."""
        server = runner.server
        assert server is not None
        return server() if len(server.connections) < _WAITING * self._serve.max_requests else _Refusal()

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Check the signature before anything else, then the load. Errors are JSON."""
        signed = check_request(self._token, request.method, request.path, request.headers.get("Authorization", ""))
        if signed is None:
            return _error(401, "the request is not signed with the token of this server")
        request["nonce"], request["digest"] = signed
        if self._in_hand >= self._serve.max_requests:
            return _error(503, f"{self._in_hand} requests are in hand already")
        self._in_hand += 1
        try:
            return await handler(request)
        except BrokenMessageError as error:
            return _error(400, str(error))
        except TimeoutError:
            return _error(408, f"the request did not come within {self._serve.request_s:g} s")
        except web.HTTPException as error:
            return _error(error.status, error.reason)
        except Exception as error:
            print(f"error: {error!r}", file=sys.stderr, flush=True)
            return _error(500, f"{type(error).__name__} in the server")
        finally:
            self._in_hand -= 1

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        reply = TasksReply(self._entries, self._tasks.workers, self._serve.max_request_mib << 20)
        return web.Response(body=seal(self._token, request["nonce"], dump(reply)))

    async def _score(self, request: web.Request) -> web.StreamResponse:
        async with asyncio.timeout(self._serve.request_s):
            body = await request.read()
        waiting: Future[bytes] = Future()
        self._requests.put((read_request(body, request["digest"], self._entries), waiting))
        result = asyncio.wrap_future(waiting)
        response = web.StreamResponse()
        response.force_close()
        await response.prepare(request)
        try:
            while not (await asyncio.wait([result], timeout=BEAT_S))[0]:
                await response.write(b" ")
            async with asyncio.timeout(self._serve.request_s):
                await response.write(seal(self._token, request["nonce"], result.result()))
                await response.write_eof()
        except Exception as error:
            result.cancel()  # unless it is being worked on
            if request.transport is not None:
                request.transport.abort()  # a reply has begun, so only a broken connection can signal the error
            if not isinstance(error, (ConnectionError, TimeoutError)):  # of a client that has gone
                print(f"error: {error!r}", file=sys.stderr, flush=True)
        return response

    def _verify(self) -> None:
        """Score requests in one thread, to the end of the program."""
        pool = VerifierPool(dataclasses.replace(self._tasks, workers=1))
        while True:
            request, result = self._requests.get()
            if not result.set_running_or_notify_cancel():
                continue
            try:
                with pool.batch() as batch:
                    for answer in request.answers:
                        batch.add(answer.problem.problem(), answer.answer, answer.grading)
                    reply = encode_reply(request, batch.verdicts(), batch.scoring)
            except Exception as error:
                result.set_exception(error)
            else:
                result.set_result(reply)


class _Refusal(asyncio.Protocol):
    """Closes a connection beyond the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _error(status: int, text: str) -> web.Response:
    response = web.Response(body=dump(ErrorReply(text)), status=status, content_type="application/json")
    response.force_close()
    return response


def _socket(serve: ServeConfig) -> socket.socket:
    """A socket bound to `tasks.serve.address`. Raises ConfigError, also where other machines would reach it unasked."""
    where = f"tasks.serve.address={serve.address}"
    if not serve.address:
        raise ConfigError("tasks.serve.address is empty; 127.0.0.1 is this machine")
    try:
        family, kind, _, _, address = socket.getaddrinfo(serve.address, serve.port, type=socket.SOCK_STREAM)[0]
        if not ipaddress.ip_address(address[0]).is_loopback and not serve.open_to_network:
            raise ConfigError(
                f"{where}: other machines reach it, and nothing that is sent is encrypted. In a network of the "
                "cluster's own, set tasks.serve.open_to_network=true as well; otherwise 127.0.0.1 works"
            )
        with contextlib.ExitStack() as undo:
            bound = undo.enter_context(socket.socket(family, kind))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            undo.pop_all()
        return bound
    except OSError as error:
        raise ConfigError(f"{where} tasks.serve.port={serve.port}: {error.strerror}") from None
