"""Rules by which a Megatron parameter is made of Hugging Face tensors and cut by tensor parallelism.

A rule knows two things. `axis`: the dimension along which the ranks divide each Hugging Face tensor (None: every rank
holds all of it). `pieces`: where a rank's pieces of those tensors lie in its shard, as views. It works on one rank's
data alone, so the same rule serves any number of ranks, and elements are only moved: every dtype survives bit for bit.
More ranks than there are units that a rule keeps together (`splits`) divide the rows of the parameter instead,
regardless of what they belong to.
Rules need no torch until they are given a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class ShardRule(Protocol):
    """The part of a mapping that knows the layout."""

    @property
    def axis(self) -> int | None: ...

    @property
    def padded(self) -> bool:
        """Whether the ranks together hold more rows than the Hugging Face tensor has (zeros at the end)."""

    def pieces(self, shard: Tensor) -> tuple[Tensor, ...]:
        """Views of `shard` whose elements, in order, are its pieces; leading dimensions may be split in several."""

    def splits(self, tensor_size: int) -> bool:
        """Whether that many ranks divide each tensor, and not the rows of the parameter."""


@dataclass(frozen=True, slots=True)
class Plain:
    """One parameter, one tensor of the same orientation."""

    axis: int | None
    padded: bool = False

    def pieces(self, shard: Tensor) -> tuple[Tensor, ...]:
        return (shard,)

    def splits(self, tensor_size: int) -> bool:
        return True


REPLICATED = Plain(axis=None)
ROW_PARALLEL = Plain(axis=1)  # the input dimension of a linear layer's [out, in] weight is divided
VOCABULARY = Plain(axis=0, padded=True)


@dataclass(frozen=True, slots=True)
class GatedMLPRule:
    """SwiGLU's two projections in one: each rank holds [its part of the gate; its part of the up projection]."""

    axis: int = 0
    padded: bool = False

    def pieces(self, shard: Tensor) -> tuple[Tensor, ...]:
        gate, up = shard.chunk(2)
        return gate, up

    def splits(self, tensor_size: int) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class FusedQKVRule:
    """Attention's three projections in one, by query group: [its query heads, its key head, its value head] × groups.

    Tensor parallelism divides whole groups. With more ranks than groups Megatron divides the rows evenly, and its
    attention gathers what they produce: keys and values are replicated as activations, never as weights, so gradients,
    their norm and the optimizer need no correction. Serves weights `[out, in]` and biases `[out]`.
    """

    groups: int
    queries_per_group: int
    head_dim: int
    axis: int = 0
    padded: bool = False

    def pieces(self, shard: Tensor) -> tuple[Tensor, ...]:
        heads = [self.queries_per_group, 1, 1]
        return shard.unflatten(0, (-1, sum(heads), self.head_dim)).split(heads, dim=1)

    def splits(self, tensor_size: int) -> bool:
        return self.groups % tensor_size == 0
