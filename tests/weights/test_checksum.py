"""The checksum sees names, dtypes, shapes, bytes and order, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prorl_mega import checksum
from prorl_mega.checksum import Checksum, sums


def digest(*pairs: tuple[str, torch.Tensor]) -> str:
    checksum = Checksum()
    for name, tensor in pairs:
        checksum.add(name, tensor)
    return checksum.hexdigest()


def test_every_property_counts() -> None:
    tensor = torch.arange(6, dtype=torch.float32).view(2, 3)
    last_bit = tensor.clone()
    last_bit.view(torch.int32)[1, 2] ^= 1
    other = ("b", torch.zeros(1))
    digests = [
        digest(("a", tensor), other),
        digest(other, ("a", tensor)),
        digest(("c", tensor), other),
        digest(("a", last_bit), other),
        digest(("a", tensor.view(3, 2)), other),
        digest(("a", tensor.view(torch.int32)), other),
        digest(("a", tensor)),
        digest(("a", -0.0 * tensor), other),
        digest(("a", 0.0 * tensor), other),
    ]
    assert len(set(digests)) == len(digests)


def test_the_way_a_tensor_lies_in_memory_does_not_count() -> None:
    tensor = torch.randn(5, 7).bfloat16()
    strided = torch.zeros(7, 10, dtype=torch.bfloat16)[:, ::2].T.copy_(tensor)
    assert not strided.is_contiguous()
    assert digest(("a", tensor)) == digest(("a", strided)) == digest(("a", torch.nn.Parameter(tensor)))


def test_scalars_and_empty_tensors_are_welcome() -> None:
    assert digest(("a", torch.tensor(1.0))) != digest(("a", torch.tensor([1.0])))
    assert digest(("a", torch.zeros(0, 3))) != digest(("a", torch.zeros(3, 0)))


def test_observing_changes_nothing() -> None:
    pairs = [("a", torch.randn(3)), ("b", torch.randn(2, 2))]
    checksum = Checksum()
    seen = list(checksum.observe(iter(pairs)))
    assert all(one is other for (_, one), (_, other) in zip(seen, pairs, strict=True))
    assert checksum.hexdigest() == digest(*pairs)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100, 1000])
def test_sums_see_every_bit_and_every_place(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.randint(0, 256, (count,), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    found = sums(tensor)
    words = np.frombuffer(tensor.numpy().tobytes() + b"\0" * (-count % 8), np.uint64)
    weighted = words * (2 * np.arange(len(words), dtype=np.uint64) + 1)
    assert found.tolist() == [int(words.sum().astype(np.int64)), int(weighted.sum().astype(np.int64))]
    monkeypatch.setattr(checksum, "PIECE", 64)
    assert torch.equal(sums(tensor), found), "in pieces"
    for place in range(count):
        changed = tensor.clone()
        changed[place] ^= 1
        assert sums(changed)[0] != found[0]
    if count == 1000:
        words = tensor.view(125, 8)
        assert sums(words[torch.arange(124, -1, -1)].contiguous())[1] != found[1]


def test_tensors_elsewhere_are_summed_there_and_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of which torch knows nothing but the name stands for a GPU."""
    tensor = torch.randn(5, 7)
    elsewhere = Elsewhere(tensor)
    digests = [digest(("a", elsewhere)), digest(("a", Elsewhere(tensor.clone()))), digest(("a", tensor))]
    assert digests[0] == digests[1] != digests[2]
    assert digest(("a", Elsewhere(tensor + 1))) != digests[0]
    observed = Checksum(on_host=True)
    observed.add("a", elsewhere)
    assert observed.hexdigest() == digests[2]
    assert observed.is_of_host


class Elsewhere(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    @staticmethod
    def __new__(cls, tensor: torch.Tensor) -> Elsewhere:
        return torch.Tensor._make_subclass(cls, tensor)

    @property
    def device(self) -> torch.device:
        return torch.device("cuda")
