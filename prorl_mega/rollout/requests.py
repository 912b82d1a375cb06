"""vLLM requests from prompts, and checked completions from vLLM's outputs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from prorl_mega.errors import DataError, RolloutError
from prorl_mega.types import Completion, FinishReason

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


def check_prompts(prompts: Sequence[np.ndarray], *, max_tokens: int, valid_vocab: int, first: int = 0) -> None:
    """Raise `DataError` for a prompt that is empty, too long or holds an invalid token id; they count from `first`."""
    for index, prompt in enumerate(prompts, first):
        if len(prompt) == 0:
            raise DataError(f"prompt {index} is empty; an engine needs at least one token to go on from")
        if len(prompt) > max_tokens:
            raise DataError(
                f"prompt {index} has {len(prompt)} tokens and rollout.max_prompt_tokens is "
                f"{max_tokens}; raise the setting or leave the problem out"
            )
        if prompt.min() < 0 or prompt.max() >= valid_vocab:
            raise DataError(
                f"prompt {index} holds token {prompt.max() if prompt.min() >= 0 else prompt.min()}; "
                f"the tokenizer has ids 0 to {valid_vocab - 1}"
            )


def sampling_params(*, temperature: float, top_p: float, max_tokens: int, end_ids: list[int]) -> Any:
    """`vllm.SamplingParams` of a sample, but for its seed: token ids and their own log-probabilities, nothing else."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        ignore_eos=True,
        stop_token_ids=end_ids,  # each ends the sample and stays in it
        logprobs=0,  # of the sampled token only
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,  # made for one request; a deep copy of each costs more than the request itself
    )


def seeded(params: Any, seed: int) -> Any:
    """A copy of the parameters for one sample. Making and checking them anew takes a hundred times as long."""
    params = copy.copy(params)
    params.seed = seed
    return params


def read_output(output: Any, *, valid_vocab: int, version: int) -> tuple[int, Completion]:
    """The index and completion in a finished `vllm.RequestOutput`. Raises `RolloutError` for an invalid one."""
    sampled = output.outputs[0]
    if sampled.finish_reason not in _FINISH:
        raise RolloutError(f"sample {output.request_id} ended with {sampled.finish_reason!r} instead of stop or length")
    tokens = np.asarray(sampled.token_ids, dtype=np.int32)
    logprobs = np.asarray(sampled.logprobs.logprobs, dtype=np.float32)
    if len(tokens) == 0 or len(tokens) != len(logprobs):
        raise RolloutError(f"sample {output.request_id} has {len(tokens)} tokens and {len(logprobs)} log-probabilities")
    if not np.isfinite(logprobs).all():
        where = int(np.flatnonzero(~np.isfinite(logprobs))[0])
        raise RolloutError(
            f"token {where} of sample {output.request_id} has log-probability {logprobs[where]}; "
            "the engine's weights are not finite, or the model overflows in this precision"
        )
    if tokens.min() < 0 or tokens.max() >= valid_vocab:
        raise RolloutError(
            f"sample {output.request_id} holds token {tokens.max()}; the tokenizer has {valid_vocab} ids"
        )
    finish = _FINISH[sampled.finish_reason]
    return int(output.request_id), Completion(tokens=tokens, logprobs=logprobs, finish=finish, version=version)
