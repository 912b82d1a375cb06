"""The learner's device, and the bindings that let Megatron-core work without a GPU.

Megatron-core takes a CUDA device for granted. On a machine without one, `activate` binds Megatron's modules, and only
these, to the CPU: whatever else shares the process (the inference engine) sees the plain `torch`. Three things are
bound: the name `torch` in every Megatron module gets a `cuda` that means the host; literals such as `device="cuda"`
are respelled in the functions that have them; and the CUDA generators, which a model without dropout never draws
from, become inert. Every binding is checked, so that another version of Megatron-core ends the run at its start and
does not compute wrong numbers. With a GPU nothing is changed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
import torch.distributed as dist

from prorl_mega.distributed.launch import LaunchEnvironment, read_launch
from prorl_mega.learner.host_memory import bound_host_memory
from prorl_mega.learner.rendezvous import rendezvous

MEGATRON_VERSION = "0.16.1"

_SPELLED = {
    "cuda": "cpu",
    "torch.cuda.FloatTensor": "torch.FloatTensor",
    "torch.cuda.HalfTensor": "torch.HalfTensor",
    "torch.cuda.BFloat16Tensor": "torch.BFloat16Tensor",
}

# Modules whose functions name a CUDA device in a literal, with the number of functions that do.
_LITERALS = {
    "megatron.core.pipeline_parallel.schedules": 4,
    "megatron.core.optimizer.clip_grads": 3,
    "megatron.core.optimizer.optimizer": 3,
    "megatron.core.optimizer.distrib_optimizer": 2,
    "megatron.core.distributed.param_and_grad_buffer": 1,
    "megatron.core.utils": 3,
}

# Loaded before binding, because a module that Megatron imported afterwards would keep the plain `torch`.
_LOADED = (
    "megatron.core.parallel_state",
    "megatron.core.tensor_parallel",
    "megatron.core.models.gpt",
    "megatron.core.models.gpt.gpt_layer_specs",
    "megatron.core.pipeline_parallel",
    "megatron.core.distributed",
    "megatron.core.optimizer",
    "megatron.core.optimizer_param_scheduler",
    "megatron.core.transformer.module",
)


def activate() -> torch.device:
    """Bind Megatron-core to this machine's device and return it: this rank's GPU, or the CPU. Idempotent.

    Raises `RuntimeError` if the installed Megatron-core is not the one that the CPU binding was written for.
    """
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    bound_host_memory()
    _bind_to_host()
    return torch.device("cpu")


def initialize_distributed(timeout_s: int) -> LaunchEnvironment:
    """Join the job's ranks: NCCL and gloo with GPUs, gloo without.

    Ranks come from the launcher (`prorl_mega.distributed.launch`); a process that was started alone is a job of its own
    and opens no socket to others. `timeout_s` ends the job when a rank goes missing. Raises `ConfigError` if the
    launcher's variables contradict each other.
    """
    launch = read_launch(os.environ)
    if dist.is_initialized():
        return launch
    gpu = torch.cuda.is_available()
    if gpu:
        # The modulus is for launchers that show each rank its own GPU only.
        torch.cuda.set_device(launch.local_rank % torch.cuda.device_count())
    if launch.master_address in ("127.0.0.1", "localhost"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # The inference engine's external launcher reads ranks from here and knows only torchrun's names.
    os.environ.update(launch.variables())
    dist.init_process_group(
        backend="cpu:gloo,cuda:nccl" if gpu else "gloo",
        rank=launch.rank,
        world_size=launch.world_size,
        timeout=timedelta(seconds=timeout_s),
        **rendezvous(launch, timeout_s),
    )
    return launch


@functools.cache
def _bind_to_host() -> None:
    # Advice about CUDA settings; users cannot fix Megatron's deprecations either.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"megatron\.core\.")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\.c10d_logger")
    megatron = importlib.import_module("megatron.core")
    if megatron.__version__ != MEGATRON_VERSION:
        raise RuntimeError(
            f"megatron-core {megatron.__version__} is installed; without a GPU only {MEGATRON_VERSION} works"
        )
    for name in (*_LOADED, *_LITERALS):
        importlib.import_module(name)
    for name, expected in _LITERALS.items():
        respell_module(sys.modules[name], expected)
    # Copies the tied embedding to the last stage with `weight.data.cuda()`; on the host that is `cpu()`.
    language_module = importlib.import_module("megatron.core.models.common.language_module.language_module")
    respell_method(language_module.LanguageModule.setup_embeddings_and_output_layer, "cuda", "cpu")
    _bind_experts()
    host_torch = _HostTorch()
    for name, module in list(sys.modules.items()):
        if name.startswith("megatron.core.") and getattr(module, "torch", None) is torch:
            module.torch = host_torch  # type: ignore[attr-defined]
    _silence_generators(importlib.import_module("megatron.core.tensor_parallel.random"))


def _bind_experts() -> None:
    """Mixtures of experts without Transformer Engine: a name that 0.16.1 asks for all the same, and sizes as lists."""
    moe = importlib.import_module("megatron.core.transformer.moe.moe_utils")
    dispatcher = importlib.import_module("megatron.core.transformer.moe.token_dispatcher")
    if not hasattr(moe, "te_general_gemm"):
        moe.te_general_gemm = None  # type: ignore[attr-defined]
    before = vars(dispatcher)["maybe_move_tensor_to_cpu"]

    def moved(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
        if torch.is_tensor(tensor) and as_numpy:
            return tensor.numpy()  # split sizes of an exchange, which must not be a tensor
        return before(tensor, as_numpy=as_numpy, record_stream=record_stream)

    vars(dispatcher)["maybe_move_tensor_to_cpu"] = moved
    mappings = vars(importlib.import_module("megatron.core.tensor_parallel.mappings"))
    gather, scatter = mappings["_gather_along_first_dim"], mappings["_reduce_scatter_along_first_dim"]

    def gathered(
        tensor: torch.Tensor, group: Any, output_split_sizes: Any = None, use_global_buffer: bool = False
    ) -> torch.Tensor:
        """gloo gathers tensors of one size only."""
        if output_split_sizes is None or group.size() == 1:
            return gather(tensor, group, output_split_sizes, use_global_buffer)
        sizes = [int(size) for size in output_split_sizes]
        padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded, group=group)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def scattered(
        tensor: torch.Tensor, group: Any, input_split_sizes: Any = None, use_global_buffer: bool = False
    ) -> torch.Tensor:
        if input_split_sizes is None or group.size() == 1:
            return scatter(tensor, group, input_split_sizes, use_global_buffer)
        total = tensor.clone()
        dist.all_reduce(total, group=group)
        return total.split([int(size) for size in input_split_sizes])[group.rank()].contiguous()

    mappings["_gather_along_first_dim"], mappings["_reduce_scatter_along_first_dim"] = gathered, scattered


class _HostStream:
    """A stream, an event, and the context of one: nothing on the host runs beside it."""

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None: ...

    def wait_stream(self, stream: _HostStream) -> None: ...

    def record_event(self) -> _HostStream:
        return self

    def synchronize(self) -> None: ...


class _HostCuda(ModuleType):
    """The part of `torch.cuda` that Megatron's training path calls, meaning the host."""

    def __init__(self) -> None:
        super().__init__("torch.cuda of a machine without a GPU")
        self.current_device = lambda: torch.device("cpu")
        self.is_available = lambda: False
        self.device_count = lambda: 0
        self.is_current_stream_capturing = lambda: False
        self.Stream = self.Event = _HostStream
        self.current_stream = self.stream = lambda *arguments: _HostStream()
        for name in ("synchronize", "empty_cache", "set_device", "manual_seed"):
            setattr(self, name, lambda *args, **kwargs: None)

    def __getattr__(self, name: str) -> Any:
        value = getattr(torch.cuda, name)
        if inspect.isclass(value) or inspect.ismodule(value):
            return value  # types in annotations and in `except` clauses
        raise AttributeError(f"Megatron-core asked for torch.cuda.{name}, which means nothing without a GPU")


