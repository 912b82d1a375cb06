"""A plugin of pytest: kernels that tests launch on tensors of the CPU run as compiled for compute capability 9.0."""

from __future__ import annotations

from typing import Any

from helpers.sm90 import driver

from prorl_kernels.linear_token_stats.triton import fused


def _as_on_a_gpu() -> None:
    why_not_fused = fused.why_not_fused

    def but_for_the_device(*tensors: Any) -> str | None:
        reason = why_not_fused(*tensors)
        return None if reason is not None and reason.startswith("it needs a GPU") else reason

    fused.why_not_fused = but_for_the_device
    driver.use()


_as_on_a_gpu()
