"""The keeper's own side: `python -m prorl_mega.sandbox.server PARENT_PID`, started by `keeper.Keeper`.

It dies with its parent, and its sandboxes die with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

from prorl_mega.errors import ConfigError
from prorl_mega.sandbox.channel import Inbox, encode
from prorl_mega.sandbox.client import result_to_json, run_from_json
from prorl_mega.sandbox.pool import Sandbox, find


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv[1]):
        sys.exit(0)
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    try:
        sandbox = Sandbox(find(allow_unconfined="unconfined" in sys.argv[2:]))
        sandbox.warm()
    except ConfigError as error:
        refusal = encode({"error": str(error)})
        while os.read(source, 1 << 16):
            os.write(sink, refusal)
        return
    with sandbox:
        _serve(source, sink, sandbox)


def _serve(source: int, sink: int, sandbox: Sandbox) -> None:
    """Answer until the other side closes, and say every now and then that programs are still at work."""
    sandbox.waiting = lambda: _send(sink, {"waiting": True})
    inbox = Inbox()
    while data := os.read(source, 1 << 20):
        for message in inbox.feed(data):
            if "pair" in message:
                program, tests = map(run_from_json, message["pair"])
                results = list(sandbox.converse(program, tests))
            else:
                results = sandbox.run([run_from_json(each) for each in message["runs"]])
            _send(sink, {"results": [result_to_json(each) for each in results]})


def _send(sink: int, message: dict[str, Any]) -> None:
    data = encode(message)
    while data:
        data = data[os.write(sink, data) :]


if __name__ == "__main__":
    main()
