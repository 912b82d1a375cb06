"""Runs in a browser while they are going on: a list of all of them, a page for each, several laid over each other.

    python -m prorl_mega.view runs/
    python -m prorl_mega.view runs/ /scratch/me/sweeps --port 9000 --open

It reads files and writes none, so it may be started and ended at any time, also by somebody who may not write there.
Every directory below those that are named is searched for runs; those that begin later appear by themselves. What a run
adds is on the page a second or two later. Only this machine reaches it, and on it only the user who has started it.

A run on a cluster: start it where the files are and reach it through a tunnel,

    ssh -t -L 8700:127.0.0.1:8700 login.cluster python -m prorl_mega.view /scratch/me/runs

then open http://127.0.0.1:8700 at home. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
import webbrowser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from prorl_mega.errors import ConfigError, exit_status
from prorl_mega.viewing.assets import read_assets
from prorl_mega.viewing.overview import Overview
from prorl_mega.viewing.run_charts import MOST_METRICS
from prorl_mega.viewing.server import ADDRESS, FIRST_PORT, PORTS, Answer, Page, ViewServer

_KEY = "[0-9a-f]{16}"
_LONGEST_QUERY = 12_000  # characters


def answers(overview: Overview, assets: dict[str, Page]) -> Answer:
    """The pages by path: `/`, `/run/KEY`, `/compare?runs=KEY,KEY`, their parts below `/assets/`, JSON below `/api/`."""

    def answer(path: str, query: str) -> Any:
        every = parse_qs(query[:_LONGEST_QUERY], max_num_fields=MOST_METRICS + 8)
        asked = {name: each[0] for name, each in every.items()}
        if re.fullmatch(rf"/|/run/{_KEY}|/compare", path):
            return assets["index.html"]
        if path.startswith("/assets/"):
            return assets.get(path.removeprefix("/assets/"))
        if path == "/api/runs":
            return overview.runs()
        if path == "/api/compare":
            return overview.comparison(asked.get("runs", "").split(","))
        found = re.fullmatch(rf"/api/(run|answers|settings)/({_KEY})", path)
        match found and found.groups():
            case ("run", key):
                return overview.run(key, asked.get("have", ""), asked.get("points", ""), every.get("also", []))
            case ("answers", key):
                step = asked.get("step", "")
                return overview.answers(key, int(step)) if re.fullmatch("[0-9]{1,10}", step) else None
            case ("settings", key):
                return overview.settings(key)
        return None

    return answer


def view(roots: list[Path], port: int | None, *, opens: bool) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigError for what is no directory, and when no port is free."""
    for root in roots:
        if not root.is_dir():
            raise ConfigError(f"{root} is not a directory; name the directory of a run, or one that has runs below it")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), ViewServer(answers(Overview(roots), read_assets()), port) as server:
        _announce(roots, server, port, opens=opens)
        server.serve_forever()


def _announce(roots: list[Path], server: ViewServer, port: int | None, *, opens: bool) -> None:
    taken = f" (port {FIRST_PORT} is taken)" if port is None and server.port != FIRST_PORT else ""
    address = f"http://{ADDRESS}:{server.port}"
    print(
        f"{', '.join(map(str, roots))}: {address}{taken}; for this user of this machine only, Ctrl-C ends it",
        flush=True,
    )
    if opens:
        webbrowser.open(address)


def main(arguments: list[str]) -> int:
    about, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.view",
        description=about,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directories", nargs="*", type=Path, default=[Path("runs")], help="with runs; default: runs")
    help_of_port = f"default: the first free one from {FIRST_PORT} to {FIRST_PORT + PORTS - 1}; 0: any free one"
    parser.add_argument("--port", type=int, help=help_of_port)
    parser.add_argument("--open", action="store_true", help="open the page in the browser of this machine")
    options = parser.parse_args(arguments)
    if options.port is not None and not 0 <= options.port < 65536:
        parser.error(f"--port {options.port}: ports are 0 to 65535")
    return exit_status(lambda: view(options.directories, options.port, opens=options.open))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
