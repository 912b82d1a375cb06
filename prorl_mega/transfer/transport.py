"""The sending ends of the transports, behind one interface: the learner's rank that pushes has one of them."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import warnings
from collections import deque
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor

from prorl_mega.errors import ConfigError, StorageError
from prorl_mega.transfer.bucket import Bucket
from prorl_mega.transfer.cuda_ipc import exported
from prorl_mega.transfer.nccl import NcclPair
from prorl_mega.transfer.pair import GlooPair, Pair, Rendezvous

SLOTS = 2  # buckets at a time: one travels while the next is gathered
HOST_TRANSPORTS = ("shared_memory", "disk", "gloo")
GPU_TRANSPORTS = ("cuda_ipc", "nccl")


class Transport(Protocol):
    """A way for buckets to engines. `memory` and `place` are called in the thread that gathers, the others in threads
    that talk to engines; at most SLOTS buckets are on their way at a time."""

    kind: str

    def greeting(self, engine: str, *, address: str, workers: int) -> dict[str, Any]:
        """The `place` for the init route of a new engine, with `workers` on a machine of this address."""

    def meet(self, engine: str) -> None:
        """Whatever the sender has to do while the engine answers the init route. Raises WeightSyncError."""

    def memory(self, nbytes: int) -> Tensor:
        """`[nbytes or more]` uint8 for the next bucket; that of the bucket before the last may be used again."""

    def place(self, bucket: Bucket, version: int) -> dict[str, Any]:
        """Make a full bucket readable; the `place` for the update route. Raises StorageError."""

    def deliver(self, bucket: Bucket, engine: str) -> None:
        """Whatever the sender has to do while the engine answers the update route. Raises WeightSyncError."""

    def finish(self, version: int) -> None:
        """All buckets of a push have been placed. Raises StorageError."""

    def leave(self, engine: str) -> None:
        """Forget an engine that is gone."""

    def close(self) -> None: ...


def open_transport(kind: str, *, address: str, directory: Path | None, timeout_s: float) -> Transport:
    """The transport of this kind; `address` is this machine's, `directory` is for files. Raises ConfigError."""
    if kind not in (usable := usable_transports()):
        reason = "needs a GPU, and PyTorch sees none" if kind in GPU_TRANSPORTS else "is not known"
        raise ConfigError(f"transport={kind} {reason}; these work: {', '.join(usable)}")
    if kind == "shared_memory":
        return SharedMemoryTransport()
    if kind == "disk":
        if directory is None:
            raise ConfigError("transport=disk needs a directory that the learner and all engines see")
        return DiskTransport(directory)
    if kind == "cuda_ipc":
        return CudaIpcTransport()
    return PairTransport(Rendezvous(NcclPair if kind == "nccl" else GlooPair, address, timeout_s))


def usable_transports() -> tuple[str, ...]:
    """The kinds of transports that this machine has."""
    return HOST_TRANSPORTS + (GPU_TRANSPORTS if torch.cuda.is_available() else ())


class SharedMemoryTransport:
    """Memory of this process that engines on the same machine read: it is written once, whatever their number.

    It has a descriptor and no name in any file system, so it is gone with the processes that hold it.
    """

    kind = "shared_memory"

    def __init__(self) -> None:
        self._slots: deque[_SharedSlot] = deque()

    def greeting(self, engine: str, *, address: str, workers: int) -> dict[str, Any]:
        return {}

    def meet(self, engine: str) -> None:
        """Nothing: an engine opens the memory when it is told to."""

    def memory(self, nbytes: int) -> Tensor:
        if len(self._slots) < SLOTS:
            slot = _SharedSlot(nbytes)
        else:
            slot = self._slots.popleft()
            if len(slot.memory) < nbytes:
                slot.close()
                slot = _SharedSlot(nbytes)
        self._slots.append(slot)
        return slot.memory

    def place(self, bucket: Bucket, version: int) -> dict[str, Any]:
        slot = next(each for each in self._slots if each.memory is bucket.memory)
        return {"memory": f"/proc/{os.getpid()}/fd/{slot.descriptor}"}

    def deliver(self, bucket: Bucket, engine: str) -> None:
        """Nothing: the engine reads."""

    def finish(self, version: int) -> None:
        """Nothing: the last buckets may still be read."""

    def leave(self, engine: str) -> None:
        """Nothing: there is no connection."""

    def close(self) -> None:
        while self._slots:
            self._slots.pop().close()


