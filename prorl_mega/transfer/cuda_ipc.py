"""GPU memory of one process, read by others on the same GPU: plain numbers and bytes on the way, and no pickle."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import torch
from torch import Tensor

from prorl_mega.errors import WeightSyncError

_FIELDS = ("handle", "size", "offset", "counter", "counter_offset", "event", "waits")
"""The parts of PyTorch's description of shared storage, behind the number of its device."""
_BYTES = frozenset({"handle", "counter", "event"})


def exported(memory: Tensor) -> dict[str, Any]:
    """The `place` of `memory` `[bytes]` uint8, which has to stay alive, as JSON values.

    It may be opened any number of times: PyTorch's counter of readers says when memory may be freed, and the owner
    keeps this one.
    """
    found = memory.untyped_storage()._share_cuda_()
    place = {
        name: base64.b64encode(value).decode() if name in _BYTES else value
        for name, value in zip(_FIELDS, found[1:], strict=True)
    }
    return place | {"gpu": _uuid(memory.device.index)}


def opened(place: dict[str, Any], nbytes: int) -> Tensor:
    """`[nbytes or more]` uint8 of another process, on this process's current GPU. Raises WeightSyncError."""
    device = torch.cuda.current_device()
    if place.get("gpu") != (own := _uuid(device)):
        raise WeightSyncError(
            f"the sender's memory is on GPU {str(place.get('gpu'))[:60]}, and this worker is on {own}; transport=nccl "
            "works between GPUs"
        )
    size = place.get("size")
    if not isinstance(size, int) or size < nbytes:
        raise WeightSyncError(f"the sender's memory of {str(size)[:20]} bytes is shorter than its {nbytes} bytes")
    try:
        parts = [base64.b64decode(place[name], validate=True) if name in _BYTES else place[name] for name in _FIELDS]
        storage = torch.UntypedStorage._new_shared_cuda(device, *parts)
    except (KeyError, TypeError, binascii.Error, RuntimeError) as error:
        raise WeightSyncError(f"the sender's memory cannot be opened: {' '.join(str(error).split())[:200]}") from None
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _uuid(device: int) -> str:
    return str(torch.cuda.get_device_properties(device).uuid)
