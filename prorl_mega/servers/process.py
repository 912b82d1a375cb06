"""A server as a process: started with its settings on stdin, watched, and ended together with what it has started."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from prorl_mega.errors import RolloutError
from prorl_mega.servers.server_log import remove_old_logs, shorten_log

COMMAND = (sys.executable, "-m", "prorl_mega.rollout.server")
_OF_THE_RANK = re.compile(
    r"((LOCAL_|GROUP_|ROLE_)?RANK|(LOCAL_|ROLE_)?WORLD_SIZE|MASTER_(ADDR|PORT)"
    r"|(SLURM|SRUN)_(?!CONF$|JOB_?ID|HET_|CLUSTER_NAME$).*)"
)
"""Variables by which a program finds its place among the ranks of a job, and srun the step that it is called from: a
server is none of them, and a step of its own."""
_LAST_WORDS = 2000  # characters of stderr in a message


class _Ready(msgspec.Struct):
    port: int
    pid: int
    address: str | None = None


class ServerProcess:
    """One server. `command` is the program, with a launcher such as srun before it where it runs elsewhere.

    What it writes to stderr is kept in `log`, as far as `shorten_log` leaves it. It ends when this process does,
    however that ends: its stdin closes.
    """

    def __init__(
        self,
        command: Sequence[str],
        settings: Mapping[str, Any],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it. Raises RolloutError if the program cannot be started."""
        self.log = log
        self.address = str(settings["address"])  # its own, once `port` has returned
        kept = {name: value for name, value in os.environ.items() if not _OF_THE_RANK.fullmatch(name)}
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            remove_old_logs(log.parent, log.stem)
            with log.open("ab") as errors:
                self._process = subprocess.Popen(
                    list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                    env=kept | dict(environment or {}), start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise RolloutError(f"a server cannot be started ({command[0]}, {log}): {error.strerror}") from None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already; `port` says so
            self._process.stdin.write(json.dumps(dict(settings)).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    async def port(self, deadline_s: float) -> int:
        """The port that it listens on, and its address, once it has built its engine. Raises RolloutError with its last
        words."""
        assert self._process.stdout is not None
        reading = asyncio.get_running_loop().run_in_executor(None, self._process.stdout.readline, 1 << 12)
        try:
            line = await asyncio.wait_for(reading, deadline_s)
            ready = msgspec.json.decode(line, type=_Ready)
            if ready.address is not None:
                self.address = str(ipaddress.ip_address(ready.address))
            return ready.port
        except TimeoutError:
            reason = f"was not ready within {deadline_s:g} s"
        except (msgspec.DecodeError, ValueError):
            reason = "ended before it was ready"
        except asyncio.CancelledError:
            self.end()  # which ends the reading thread as well
            raise
        self.end()
        raise RolloutError(f"the server {reason}; the end of {self.log}:\n{self.last_words()}")

    def end(self) -> None:
        """End it at once, and everything that it has started. Idempotent."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def shorten_log(self) -> None:
        """Keep its log from growing for ever. Cheap; to be called regularly."""
        shorten_log(self.log)

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_WORDS))
                return file.read(_LAST_WORDS).decode("utf-8", "replace").strip()
        except OSError:
            return ""


def server_launcher(
    settings: Mapping[str, Any],
    logs: Path,
    *,
    command: Callable[[str], Sequence[str]] = lambda name: COMMAND,
    environment: Callable[[str], Mapping[str, str]] = lambda name: {},
) -> Callable[[str], ServerProcess]:
    """A function that starts a server of a given name by `command(name)`. `settings` are those of
    `rollout.server.ServerSettings`.

    Each writes to `<logs>/<name>.log`; `environment` gives it variables of its own, its GPUs among them.
    """

    def launch(name: str) -> ServerProcess:
        return ServerProcess(command(name), settings, logs / f"{name}.log", environment(name))

    return launch
