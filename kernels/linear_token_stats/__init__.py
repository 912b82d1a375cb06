"""Log-probability and entropy per token from hidden states and the output projection, without a logits tensor."""

from prorl_kernels.linear_token_stats.op import linear_token_stats
from prorl_kernels.linear_token_stats.stats import TokenStats

__all__ = ["TokenStats", "linear_token_stats"]
