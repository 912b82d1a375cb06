"""Imports of one kernel from packages whose `__init__` files need more than that kernel."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

TRL = "trl.kernels.chunked_logprob"
VERL = "verl.utils.kernel.linear_cross_entropy"


def verl_kernel() -> Any:
    """verl's kernel. Its package imports Ray; without Ray the kernel's folder is imported on its own."""
    try:
        return import_module(VERL)
    except ImportError:
        _replace_parents("verl", "verl.utils")
        module = import_module(VERL)
        import_module("verl.utils.kernel.kernels")  # imported by the first call otherwise
        return module


def trl_kernel() -> Any:
    """TRL's kernel. Its file asks transformers whether Triton is there, and its backward pass asks TRL's trainer, with
    all that this imports, for a context that gathers the weight under DeepSpeed. Where they cannot be imported,
    stand-ins answer."""
    try:
        import_module("trl.trainer.utils")  # imported by the first backward pass otherwise
        return import_module(TRL)
    except ImportError:
        if TRL in sys.modules:
            return sys.modules[TRL]
    for name in [name for name in sys.modules if name.split(".")[0] == "trl"]:  # what was imported before it failed
        del sys.modules[name]
    _replace_parents("trl", "trl.kernels")
    trainer, gathers, transformers, asked = map(
        ModuleType, ("trl.trainer", "trl.trainer.utils", "transformers", "transformers.utils")
    )
    trainer.__path__, transformers.__path__ = [], []
    vars(gathers)["maybe_gather_lm_head_ctx"] = lambda *parameters: nullcontext()
    vars(asked)["is_triton_available"] = lambda: True
    there = {name: sys.modules.get(name) for name in ("transformers", "transformers.utils")}
    sys.modules |= {module.__name__: module for module in (trainer, gathers, transformers, asked)}
    try:
        return import_module(TRL)
    finally:  # without the stand-ins, other imports fail properly
        for name, module in there.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def _replace_parents(*names: str) -> None:
    """Packages with the same folders whose `__init__` files do not run; parents come before their children.

    Raises ImportError for one that is not installed.
    """
    for name in names:
        parent = sys.modules.get(name.rpartition(".")[0])
        spec = PathFinder.find_spec(name, None if parent is None else parent.__path__)
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError(f"no package {name}")
        package = ModuleType(name)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[name] = package
