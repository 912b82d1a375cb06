"""The list of the runs that a sweep has started: `runs.jsonl` in its directory, from which `report` finds them."""

from __future__ import annotations

import json
from pathlib import Path

from prorl_mega.documents import BrokenDocumentError, parse_json
from prorl_mega.errors import ConfigError

SWEPT_RUNS = "runs.jsonl"


def note_run(folder: Path, run: Path) -> None:
    """Add a run directory to the list in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / SWEPT_RUNS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"run": str(run.resolve())}) + "\n")


def noted_runs(folder: Path) -> list[Path]:
    """The run directories of the list, each once. Raises ConfigError that names the line that is none."""
    file, found = folder / SWEPT_RUNS, []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            content = parse_json(line)
        except BrokenDocumentError as error:
            raise ConfigError(f"{file}:{number}: {error}; remove the line") from None
        if not isinstance(content, dict) or not isinstance(content.get("run"), str):
            raise ConfigError(f'{file}:{number}: not a line such as {{"run": "/path/to/run"}}; remove it')
        found.append(Path(content["run"]))
    return list(dict.fromkeys(found))
