"""Reward servers as processes of their own, and as scripts that answer what no honest one would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from helpers.hostile_tasks import hostile_config

from prorl_mega.config.schema import TasksConfig
from prorl_mega.verifiers.remote.protocol import seal

MODULES = ["helpers.hostile_tasks"]
TOKEN = "an-impostor-knows-it-as-well-as-the-client"
_LISTENS = re.compile(r"reward server on (\S+:\d+): bad; \d+ verifier processes; token in ")


def client_config(token_file: Path, addresses: list[str], **settings: Any) -> TasksConfig:
    return hostile_config(modules=MODULES, servers=addresses, token_file=str(token_file), **settings)


class RewardServer:
    """`python -m prorl_mega.serve`, listening."""

    def __init__(self, directory: Path, token_file: Path, *arguments: str) -> None:
        group = directory / "configs" / "tasks"
        group.mkdir(parents=True, exist_ok=True)
        (group / "hostile.yaml").write_text(
            yaml.safe_dump({"mixture": {"bad": {"name": "hostile"}}, "modules": MODULES, "workers": 1})
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "prorl_mega.serve", "--config-dir", str(group.parent), "tasks=hostile",
             f"tasks.token_file={token_file}", "tasks.serve.port=0", *arguments],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        match = _LISTENS.search(self.said)
        if match is None:
            raise AssertionError(self.said + self.process.communicate(timeout=60)[0])
        self.address = match[1]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> tuple[int, str]:
        """Exit code after SIGTERM, and everything it has said."""
        self.process.terminate()
        try:
            rest, _ = self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        return self.process.returncode, self.said + rest


@contextmanager
def impostor(answer: Callable[[str, bytes], tuple[int, bytes]], token: str = TOKEN) -> Iterator[str]:
    """Address of a server that says what `answer(path, body)` returns: a status and a body, signed with `token`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = answer(self.path, body)
            self.send_response(status)
            self.end_headers()
            nonce = self.headers.get("Authorization", "").split(" ")[1]
            self.wfile.write(b"   " + seal(token, nonce, content))

        do_POST = do_GET  # noqa: N815 (the name is the library's)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
