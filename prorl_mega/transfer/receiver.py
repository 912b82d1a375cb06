"""The receiving ends of the transports. Each hands over tensors of its own whose checksums have been compared."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prorl_mega.errors import WeightSyncError
from prorl_mega.transfer.bucket import BucketEntry, BucketManifest, fingerprint
from prorl_mega.transfer.cuda_ipc import opened
from prorl_mega.transfer.nccl import NcclPair
from prorl_mega.transfer.pair import GlooPair, Pair

_DESCRIPTOR = re.compile(r"/proc/\d{1,10}/fd/\d{1,10}")
Arrived = Iterator[tuple[BucketEntry, Tensor]]


class Receiver(Protocol):
    """One worker's end of a transport."""

    def receive(self, place: dict[str, Any], manifest: BucketManifest) -> Arrived:
        """The tensors of a bucket, which stay valid. Raises WeightSyncError, which names the bucket and the tensor."""

    def close(self) -> None: ...


def open_receiver(transport: str, place: dict[str, Any], *, rank: int) -> Receiver:
    """The receiver of worker `rank` of an engine for a transport's greeting. Raises WeightSyncError.

    Where the transport needs both ends to meet, this waits for the sender.
    """
    if transport == "shared_memory":
        return SharedMemoryReceiver()
    if transport == "disk":
        return DiskReceiver(Path(_text(place, "directory")))
    if transport == "cuda_ipc":
        return CudaIpcReceiver()
    if transport == "gloo":
        return PairReceiver(GlooPair.joined(place, rank=rank + 1))
    if transport == "nccl":
        return PairReceiver(NcclPair.joined(place, rank=rank + 1))
    raise WeightSyncError(
        f"transport {transport[:40]!r} is not known; shared_memory, disk, gloo, cuda_ipc and nccl are"
    )


class SharedMemoryReceiver:
    """Reads from the sender's memory, which it is given by descriptor, so that there is no file that others could open
    or that could be left behind."""

    def receive(self, place: dict[str, Any], manifest: BucketManifest) -> Arrived:
        path = _text(place, "memory")
        if not _DESCRIPTOR.fullmatch(path):
            raise WeightSyncError(f"bucket {manifest.index}: {path[:80]!r} is no descriptor of another process")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise WeightSyncError(
                f"bucket {manifest.index}: the sender's memory cannot be opened ({error.strerror}); transport=disk or "
                "gloo works between containers and machines"
            ) from None
        try:
            if os.fstat(descriptor).st_size < manifest.nbytes:  # reading beyond the end would kill this process
                raise WeightSyncError(f"bucket {manifest.index} is shorter than its {manifest.nbytes} bytes")
            mapped = mmap.mmap(descriptor, manifest.nbytes, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        return _copies(_frombuffer(mapped), manifest)

    def close(self) -> None:
        """Nothing is kept open between buckets."""


class DiskReceiver:
    """Reads safetensors files of one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def receive(self, place: dict[str, Any], manifest: BucketManifest) -> Arrived:
        file = self._directory / _text(place, "file")
        if not file.resolve().is_relative_to(self._directory.resolve()):
            raise WeightSyncError(f"bucket {manifest.index}: {file} lies outside of {self._directory}")
        try:
            with safe_open(file, framework="pt") as opened:
                for entry in manifest.entries:
                    yield _checked(entry, opened.get_tensor(entry.name), manifest.index)
        except (SafetensorError, OSError) as error:
            raise WeightSyncError(f"bucket {manifest.index}: {file}: {error}") from None

    def close(self) -> None:
        """Files are closed when they have been read."""


class CudaIpcReceiver:
    """Reads from the memory of the sender's GPU, which is this worker's as well."""

    def receive(self, place: dict[str, Any], manifest: BucketManifest) -> Arrived:
        try:
            memory = opened(place, manifest.nbytes)
        except WeightSyncError as error:
            raise WeightSyncError(f"bucket {manifest.index}: {error}") from None
        return _copies(memory, manifest)

    def close(self) -> None:
        """Nothing is kept open between buckets."""


class PairReceiver:
    """Receives the bytes of a bucket into memory that is used again for the next one."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._memory = torch.empty(0, dtype=torch.uint8, device=pair.device)

    def receive(self, place: dict[str, Any], manifest: BucketManifest) -> Arrived:
        if len(self._memory) < manifest.nbytes:
            self._memory = torch.empty(manifest.nbytes, dtype=torch.uint8, device=self._pair.device)
        self._pair.broadcast(self._memory[: manifest.nbytes])
        return _copies(self._memory, manifest)

    def close(self) -> None:
        self._pair.close()


def _copies(memory: Tensor, manifest: BucketManifest) -> Arrived:
    """Copies of a bucket's tensors: vLLM keeps those of a layer until it is complete, and by then the sender may have
    put another bucket into `memory` `[bytes]` uint8."""
    for entry in manifest.entries:
        yield _checked(entry, entry.view(memory).clone(), manifest.index)


def _checked(entry: BucketEntry, tensor: Tensor, index: int) -> tuple[BucketEntry, Tensor]:
    found = fingerprint(entry.name, tensor)
    if found != entry.digest:
        raise WeightSyncError(
            f"bucket {index}: {entry.name} did not arrive as it was sent (checksum {found}, sent {entry.digest})"
        )
    return entry, tensor


def _frombuffer(mapped: mmap.mmap) -> Tensor:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it must not be written to, and is not
        return torch.frombuffer(mapped, dtype=torch.uint8)


def _text(place: dict[str, Any], key: str) -> str:
    value = place.get(key)
    if not isinstance(value, str):
        raise WeightSyncError(f"the transport's message has no {key}")
    return value