class _HostTorch(ModuleType):
    """`torch`, except that `torch.cuda` is the host."""

    def __init__(self) -> None:
        super().__init__("torch of a machine without a GPU")
        self.cuda = _HostCuda()

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def respell_module(module: ModuleType, expected: int) -> None:
    """Respell the CUDA literals of all functions and methods of a module; `expected` is how many have any."""
    changed = [function for function in _functions(module) if _respell(function)]
    if len(changed) != expected:
        names = sorted(function.__qualname__ for function in changed)
        raise RuntimeError(
            f"{module.__name__}: expected CUDA literals in {expected} functions and found them in {names}; "
            f"the CPU backend was written for megatron-core {MEGATRON_VERSION}"
        )


def respell_method(function: FunctionType, old: str, new: str) -> None:
    """Replace an attribute name that a function looks up, such as the method `cuda` of a tensor."""
    code = function.__code__
    if code.co_names.count(old) != 1:
        raise RuntimeError(
            f"{function.__qualname__} no longer calls {old}(); "
            f"the CPU backend was written for megatron-core {MEGATRON_VERSION}"
        )
    function.__code__ = code.replace(co_names=tuple(new if name == old else name for name in code.co_names))


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Every function that the module itself defines, methods and decorated ones included, each once."""
    seen: set[int] = set()
    classes = [
        value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module.__name__
    ]
    for value in [*vars(module).values(), *(member for owner in classes for member in vars(owner).values())]:
        value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        function = inspect.unwrap(value) if callable(value) else value
        if inspect.isfunction(function) and function.__module__ == module.__name__ and id(function) not in seen:
            seen.add(id(function))
            yield function


def _respell(function: FunctionType) -> bool:
    code = _respelled(function.__code__)
    changed = code is not function.__code__
    function.__code__ = code
    return changed


def _respelled(constant: Any) -> Any:
    """`constant` itself when it holds no CUDA literal, else a copy with the host's spelling."""
    if isinstance(constant, str):
        return _SPELLED.get(constant, constant)
    if isinstance(constant, tuple):
        items = tuple(_respelled(item) for item in constant)
        return constant if all(new is old for new, old in zip(items, constant, strict=True)) else items
    if isinstance(constant, CodeType):
        constants = _respelled(constant.co_consts)
        return constant if constants is constant.co_consts else constant.replace(co_consts=constants)
    return constant


def _silence_generators(random: ModuleType) -> None:
    """Make the CUDA generators inert: nothing draws from them without dropout, and weights come from the CPU's."""

    class InertTracker(random.CudaRNGStatesTracker):  # type: ignore[name-defined]
        def add(self, name: str, seed: int) -> None:
            self._is_initialized = True

        def fork(self, name: str = "") -> contextlib.AbstractContextManager[None]:
            return contextlib.nullcontext()

    for name in ("_get_cuda_rng_state", "_set_cuda_rng_state", "_CUDA_RNG_STATE_TRACKER_INITIALIZED"):
        if not hasattr(random, name):
            raise RuntimeError(f"{random.__name__} has no {name}; the CPU backend is for {MEGATRON_VERSION}")
    inert: Callable[..., None] = lambda *args, **kwargs: None  # noqa: E731
    random._get_cuda_rng_state = inert  # type: ignore[attr-defined]
    random._set_cuda_rng_state = inert  # type: ignore[attr-defined]
    random._CUDA_RNG_STATE_TRACKER = InertTracker()  # type: ignore[attr-defined]
    random._CUDA_RNG_STATE_TRACKER_INITIALIZED = True  # type: ignore[attr-defined]
