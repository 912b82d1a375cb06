"""Weights that stay on GPUs on their way: the same bits arrive, or an error says which are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.fleets import some_weights
from helpers.receivers import Other, opened
from helpers.rollouts import engine_checkpoint
from helpers.vllm_fleets import real_fleet, two_versions

from prorl_mega.config.servers import TransportName
from prorl_mega.servers.push import WeightPush
from prorl_mega.transfer.bucket import fingerprint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TWO_GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="NCCL needs two GPUs")
KINDS = ("cuda_ipc", pytest.param("nccl", marks=TWO_GPUS))


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_holds_the_same_bits_or_says_which_are_wrong(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = opened(kind, tmp_path)
    if kind == "nccl":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # of the other process; this one has read it
    other = Other(transport)
    first, second = (
        {f"{seed}.{name}": tensor.cuda() for name, tensor in some_weights(seed).items()} for seed in (1, 2)
    )
    assert set(other.send(first, 1)) == {"taken"}
    spoiled = other.send(second, 2, spoil=True)
    assert [each for each in spoiled if each != "taken"] == [spoiled[1]]
    assert "did not arrive as it was sent" in spoiled[1]
    digests = {name: digest for name, digest in other.end().items() if not name.startswith("2.")}
    assert digests == {name: fingerprint(name, tensor) for name, tensor in first.items()}


def test_a_server_takes_pushes(tmp_path: Path) -> None:
    """vLLM's own server: each push is verified by it before it samples."""
    checkpoint = engine_checkpoint(tmp_path / "model", "qwen2_tied")
    versions = two_versions(checkpoint)
    with real_fleet(tmp_path, checkpoint, transport=TransportName.cuda_ipc) as watched:
        for version in range(3):
            stream = ((name, tensor.cuda()) for name, tensor in versions[version % 2].items())
            report = WeightPush(watched.fleet).push(stream, version)
            assert report.servers == ("server-0",)
            assert report.failures == {}
