"""A driver for Triton whose GPU is of compute capability 9.0 and made of numpy: what is launched runs here.

Everything else is Triton's own path: specialisation of arguments, compilation for sm_90, ptxas.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import triton
from helpers.sm90.decoder import decode
from helpers.sm90.machine import Machine
from helpers.sm90.matrices import TensorMap
from helpers.sm90.memory import GlobalMemory
from helpers.sm90.program import parse
from triton.backends.compiler import GPUTarget
from triton.runtime.cache import get_cache_manager
from triton.tools.tensor_descriptor import TensorDescriptor

MOST_SHARED = 227 * 1024


parsed = functools.lru_cache(maxsize=256)(parse)


class Launcher:
    """Runs one compiled kernel."""

    @staticmethod
    def edit(name: str, text: str) -> str:
        """Tests replace this to break a kernel's code before it runs."""
        return text

    def __init__(self, source: Any, metadata: Any) -> None:
        self.types = list(source.signature.values())
        self.tensor_maps = metadata.tensordesc_meta
        self.name = metadata.name
        self.text = Path(get_cache_manager(metadata.hash).get_file(f"{metadata.name}.ptx")).read_text()

    def __call__(self, columns: int, rows: int, layers: int, *rest: Any) -> None:
        assert layers == 1
        program = parsed(self.edit(self.name, self.text))
        tensors, parameters = self._parameters(rest[6:])
        parameters += [0] * (len(program.parameters) - len(parameters))  # Triton's scratch memory: none
        machine = Machine(program, parameters, GlobalMemory(tensors), (columns, rows))
        instructions = decode(program, machine)
        for block in reversed(range(columns * rows)):  # no order is promised
            machine.run(instructions, block)

    def _parameters(self, arguments: tuple[Any, ...]) -> tuple[list[torch.Tensor], list[Any]]:
        """As the kernel takes them: pointers, numbers, and for a descriptor its tensor map, shape and strides."""
        tensors: list[torch.Tensor] = []
        parameters: list[Any] = []
        maps = iter(self.tensor_maps or [])
        for value, type_name in zip(arguments, self.types, strict=True):
            if type_name == "constexpr":
                continue
            if isinstance(value, TensorDescriptor):
                layout = next(maps)
                block = layout["block_size"]
                assert (layout["swizzle"], layout["elem_size"], block[1] * 2) == (3, 2, 128), layout
                parameters += [TensorMap(matrix=value.base, rows=block[0], columns=block[1])]
                parameters += [*value.shape, *value.strides]
                tensors.append(value.base)
            elif isinstance(value, torch.Tensor):
                tensors.append(value)
                parameters.append(value.data_ptr())
            else:
                parameters.append(float(value) if type_name == "fp32" else int(value))
        return tensors, parameters


class Driver:
    """What Triton's runtime asks of a driver."""

    def __init__(self) -> None:
        self.launcher_cls = Launcher
        self.utils = SimpleNamespace(
            load_binary=lambda name, binary, shared, device: (name, 0, 0, 0, 1024),
            get_device_properties=lambda device: {"max_shared_mem": MOST_SHARED, "multiprocessor_count": 132},
            unload_module=lambda module: None,
        )

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, device: int) -> None:
        assert device == 0

    def get_current_stream(self, device: int) -> int:
        return 0


def use() -> None:
    """Kernels that this process launches run here from now on."""
    triton.runtime.driver.set_active(Driver())
