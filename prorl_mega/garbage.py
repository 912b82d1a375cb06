"""Python's search for cyclic garbage, paused while a program starts.

Importing torch, vLLM and Megatron-core makes millions of objects that stay, which the collector looks through again and
again: a quarter of the processor time of importing vLLM (LOG.md).
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """A block in which nothing is collected. Afterwards the collector is as it was, and ignores what is there by then:
    modules and classes live as long as the process."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()
