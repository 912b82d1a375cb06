"""A plugin of pytest: kernels that tests launch on tensors of the CPU run as compiled for compute capability 9.0."""

from __future__ import annotations

from typing import Any

import torch
from helpers.sm90 import driver
from torch import Tensor

from prorl_kernels.linear_token_stats import triton_fused


def _as_on_a_gpu() -> None:
    why_not_fused = triton_fused.why_not_fused

    def but_for_the_device(*tensors: Any) -> str | None:
        reason = why_not_fused(*tensors)
        return None if reason is not None and reason.startswith("it needs a GPU") else reason

    def addressable(matrix: Tensor) -> Tensor:
        aligned = matrix.data_ptr() % 16 == 0 and matrix.stride(0) * matrix.element_size() % 16 == 0
        return matrix if aligned and matrix.stride(1) == 1 else matrix.clone(memory_format=torch.contiguous_format)

    triton_fused.why_not_fused = but_for_the_device
    triton_fused._addressable = addressable
    driver.use()


_as_on_a_gpu()