class _SharedSlot:
    """One piece of anonymous memory that another process can open by its descriptor."""

    def __init__(self, nbytes: int) -> None:
        self.descriptor = os.memfd_create("prorl_mega", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, nbytes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.memory = torch.frombuffer(mmap.mmap(self.descriptor, nbytes), dtype=torch.uint8)

    def close(self) -> None:
        """Give the descriptor up; the memory goes with the last tensor and engine that use it."""
        os.close(self.descriptor)


class _Memory:
    """SLOTS pieces of ordinary memory, in turn."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._slots: deque[Tensor] = deque()

    def next(self, nbytes: int) -> Tensor:
        none = torch.empty(0, dtype=torch.uint8, device=self.device)
        memory = self._slots.popleft() if len(self._slots) == SLOTS else none
        if len(memory) < nbytes:
            memory = torch.empty(nbytes, dtype=torch.uint8, device=self.device)
        self._slots.append(memory)
        return memory


class DiskTransport:
    """safetensors files with an index, as Hugging Face directories have them: `<directory>/version_000012/`.

    The slow twin of all others: what was pushed can be looked at, and any other engine can load it. The version before
    the last is deleted.
    """

    kind = "disk"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._host = _Memory(torch.device("cpu"))
        self._files: dict[str, str] = {}  # tensor to file, of the push that is going on
        self._bytes = 0

    def greeting(self, engine: str, *, address: str, workers: int) -> dict[str, Any]:
        return {"directory": str(self._directory.resolve())}

    def meet(self, engine: str) -> None:
        """Nothing: an engine opens files when it is told to."""

    def memory(self, nbytes: int) -> Tensor:
        return self._host.next(nbytes)

    def place(self, bucket: Bucket, version: int) -> dict[str, Any]:
        folder, index = self._folder(version), bucket.manifest.index
        file = folder / f"model-{index + 1:05d}.safetensors"
        tensors = {entry.name: entry.view(bucket.memory) for entry in bucket.manifest.entries}
        try:
            if index == 0:
                shutil.rmtree(folder, ignore_errors=True)  # of a push of this version that broke off
                folder.mkdir(parents=True)
                self._files, self._bytes = {}, 0
            save_file(tensors, file, metadata={"format": "pt"})
        except OSError as error:
            raise StorageError(f"{file}: {error.strerror or error}") from None
        self._files |= dict.fromkeys(tensors, file.name)
        self._bytes += sum(entry.nbytes for entry in bucket.manifest.entries)
        return {"file": f"{folder.name}/{file.name}"}

    def deliver(self, bucket: Bucket, engine: str) -> None:
        """Nothing: the engine reads."""

    def finish(self, version: int) -> None:
        folder = self._folder(version)
        index = {"metadata": {"total_size": self._bytes}, "weight_map": self._files}
        try:
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
            old = sorted(each for each in self._directory.glob("version_*") if each != folder)[:-1]
        except OSError as error:
            raise StorageError(f"{folder}: {error.strerror or error}") from None
        for each in old:
            shutil.rmtree(each, ignore_errors=True)

    def leave(self, engine: str) -> None:
        """Nothing: there is no connection."""

    def close(self) -> None:
        """Files stay."""

    def _folder(self, version: int) -> Path:
        return self._directory / f"version_{version:06d}"


class CudaIpcTransport:
    """Memory of the learner's GPU that engines on the same GPU read where it is."""

    kind = "cuda_ipc"

    def __init__(self) -> None:
        self._memory = _Memory(torch.device("cuda", torch.cuda.current_device()))
        self._places: dict[int, dict[str, Any]] = {}  # by address

    def greeting(self, engine: str, *, address: str, workers: int) -> dict[str, Any]:
        return {}

    def meet(self, engine: str) -> None:
        """Nothing: an engine opens the memory when it is told to."""

    def memory(self, nbytes: int) -> Tensor:
        return self._memory.next(nbytes)

    def place(self, bucket: Bucket, version: int) -> dict[str, Any]:
        address = bucket.memory.data_ptr()
        if self._places.get(address, {}).get("size") != len(bucket.memory):  # what was there before was shorter
            self._places[address] = exported(bucket.memory)
        torch.cuda.current_stream(bucket.memory.device).synchronize()  # another process's stream does not wait for it
        return self._places[address]

    def deliver(self, bucket: Bucket, engine: str) -> None:
        """Nothing: the engine reads."""

    def finish(self, version: int) -> None:
        """Nothing: the last buckets may still be read."""

    def leave(self, engine: str) -> None:
        """Nothing: there is no connection."""

    def close(self) -> None:
        """Nothing: the memory goes with this object."""


class PairTransport:
    """A process group per engine: gloo between machines without a GPU, NCCL between GPUs."""

    def __init__(self, rendezvous: Rendezvous) -> None:
        self.kind = rendezvous.pair.kind
        self._rendezvous = rendezvous
        on_host = self.kind == GlooPair.kind
        self._memory = _Memory(torch.device("cpu" if on_host else f"cuda:{torch.cuda.current_device()}"))
        self._greetings: dict[str, dict[str, Any]] = {}
        self._pairs: dict[str, Pair] = {}

    def greeting(self, engine: str, *, address: str, workers: int) -> dict[str, Any]:
        self._greetings[engine] = self._rendezvous.greeting(workers, address)
        return self._greetings[engine]

    def meet(self, engine: str) -> None:
        self._pairs[engine] = self._rendezvous.meet(self._greetings.pop(engine))

    def memory(self, nbytes: int) -> Tensor:
        return self._memory.next(nbytes)

    def place(self, bucket: Bucket, version: int) -> dict[str, Any]:
        return {}

    def deliver(self, bucket: Bucket, engine: str) -> None:
        self._pairs[engine].broadcast(bucket.memory[: bucket.manifest.nbytes])

    def finish(self, version: int) -> None:
        """Nothing: engines have what was delivered."""

    def leave(self, engine: str) -> None:
        if pair := self._pairs.pop(engine, None):
            pair.close()

    def close(self) -> None:
        for engine in list(self._pairs):
            self.leave(engine)
