"""vLLM's matrix products on a CPU, with few distinct numbers of rows.

oneDNN compiles a kernel of up to half a megabyte for every number of rows that it meets, and a batch loses a row
whenever a sample ends. Kernels that are compiled and freed in every step fragment the heap; kept, they take
gigabytes. On a GPU vLLM rounds batches up to the sizes of its captured graphs; here products are rounded up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

Product = Callable[[Any, Tensor, Tensor | None], Tensor]


def rounded_rows(rows: int) -> int:
    """The next of four sizes per power of two: at most a quarter more."""
    step = 1 << max(0, rows.bit_length() - 3)
    return -(-rows // step) * step


def round_matmuls() -> None:
    """Make vLLM's products in this process run with `rounded_rows`. Idempotent; nothing to do where there is a GPU."""
    from vllm import _custom_ops
    from vllm.platforms import current_platform

    product: Product = _custom_ops.onednn_mm
    if current_platform.is_cpu() and not isinstance(product, functools.partial):
        _custom_ops.onednn_mm = functools.partial(_rounded, product)


def _rounded(product: Product, handler: Any, inputs: Tensor, bias: Tensor | None) -> Tensor:
    """The product of `inputs` `[..., inner]`; rows of zeros are added and taken off again."""
    flat = inputs.flatten(0, -2)
    rows = len(flat)
    padded = F.pad(flat, (0, 0, 0, rounded_rows(rows) - rows))
    return product(handler, padded, bias)[:rows].unflatten(0, inputs.shape[:-1])
