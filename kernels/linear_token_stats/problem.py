"""One projection and how it is cut into tiles of `[rows, columns]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(kw_only=True, slots=True, frozen=True)
class TileSize:
    """The size of an implementation's tiles."""

    columns: int  # the same for any number of rows, and so are the results
    bytes_per_logit: int  # summed over all tensors of a tile's size that are alive at once


@dataclass(kw_only=True, slots=True, frozen=True)
class Projection:
    """The tensors that make logits, and the statistics of them."""

    hidden: Tensor  # [rows, d]
    weight: Tensor  # [columns, d]
    targets: Tensor  # [rows], relative to the first column
    inverse_temperature: Tensor | None = None  # [rows]
    softcap: float | None = None
    ref_hidden: Tensor | None = None  # [rows, d_ref]
    ref_weight: Tensor | None = None  # [columns, d_ref]

    def of_rows(self, pick: Callable[[Tensor], Tensor]) -> Self:
        """The same for some rows: `pick` takes them from a tensor whose first dimension is rows."""
        names = ("hidden", "targets", "inverse_temperature", "ref_hidden")
        found = {name: getattr(self, name) for name in names}
        return replace(self, **{name: pick(each) for name, each in found.items() if each is not None})


@dataclass(kw_only=True, slots=True, frozen=True)
class TiledProblem(Projection):
    """Input of the implementations. Rows that need nothing and columns that are padding have been left out."""

    dtype: torch.dtype  # for accumulation
    tile: TileSize
    chunk_bytes: int
    batch_invariant: bool = False  # of the statistics

    @property
    def tile_columns(self) -> int:
        """Columns per tile, equal in both passes, reference or not: cached logits count from the maximum of a tile."""
        return max(1, min(len(self.weight), self.tile.columns, self.chunk_bytes // (5 * self.dtype.itemsize)))

    @property
    def tile_rows(self) -> int:
        """Rows per tile: `chunk_bytes` have to hold all tensors of a tile that are alive at once."""
        return max(1, min(len(self.hidden), self.chunk_bytes // (self.tile.bytes_per_logit * self.tile_columns)))

    @property
    def is_one_tile(self) -> bool:
        return self.tile_columns >= len(self.weight) and self.tile_rows >= len(self.hidden)

    def inverse_temperature_of(self, rows: slice) -> Tensor | None:
        return None if self.inverse_temperature is None else self.inverse_temperature[rows]

    @property
    def operand(self) -> torch.dtype:
        """The dtype of factors of matrix products. Tensor cores multiply 16-bit factors into fp32 sums; a CPU is as
        fast, and exact, in fp32."""
        return self.hidden.dtype if self.hidden.is_cuda and self.hidden.dtype == self.weight.dtype else self.dtype

    @property
    def ref_operand(self) -> torch.dtype:
        assert self.ref_hidden is not None
        assert self.ref_weight is not None
        native = self.ref_hidden.is_cuda and self.ref_hidden.dtype == self.ref_weight.dtype
        return self.ref_hidden.dtype if native else self.dtype

    def columns(self) -> Iterator[slice]:
        """Column tiles, from left to right."""
        yield from _slices(0, len(self.weight), self.tile_columns)

    def rows(self, split: int = 0) -> Iterator[slice]:
        """Row tiles, none of them across row `split`."""
        yield from _slices(0, split, self.tile_rows)
        yield from _slices(split, len(self.hidden), self.tile_rows)

    def select(self, index: Tensor) -> TiledProblem:
        """The rows `index`, copied; the same problem when these are all."""
        return self if len(index) == len(self.hidden) else self.of_rows(lambda tensor: tensor.index_select(0, index))


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
