"""Matrix products that accumulate in fp32 (fp64 for fp64): oneDNN's on a CPU, cuBLAS's elsewhere.

torch gives fp32 products to MKL, which leaves AVX-512 unused on AMD processors: on one Zen 5 core 90 GFLOP/s against
oneDNN's 200 for the logits, 190 for the gradient of the hidden states and 150 for that of the weight. But oneDNN
compiles a kernel for every shape that it meets, about 1 ms and 0.6 MB each, and numbers of tokens differ from call to
call: small products stay with MKL. It cannot add to a tensor either, so products are stored beside their sum, in blocks
of rows: blocks that fit into the cache are also up to twice as fast as one of many MB in fresh pages.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WORTH_COMPILING = 1e8  # multiplications, about 2 ms of one core
LEAST_ROWS = 128  # per block; fewer are slower


def matmul(left: Tensor, right: Tensor, dtype: torch.dtype, *, batch_invariant: bool = False) -> Tensor:
    """`left` `[rows, inner]` times `right` `[inner, columns]`, accumulated and returned in `dtype`; any strides.

    With `batch_invariant`, in fp32 on a CPU, a row has the same bits whichever others there are. oneDNN adds up in the
    order of `inner` with any number of rows, but for a single one.
    """
    if batch_invariant:
        padded = F.pad(left, (0, 0, 0, 1)) if len(left) == 1 else left
        return _host_matmul(padded, right)[: len(left)]
    if _is_for_host(left, right):
        return _host_matmul(left, right)
    return torch.mm(left, right) if left.dtype == dtype else torch.mm(left, right, out_dtype=dtype)


def matmul_into(out: Tensor, left: Tensor, right: Tensor, *, accumulate: bool) -> None:
    """out = left · right, or out += left · right; accumulated in the dtype of `out`.

    A CPU also needs memory for a copy of `left` and as much of the product, or 128 rows of it if these are more.
    """
    if _is_for_host(left, right):
        left = left.contiguous()  # once, oneDNN would do it for every block
        step = block_rows(left.shape[0] * left.shape[1], out.shape[1])
        for part, factor in zip(out.split(step), left.split(step), strict=True):
            result = _host_matmul(factor, right)
            _ = part.add_(result) if accumulate else part.copy_(result)
            del result  # before the next one is made
    elif left.dtype != out.dtype:
        torch.addmm(out, left, right, out_dtype=out.dtype, beta=float(accumulate), out=out)
    elif accumulate:
        out.addmm_(left, right)
    else:
        torch.mm(left, right, out=out)


def block_rows(numbers: int, width: int) -> int:
    """Rows of a block with up to `numbers` numbers; a power of two, so that equal blocks make up tiles of 4,096."""
    return max(LEAST_ROWS, 1 << ((numbers // width) | 1).bit_length() - 1)


def _host_matmul(left: Tensor, right: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")


def _is_for_host(left: Tensor, right: Tensor) -> bool:
    large = left.shape[0] * left.shape[1] * right.shape[1] >= WORTH_COMPILING
    return large and left.device.type == "cpu" and left.dtype == torch.float32 and torch.backends.mkldnn.is_available()
