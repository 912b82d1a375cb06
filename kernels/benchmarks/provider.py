"""Implementations that the table compares, behind one signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import torch
from torch import Tensor

from prorl_kernels.benchmarks.cases import Case, Mode
from prorl_kernels.benchmarks.problem import Problem


class Outputs(NamedTuple):
    """Results of an implementation: statistics per token, or only the mean of the log-probs."""

    logprob: Tensor | None = None  # [tokens]
    entropy: Tensor | None = None  # [tokens]
    kl_reverse: Tensor | None = None  # [tokens]
    mean_logprob: Tensor | None = None  # scalar, of implementations that reduce inside


Compute = Callable[[Problem, Mode], Outputs]


@dataclass(slots=True, frozen=True)
class Provider:
    """One implementation. `load` imports its packages and raises ImportError when one is not installed."""

    name: str
    load: Callable[[], Compute]
    package: str  # its distribution
    remark: str = ""  # about its numbers
    differentiates: tuple[str, ...] = ("logprob",)  # statistics that it has a gradient for
    recomputes: bool = True  # it makes the logits once more in its backward pass
    per_token: bool = True  # false: it takes the mean of all tokens itself, so no token has a gradient of its own
    needs: str = ""  # "CUDA" or "Hopper"
    multiples: dict[str, int] = field(default_factory=dict)  # of "tokens", "width" and "columns" that it needs
    computes: str = ""  # if it is not simply what it differentiates
    refused: str = ""  # why it takes no case at all

    @property
    def summary(self) -> str:
        """The statistics that it computes, for the table."""
        names = " + ".join(self.differentiates).replace("kl_reverse", "KL")
        return self.computes or (names if self.per_token else f"mean {names}")

    def refusal(self, case: Case, device: torch.device) -> str | None:
        """The reason why it does not take this case; None when it does."""
        missing = sorted(set(case.mode.gradients) - set(self.differentiates))
        if missing:
            return f"has no gradient of {', '.join(missing)}"
        if case.mode.active < 1 and not self.per_token:
            return "has no gradients per token"
        if self.refused:
            return self.refused
        if self.needs and device.type != "cuda":
            return "needs a CUDA device"
        if self.needs == "Hopper" and torch.cuda.get_device_capability(device) != (9, 0):
            major, minor = torch.cuda.get_device_capability(device)
            return f"needs compute capability 9.0, this is {major}.{minor}"
        sizes = {"tokens": case.tokens, "width": case.width, "columns": case.columns}
        odd = [name for name, unit in self.multiples.items() if sizes[name] % unit]
        return (
            "; ".join(f"{name} must be a multiple of {self.multiples[name]}, not {sizes[name]}" for name in odd) or None
        )


def version_of(package: str) -> str:
    """The installed version of a distribution; empty when there is none."""
    try:
        return version(package) if package else ""
    except PackageNotFoundError:
        return ""
