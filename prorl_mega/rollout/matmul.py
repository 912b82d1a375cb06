"""vLLM's matrix products on a CPU, with few distinct numbers of rows.

oneDNN compiles a kernel of up to half a megabyte for every number of rows that it meets, and a batch loses a row
whenever a sample ends. Kernels that are compiled and freed in every step fragment the heap; kept, they take
gigabytes. On a GPU vLLM rounds batches up to the sizes of its captured graphs. Here whole batches are rounded up once,
as vLLM does it there, and products with another number of rows, those of the output projection, one by one.
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


def round_batches(dispatcher: Any, most: int) -> None:
    """Make vLLM's `CudagraphDispatcher` pad a batch of tokens to `rounded_rows`, at most to `most`, the size of its
    buffers. Rows of padding have no place in the cache, and nothing reads what is computed for them."""
    dispatch: Callable[..., Any] = dispatcher.dispatch

    def rounded(num_tokens: int, **about: Any) -> Any:
        return dispatch(num_tokens=max(num_tokens, min(rounded_rows(num_tokens), most)), **about)

    dispatcher.dispatch = rounded


def round_matmuls() -> None:
    """Make vLLM's products in this process run with `rounded_rows`. Idempotent; nothing to do where there is a GPU."""
    from vllm import _custom_ops
    from vllm.platforms import current_platform

    product: Product = _custom_ops.onednn_mm
    if current_platform.is_cpu() and not isinstance(product, functools.partial):
        _custom_ops.onednn_mm = functools.partial(_rounded, product)


def _rounded(product: Product, handler: Any, inputs: Tensor, bias: Tensor | None) -> Tensor:
    """The product of `inputs` `[..., inner]`; rows of zeros are added where they are needed, and taken off again."""
    rows = inputs.shape[:-1].numel()
    missing = rounded_rows(rows) - rows
    if not missing:
        return product(handler, inputs, bias)
    padded = F.pad(inputs.flatten(0, -2), (0, 0, 0, missing))
    return product(handler, padded, bias)[:rows].unflatten(0, inputs.shape[:-1])
