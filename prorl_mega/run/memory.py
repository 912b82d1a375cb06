"""Host memory of this process, so that a leak shows in the curves long before it ends a run."""

from __future__ import annotations

import psutil

from prorl_mega.types import Metrics

MEMORY_PREFIX = "memory/"  # like timings, not reproducible


def memory() -> Metrics:
    """Resident memory of this rank's process, MiB; verifier processes are not counted."""
    return {f"{MEMORY_PREFIX}resident_mib": psutil.Process().memory_info().rss / 2**20}
