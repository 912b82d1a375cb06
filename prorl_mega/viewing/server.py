"""The HTTP side of the live page: what it answers, and to whom.

Nobody but a browser of this user gets an answer: the server listens on 127.0.0.1, the kernel has to say that the peer
is this user's, and the name in `Host` has to be this machine's, because a page from elsewhere could have its own name
point here. Other pages are refused by what their browser says of them (`Origin`, `Sec-Fetch-Site`), and get no CORS.

The standard library serves: of what is installed anyway, aiohttp alone takes longer to import than this program may
take to start, and one reader of files and a few connections need no event loop.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import msgspec

from prorl_mega.errors import ConfigError
from prorl_mega.viewing.peers import may_read

ADDRESS = "127.0.0.1"
FIRST_PORT, PORTS = 8700, 40  # tried in turn
MOST_CONNECTIONS = 48  # a browser opens six
IDLE_S = 20.0  # that a connection may be silent
_WORTH_PACKING = 1400  # bytes
_NAMES = {"127.0.0.1", "localhost", "[::1]"}  # the last two at the near end of a tunnel
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Page(msgspec.Struct, frozen=True):
    """A body and its media type."""

    body: bytes
    kind: str


Answer = Callable[[str, str], Any]
"""Path and query to a `Page`, to JSON-able content, or to None for what there is not."""


class ViewServer(ThreadingHTTPServer):
    """Answers GET by `answer`, in a thread per connection. `serve_forever` and `shutdown` are the library's."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, answer: Answer, port: int | None = None) -> None:
        """Listen on a port (0: any), or on the first that is free. Raises ConfigError when there is none."""
        self.answer = answer
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        ports = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
        for each in ports:
            try:
                super().__init__((ADDRESS, each), _Handler)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise ConfigError(f"{ADDRESS}:{each}: cannot listen: {error.strerror}") from None
            else:
                return
        tried = f"port {port}" if port is not None else f"ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
        raise ConfigError(f"{tried}: in use, or not allowed; --port 0 takes one that is free")

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would ask a name server for this machine's name

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a connection to a thread, if it comes from this user and there are not too many."""
        if not may_read(client_address, request.getsockname()):
            self._turn_away(request, HTTPStatus.FORBIDDEN, "this page belongs to another user of this machine")
        elif not self._free.acquire(blocking=False):
            self._turn_away(request, HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_CONNECTIONS} connections are open already")
        else:
            super().process_request(request, client_address)

    def _turn_away(self, request: Any, status: HTTPStatus, why: str) -> None:
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Length: {len(why) + 1}\r\n\r\n"
        with contextlib.suppress(OSError):
            request.setblocking(False)
            request.send(f"{head}{why}\n".encode())
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is nobody's concern."""


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "prorl_mega", ""
    timeout = IDLE_S

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def do_GET(self) -> None:
        if refusal := self._refusal():
            self.send_error(*refusal)
            return
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body is not read
        try:
            address = urlsplit(self.path)
            found = self.server.answer(address.path, address.query)
        except Exception as error:  # of one request; the page goes on asking
            print(f"error: {self.path[:200]!a}: {error!r}"[:1000], file=sys.stderr, flush=True)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__} while reading the runs")
            return
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND, "there is no such page or run")
            return
        page = found if isinstance(found, Page) else Page(msgspec.json.encode(found), "application/json")
        self._send(HTTPStatus.OK, page)

    def do_HEAD(self) -> None:
        self.do_GET()

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command in ("GET", "HEAD"):
            return True
        self.close_connection = True  # a body is not read
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED, "this page is for reading")
        return False

    def _refusal(self) -> tuple[HTTPStatus, str] | None:
        """Why this request gets no answer."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or _name(hosts[0]) not in _NAMES:
            return HTTPStatus.FORBIDDEN, f"open it as http://{ADDRESS}:{self.server.port} or through a tunnel to there"
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{hosts[0]}":
            return HTTPStatus.FORBIDDEN, "pages of other sites get no answer"
        is_opened = not self.path.startswith("/api/") and self.headers.get("Sec-Fetch-Mode") == "navigate"
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and not is_opened:
            return HTTPStatus.FORBIDDEN, "pages of other sites get no answer"
        return None

    def _send(self, status: HTTPStatus, page: Page) -> None:
        tag = f'"{hashlib.sha256(page.body).hexdigest()[:24]}"'
        body, packing = page.body, ""
        if status is HTTPStatus.OK and self.headers.get("If-None-Match") == tag:
            status, body = HTTPStatus.NOT_MODIFIED, b""
        elif len(body) > _WORTH_PACKING and "gzip" in self.headers.get("Accept-Encoding", ""):
            body, packing = gzip.compress(body, compresslevel=1, mtime=0), "gzip"
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{page.kind}; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        if status in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED):
            self.send_header("ETag", tag)
        if packing:
            self.send_header("Content-Encoding", packing)
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The library's, as text and with our headers."""
        if code not in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
            self.close_connection = True
        if not hasattr(self, "headers"):  # the request could not be read
            self.headers, self.command = self.MessageClass(), "GET"
        self.request_version = "HTTP/1.1"
        self._send(HTTPStatus(code), Page(f"{message or HTTPStatus(code).phrase}\n".encode(), "text/plain"))

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 # the library's name
        """Nothing: the terminal belongs to the user."""


def _name(host: str) -> str:
    """The name in a Host header without its port, which is another one at the near end of a tunnel."""
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdecimal() else host.lower()
