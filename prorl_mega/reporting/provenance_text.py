"""The origin of a run, as rows of a table: versions, commit, seed, machine and the command of its last start."""

from __future__ import annotations

import re
import shlex
from typing import Any

from prorl_mega.errors import ProRLError
from prorl_mega.reporting.history import History
from prorl_mega.run.evaluations import BASE, FINAL
from prorl_mega.run.sample_store import SampleStore
from prorl_mega.run.settings import is_secret


def provenance_rows(history: History) -> list[tuple[str, str]]:
    """Name and value; values that look like secrets are hidden."""
    rows = [("seed", str(history.settings["seed"]))] if "seed" in history.settings else []
    last = history.starts[-1] if history.starts else _of_a_store(history)
    rows += [(str(name), _without_secrets(str(value))[:2000]) for name, value in list(last.items())[:40]]
    if len(history.starts) > 1:
        times = [str(each.get("time", "?"))[:40] for each in history.starts]
        rows.append(("starts", f"{len(times)}: {', '.join(times[-10:])}"))
    return rows


def _of_a_store(history: History) -> dict[str, Any]:
    """The origin of an evaluation whose store says it."""
    for label in (FINAL, BASE):
        directory = history.directory / "evaluation" / label
        if (directory / "header.json").is_file():
            try:
                return SampleStore(directory).header.provenance
            except ProRLError:
                continue
    return {}


def _without_secrets(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    hidden = [re.sub(r"=.*", "=(hidden)", each) if is_secret(each.partition("=")[0]) else each for each in words]
    return shlex.join(hidden) if hidden != words else command
