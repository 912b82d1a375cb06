"""Named copies of the policy's weights on the learner's own sharding: the reference policy is one.

A copy is evaluated by the policy's own modules, which use the copy's memory inside a `with` block. Nothing is moved or
allocated, unless copies are offloaded: they then live on the host and are on the device only inside the block.
A copy holds every parameter of this rank, tied embeddings of the last pipeline stage and padding rows of the vocabulary
included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class WeightStore:
    """Copies of `parameters` (name -> live tensor of this rank) under names of their own."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter], *, offload: bool = False) -> None:
        self._parameters = parameters
        self._offload = offload
        self._copies: dict[str, dict[str, torch.Tensor]] = {}

    @torch.no_grad()
    def take(self, name: str) -> None:
        """Make copy `name` equal to the parameters as they are now. Memory is allocated the first time only."""
        if name not in self._copies:
            self._copies[name] = {key: self._room(value) for key, value in self._parameters.items()}
        for key, value in self._parameters.items():
            self._copies[name][key].copy_(value)

    @torch.no_grad()
    def restore(self, name: str) -> None:
        """Make the parameters equal to copy `name`, in place."""
        for key, value in self._parameters.items():
            value.copy_(self._copies[name][key])

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of copy `name` by parameter name; writing to them changes the copy."""
        return self._copies[name]

    def __contains__(self, name: str) -> bool:
        return name in self._copies

    @contextmanager
    def active(self, name: str) -> Iterator[None]:
        """Inside the block the model computes with copy `name`. For forward passes only: gradients and the optimizer
        belong to the parameters themselves."""
        own = {key: value.data for key, value in self._parameters.items()}
        try:
            for key, value in self._parameters.items():
                value.data = self._copies[name][key].to(value.device)
            yield
        finally:
            for key, value in self._parameters.items():
                value.data = own[key]

    def _room(self, parameter: torch.Tensor) -> torch.Tensor:
        """Memory for a copy of one parameter; pages of the host are locked where a device reads them."""
        if not self._offload:
            return torch.empty_like(parameter)
        return torch.empty_like(parameter, device="cpu", pin_memory=parameter.is_cuda)
