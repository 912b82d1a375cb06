"""The checksum sees names, dtypes, shapes, bytes and order, and nothing else."""

from __future__ import annotations

import torch

from prorl_mega.checksum import Checksum


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
