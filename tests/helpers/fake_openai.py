"""A server with OpenAI's API in a thread, which behaves as a test wants it to."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prorl_mega.config.schema import ServerApi, ServerConfig
from prorl_mega.sample_requests import SampleRequest
from prorl_mega.types import Problem

Handle = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request and what is sent back."""

    protocol_version = "HTTP/1.1"
    body: Any = None

    def reply(self, content: Any, status: int = 200, **headers: str) -> None:
        """Send `content`: bytes as they are, anything else as JSON."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.serve()

    def serve(self) -> None:
        server: Any = self.server
        with server.lock:
            server.seen.append((self.path, self.body, dict(self.headers)))
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            server.handle(self)
        except ConnectionError:  # the client has had enough
            self.close_connection = True
        finally:
            with server.lock:
                server.now -= 1


class FakeServer(ThreadingHTTPServer):
    """`seen`: (path, body, headers) of every request; `most`: the largest number at a time."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, handle: Handle) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.handle = handle
        self.seen: list[tuple[str, Any, dict[str, str]]] = []
        self.now = self.most = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def fake_server(handle: Handle) -> Iterator[FakeServer]:
    with FakeServer(handle) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def chat_reply(text: Any, *, finish: Any = "stop", tokens: Any = 3, **choice: Any) -> dict[str, Any]:
    """What a server answers in a chat that knows no token ids."""
    answer = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish} | choice
    return {"choices": [answer], "usage": {"completion_tokens": tokens}}


def completion_reply(tokens: list[int], logprobs: list[float], *, finish: str = "stop") -> dict[str, Any]:
    """What vLLM answers to a completion."""
    answer = {
        "index": 0, "text": "the server's own", "finish_reason": finish, "token_ids": tokens,
        "logprobs": {"token_logprobs": logprobs, "tokens": [str(each) for each in tokens]},
    }  # fmt: skip
    return {"choices": [answer], "usage": {"completion_tokens": len(tokens)}}


def some_requests(count: int, system: str = "") -> list[SampleRequest]:
    """Two samples of each problem."""
    return [
        SampleRequest(
            index=number // 2, sample=number % 2, seed=100 + number,
            problem=Problem(key=f"p/{number // 2}", task="p", prompt=f"{number // 2} + 1?", system=system),
        )
        for number in range(count)
    ]  # fmt: skip


def server_config(url: str, **changes: Any) -> ServerConfig:
    fields: dict[str, Any] = {"url": url, "model": "m", "concurrency": 4, "timeout_s": 20.0, "retries": 2}
    return ServerConfig(**(fields | changes))


COMPLETIONS = {"api": ServerApi.completions}
