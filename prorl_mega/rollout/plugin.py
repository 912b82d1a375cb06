"""vLLM's entry point into this project (`vllm.general_plugins` in setup.py): it makes our weight transfer known.

vLLM calls it in each of its processes, also in those of others on a machine where this project is installed, so it
does nothing else.
"""

from __future__ import annotations

import contextlib

PLUGIN = "prorl_mega"
"""The name of the entry point, for VLLM_PLUGINS, and of the backend, for `WeightTransferConfig`."""


def register() -> None:
    """Add the backend to vLLM's registry. Idempotent."""
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory

    with contextlib.suppress(ValueError):  # it is there: vLLM loads plugins more than once
        WeightTransferEngineFactory.register_engine(PLUGIN, "prorl_mega.rollout.transfer_engine", "BucketEngine")
