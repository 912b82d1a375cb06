"""Makes `helpers` importable and keeps every test off the network and off the GPU tier by default."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


@pytest.fixture(autouse=True)
def no_watchdog_is_left() -> Iterator[None]:
    """A run that nobody has closed would end this process, half an hour later."""
    yield
    left = [each.name for each in threading.enumerate() if each.name == "watchdog"]
    assert not left, "a run was opened and not closed"
