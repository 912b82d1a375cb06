"""Memory of a GPU is described between processes in plain JSON, and a wrong one is refused. The real one: tests/gpu."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prorl_mega.errors import WeightSyncError
from prorl_mega.transfer.cuda_ipc import exported, opened

SHARED = (0, bytes(range(64)), 4096, 512, b"counter\0\xff", 3, b"event\0\xfe", True)
"""As PyTorch describes shared storage: device, handle, size, offset, counter and its offset, event, whether to wait."""


@pytest.fixture
def opened_with(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A machine with a GPU by name only; what the receiver hands to PyTorch."""
    found: list[Any] = []

    def new_shared(*parts: Any) -> torch.UntypedStorage:
        found.append(parts)
        return torch.UntypedStorage(SHARED[2])

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="GPU-5f"))
    monkeypatch.setattr(torch.UntypedStorage, "_share_cuda_", lambda self: SHARED, raising=False)
    monkeypatch.setattr(torch.UntypedStorage, "_new_shared_cuda", new_shared, raising=False)
    return found


def test_the_description_survives_json(opened_with: list[Any]) -> None:
    place = json.loads(json.dumps(exported(torch.zeros(4096, dtype=torch.uint8))))
    memory = opened(place, 4000)
    assert opened_with == [SHARED]
    assert (memory.dtype, memory.shape) == (torch.uint8, (4096,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu": "GPU-60"}, "on GPU GPU-60, and this worker is on GPU-5f; transport=nccl works"),
        ({"gpu": None}, "on GPU None"),
        ({"size": 100}, "of 100 bytes is shorter than its 4000 bytes"),
        ({"size": "4096"}, "shorter than its 4000"),
        ({"handle": "%%%"}, "cannot be opened"),
        ({"handle": None}, "cannot be opened"),
    ],
)
def test_what_is_refused(opened_with: list[Any], change: dict[str, Any], message: str) -> None:
    place = exported(torch.zeros(4096, dtype=torch.uint8)) | change
    with pytest.raises(WeightSyncError, match=message):
        opened(place, 4000)
    assert opened_with == []
    with pytest.raises(WeightSyncError, match="cannot be opened"):
        opened({key: value for key, value in exported(torch.zeros(4096)).items() if key != "event"}, 4000)
