"""Faults in numbers, caused on purpose (`faults`): a NaN in a gradient, one bit of a weight."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from prorl_mega import faults
from prorl_mega.config.faults import FaultAction

_TOP_BIT_OF_FRACTION = {torch.float32: (torch.int32, 22), torch.bfloat16: (torch.int16, 6)}


@torch.no_grad()
def harm(site: str, tensors: Iterable[torch.Tensor]) -> None:
    """Say that this process is at `site`, and do to the first of `tensors` what is due there."""
    action = faults.reach(site)
    if action is None:
        return
    number = next(iter(tensors)).view(-1)[:1]
    if action is FaultAction.poison:
        number.fill_(float("nan"))
    elif action is FaultAction.flip:
        whole, bit = _TOP_BIT_OF_FRACTION[number.dtype]
        number.view(whole).bitwise_xor_(1 << bit)
