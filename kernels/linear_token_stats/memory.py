"""Upper bounds, in bytes, on the memory of a call beyond its inputs and its results (outputs and gradients)."""

from __future__ import annotations

from dataclasses import dataclass

from prorl_kernels.linear_token_stats.matmul import LEAST_ROWS


@dataclass(kw_only=True, slots=True, frozen=True)
class Sizes:
    """The sizes of one call on one rank. The bounds hold for the chunked implementation; the fused one needs less."""

    tokens: int  # N, without ignored rows
    width: int
    columns: int  # on this rank, without padding
    ref_width: int = 0  # 0 without a reference
    itemsize: int = 4  # bytes per input number, 2 or 4
    ranks: int = 1
    sequence_parallel: bool = False
    converts: bool = False  # 16-bit inputs on a CPU, or inputs of several dtypes: factors of products become fp32
    softcap: bool = False
    selects: bool = False  # ignored rows, or rows without upstream gradient: the others are copied
    chunk_bytes: int = 16 << 20
    cache_bytes: int = 0

    @property
    def statistics(self) -> int:
        """The statistics of all tokens, once."""
        return 4 * self.tokens * (9 if self.ref_width else 4)

    @property
    def between(self) -> int:
        """Memory from forward to backward: three or six numbers per token, and logits within the budget or one tile."""
        only_tile = self.tile * (2 if self.ref_width else 1) if self.columns <= 4096 else 0
        return 4 * self.tokens * (6 if self.ref_width else 3) + max(self.cache_bytes, only_tile)

    @property
    def tile(self) -> int:
        """The bytes of a tile, one number per logit: all rows, until the forward pass's tensors fill `chunk_bytes`."""
        return min(4 * self.tokens * min(self.columns, 4096), self.chunk_bytes // self._tensors)

    @property
    def forward(self) -> int:
        """Statistics, their merge over tiles and ranks, tiles, and `between`."""
        merges = (4 + (2 * self.ranks if self.ranks > 1 else 0)) * self.statistics
        return self._tensors * self.tile + merges + 64 * self.tokens + self._rows_and_columns + self.between

    @property
    def backward(self) -> int:
        """Tiles, the sum for d_hidden in fp32 and a block of the product for either gradient.

        That block is as large as the gradient of the logits and its transpose, or has 128 rows if these are more.
        """
        tiles = (3 + self.softcap) * self.tile + 4 * LEAST_ROWS * self.width
        sums = 4 * self.tokens * self.width * (2 + self.sequence_parallel)
        casts = 4 * self.width * min(self.columns, 4096) if self.itemsize < 4 else 0
        return tiles + sums + casts + 160 * self.tokens + self._rows_and_columns

    @property
    def _tensors(self) -> int:
        """Number of tensors of a tile's size that the forward pass needs."""
        return (4 if self.ref_width else 2) + self.softcap

    @property
    def _rows_and_columns(self) -> int:
        """Copies of inputs: gathered, selected, converted."""
        widths = self.width + self.ref_width
        copies = self.selects + self.sequence_parallel
        converted = 4 * widths * (self.tokens + min(self.columns, 4096)) if self.converts else 0
        return copies * self.itemsize * self.tokens * widths + converted
