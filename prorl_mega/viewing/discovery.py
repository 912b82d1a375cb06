"""The run directories below the directories that a user has named."""

from __future__ import annotations

import os
from collections.abc import Iterator

from prorl_mega.run.metrics import METRICS
from prorl_mega.run.settings import CONFIG
from prorl_mega.viewing.places import Place

MOST_RUNS = 2000
MOST_ENTRIES = 100_000  # files and folders that are looked at: a home directory given by mistake must not take minutes
DEEPEST = 8  # folders below a root; a sweep has two or three
_PARTS = {"LOCK", "checkpoints", "samples", "evaluation", "console.log"}
"""Parts that a run has beside its settings from its first moment on. Settings alone may be anybody's."""


def find_runs(roots: list[Place]) -> list[Place]:
    """Every run below the roots, a root itself included, once, in the order of their paths. Links are not followed."""
    found: dict[tuple[int, int], Place] = {}
    left = [MOST_ENTRIES]
    for root in roots:
        for identity, place in _runs(root, left):
            found.setdefault(identity, place)
            if len(found) >= MOST_RUNS:
                return sorted(found.values(), key=lambda each: each.path)
    return sorted(found.values(), key=lambda each: each.path)


def _runs(place: Place, left: list[int]) -> Iterator[tuple[tuple[int, int], Place]]:
    """Runs with device and inode of their directory. `left`: entries that may still be looked at."""
    try:
        with place.opened() as directory:
            about = os.fstat(directory)
            files, folders = set(), []
            with os.scandir(directory) as entries:
                for entry in entries:
                    left[0] -= 1
                    if left[0] < 0:
                        return
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        files.add(entry.name)
    except OSError:
        return
    if METRICS in files or (CONFIG in files and _PARTS & {*files, *folders}):
        yield (about.st_dev, about.st_ino), place
    elif len(place.parts) < DEEPEST:
        for name in sorted(folders):
            if not name.startswith("."):
                yield from _runs(place / name, left)
