"""Megatron's parallel linear layers with oneDNN's matrix products, for fp32 on a machine without a GPU.

torch gives fp32 products to MKL, which always uses AVX2 on AMD processors: on one Zen 5 core 95 GFLOP/s,
against oneDNN's 224 forward, 205 for the gradient of the input and 140 for that of the weight, from the same strided
operands. Both accumulate in fp32. Only the local product changes; the collectives are Megatron's own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from megatron.core.tensor_parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
)
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

ROWS = 128


def has_host_product() -> bool:
    """Whether this torch was built with oneDNN."""
    return torch.backends.mkldnn.is_available()


def row_multiple(capacity: int, required: int, device: torch.device) -> int:
    """The divisor for the number of rows of a pack of up to `capacity`; a multiple of `required`.

    oneDNN compiles kernels for every number of rows that it meets, a dozen or 7 MB for the layers of a model. With
    packs of any length that took a fifth of an update and 16 MB per step of a demo run; rounded to `ROWS`, or what of
    it divides the capacity, a hundred kernels serve thousands of steps.
    """
    preferred = math.lcm(required, math.gcd(capacity, ROWS))
    return preferred if device.type == "cpu" and capacity % preferred == 0 else required


def _product(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    """`left` `[rows, inner]` times `right` `[columns, inner]` transposed, plus `bias` `[columns]`; any strides."""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")


def _weight_gradient(grad: Tensor, inputs: Tensor) -> Tensor:
    """gradᵀ · inputs, `[columns, inner]`. oneDNN is up to 1.5 times as fast with the longer side as its columns."""
    if grad.shape[1] > inputs.shape[1]:
        return _product(inputs.t(), grad.t(), None).t()
    return _product(grad.t(), inputs.t(), None)


class _HostLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.has_bias = bias is not None
        return _product(inputs.flatten(0, -2), weight, bias).unflatten(0, inputs.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        flat = grad.flatten(0, -2)
        inputs_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:
            inputs_grad = _product(flat, weight.t(), None).view_as(inputs)
        if ctx.needs_input_grad[1]:
            weight_grad = _weight_gradient(flat, inputs.flatten(0, -2))
        if ctx.has_bias and ctx.needs_input_grad[2]:
            bias_grad = flat.sum(0)
        return inputs_grad, weight_grad, bias_grad


class _HostForward:
    """The local product of a parallel layer of Megatron's, whose keywords these are."""

    def _forward_impl(
        self,
        input: Tensor,  # noqa: A002
        weight: Tensor,
        *,
        bias: Tensor | None,
        allreduce_dgrad: bool,
        sequence_parallel: bool,
        tp_group: ProcessGroup | None,
        gradient_accumulation_fusion: bool = False,
        grad_output_buffer: Any = None,
        wgrad_deferral_limit: Any = None,
    ) -> Tensor:
        assert not any((gradient_accumulation_fusion, grad_output_buffer, wgrad_deferral_limit)), "settings for GPUs"
        if sequence_parallel:
            input = gather_from_sequence_parallel_region(input, tensor_parallel_output_grad=True, group=tp_group)  # noqa: A001
        elif allreduce_dgrad:
            input = copy_to_tensor_model_parallel_region(input, group=tp_group)  # noqa: A001
        return _HostLinear.apply(input, weight, bias)


class HostColumnParallelLinear(_HostForward, ColumnParallelLinear):
    """Column-parallel: this rank's part of the outputs from all inputs."""


class HostRowParallelLinear(_HostForward, RowParallelLinear):
    """Row-parallel: this rank's share of the sum over all inputs."""
