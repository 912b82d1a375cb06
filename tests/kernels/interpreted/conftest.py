"""These files run Triton kernels: on a GPU, under Triton's interpreter, or compiled for a GPU of numpy.

Without a GPU the way must be chosen before Triton loads, so only processes that were started for it collect them:
test_triton_interpreted.py and test_triton_executed.py.
"""

import os
import sys
from collections.abc import Iterator

import pytest
import torch

CHOSEN = os.environ.get("TRITON_INTERPRET") == "1" or "helpers.sm90.plugin" in sys.modules
collect_ignore_glob = [] if CHOSEN or torch.cuda.is_available() else ["test_*.py"]


@pytest.fixture(autouse=True)
def poisoned_allocations() -> Iterator[None]:
    """torch.empty is full of NaN: nothing may be read before it has been written."""
    torch.manual_seed(0)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
