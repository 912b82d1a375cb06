"""Matrix products whose rows do not know each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`inputs` `[..., inner]` times `weight` `[columns, inner]` transposed, plus `bias` `[columns]`; fp32, any strides.

    oneDNN adds up each element in the order of `inner`, with any number of rows and columns, but for a single row,
    for which it takes another kernel: it gets company.
    """
    rows = inputs.flatten(0, -2)
    padded = F.pad(rows, (0, 0, 0, 1)) if len(rows) == 1 else rows
    found = torch.ops.mkldnn._linear_pointwise(padded, weight, bias, "none", [], "")
    return found[: len(rows)].unflatten(0, inputs.shape[:-1])
