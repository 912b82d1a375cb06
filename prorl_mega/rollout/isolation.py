"""Isolation of the learner from the engine in its process: vLLM's changes of global state are undone."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def global_state_kept() -> Iterator[None]:
    """Leave random generators, threads and numerical switches as they were found.

    vLLM seeds every generator when it starts and draws from torch's at every step; on a CPU it also replaces
    `torch.set_num_threads` by a function that does nothing. A learner that is resumed has to see the same numbers
    whether or not an engine worked in between.
    """
    set_num_threads = torch.set_num_threads
    threads = torch.get_num_threads()
    dtype = torch.get_default_dtype()
    matmul = torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    try:
        yield
    finally:
        torch.set_num_threads = set_num_threads
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(matmul)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state)
