"""The functions of a forward pass whose result for a token depends on that token and those before it alone, to the bit:
not on what else is in the batch, nor on whether keys and values were computed now or long ago. For fp32 on a CPU.

The sampler computes a sequence token by token among others, the learner all of it at once. With these functions on both
sides (`rollout.batch_invariant`) the two agree exactly.
"""

from __future__ import annotations

import torch

from prorl_mega.errors import ConfigError


def check_exact(dtype: torch.dtype) -> None:
    """Raise ConfigError if models in `dtype` cannot be computed this way on this machine's CPU."""
    if dtype is not torch.float32:
        raise ConfigError(
            f"rollout.batch_invariant=true on a CPU is there for fp32, and the model is in {str(dtype)[6:]}; "
            "model.precision=fp32 works"
        )
    if not torch.backends.mkldnn.is_available():
        raise ConfigError(
            "rollout.batch_invariant=true on a CPU needs a torch with oneDNN, as PyTorch's own builds are"
        )
