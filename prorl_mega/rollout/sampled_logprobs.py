"""vLLM's log-probabilities of sampled tokens, without what nobody reads of them.

For every token vLLM also ranks it among the whole vocabulary, sorts a list of no other candidates, and appends its id,
rank, text and place to five lists, one token of one sample at a time. On a small model all that takes 4 % of an
evaluation. A request for `logprobs=0` with `flat_logprobs` gets the log-probabilities here, the same bits, and no more;
other requests are left to vLLM.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gather = Callable[[Tensor, int, Tensor], Any]
Update = Callable[[Any, Any], None]


def keep_sampled_logprobs_only() -> None:
    """Make vLLM in this process do so. Idempotent."""
    from vllm.v1.engine.logprobs import LogprobsProcessor
    from vllm.v1.sample.sampler import Sampler

    gather: Gather = Sampler.gather_logprobs
    if not isinstance(gather, functools.partial):
        Sampler.gather_logprobs = staticmethod(functools.partial(_gather, gather))
        update: Update = LogprobsProcessor._update_sample_logprobs
        LogprobsProcessor._update_sample_logprobs = lambda self, found: _update(update, self, found)


def _gather(gather: Gather, logprobs: Tensor, num_logprobs: int, token_ids: Tensor) -> Any:
    """`vllm.v1.outputs.LogprobsTensors` of `token_ids` [samples] from `logprobs` [samples, vocabulary]; ranks are 0."""
    from vllm.v1.outputs import LogprobsTensors

    if num_logprobs:
        return gather(logprobs, num_logprobs, token_ids)
    ids = token_ids.unsqueeze(-1)
    return LogprobsTensors(ids.to(torch.int32), logprobs.gather(-1, ids), torch.zeros_like(token_ids))


def _update(update: Update, processor: Any, found: Any) -> None:
    """Keep what was found for one sample in one step: `logprobs` [tokens, 1]."""
    from vllm.logprobs import FlatLogprobs

    if processor.num_logprobs or not isinstance(processor.logprobs, FlatLogprobs):
        update(processor, found)
    else:
        processor.logprobs.logprobs.extend(found.logprobs[:, 0].tolist())
