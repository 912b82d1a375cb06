"""The call that vLLM's workers answer beyond their own. vLLM imports this module by its qualified name."""

from __future__ import annotations

from typing import Any


class WeightReceipts:
    """A mixin of vLLM's workers on every platform."""

    weight_transfer_engine: Any

    def weight_receipt(self) -> dict[str, Any]:
        """The contents of the last finished update: `{"digest": 32 characters, "tensors": count}`; empty before."""
        engine = self.weight_transfer_engine
        return {} if engine is None else dict(engine.receipt)
