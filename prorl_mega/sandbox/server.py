"""The sandbox server, started by `SandboxClient`. It dies with its parent, and its sandboxes die with it.

`python -m prorl_mega.sandbox.server PARENT_PID confined|unconfined [PACKAGE...]`: what programs may import follows.
"""

from __future__ import annotations

import os
import sys

from prorl_mega.errors import ConfigError
from prorl_mega.sandbox.channel import Inbox, pipes_to_parent, send
from prorl_mega.sandbox.client import SandboxReply, SandboxRequest
from prorl_mega.sandbox.packages import provide
from prorl_mega.sandbox.pool import Sandbox, find


def main() -> None:
    source, sink = pipes_to_parent()
    try:
        _, _, weakest, *packages = sys.argv
        sandbox = Sandbox(provide(find(allow_unconfined=weakest == "unconfined"), packages))
        sandbox.warm()
    except ConfigError as error:
        while os.read(source, 1 << 16):
            send(sink, SandboxReply(error=str(error)))
        return
    with sandbox:
        _serve(source, sink, sandbox)


def _serve(source: int, sink: int, sandbox: Sandbox) -> None:
    """Answer until the other side closes, and report regularly that programs are still running."""
    sandbox.waiting = lambda: send(sink, SandboxReply(waiting=True))
    inbox = Inbox(SandboxRequest)
    while data := os.read(source, 1 << 20):
        for request in inbox.feed(data):
            results = sandbox.converse(*request.runs) if request.converse else sandbox.run(request.runs)
            send(sink, SandboxReply(results=list(results)))


if __name__ == "__main__":
    main()
