"""vLLM's model on a CPU with the functions of `prorl_mega.invariant`, which the learner computes with as well.

vLLM's own mode (`VLLM_BATCH_INVARIANT`) is for GPUs. Here the modules of a loaded model are given other functions, one
instance at a time, and the sampler the learner's way to log-probabilities.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.logprobs import log_probabilities
from prorl_mega.errors import RolloutError
from prorl_mega.invariant.attention import attend
from prorl_mega.invariant.gate import gated
from prorl_mega.invariant.norm import rms_norm
from prorl_mega.invariant.product import product
from prorl_mega.invariant.rotary import turned

SETTING = "batch_invariant"  # in vLLM's `additional_config`


@contextlib.contextmanager
def weights_unpacked() -> Iterator[None]:
    """A block in which vLLM loads a model and leaves its weights as they are, instead of packing them."""
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

    with contextlib.ExitStack() as restoring:
        for method in (UnquantizedLinearMethod, UnquantizedEmbeddingMethod):
            pack = method.process_weights_after_loading
            restoring.callback(setattr, method, "process_weights_after_loading", pack)
            method.process_weights_after_loading = lambda self, layer: None
        yield


def make_batch_invariant(runner: Any) -> None:
    """Change the model and the sampler of vLLM's `runner`, loaded with `weights_unpacked`. Raises RolloutError for a
    module that is not known here."""
    from vllm.model_executor.layers.activation import SiluAndMul
    from vllm.model_executor.layers.attention import Attention
    from vllm.model_executor.layers.layernorm import RMSNorm
    from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
    from vllm.model_executor.layers.rotary_embedding import RotaryEmbedding
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod, VocabParallelEmbedding

    for name, module in runner.model.named_modules():
        match module:
            case LinearBase(quant_method=UnquantizedLinearMethod()):
                module.quant_method = _unpacked(UnquantizedLinearMethod)()
            case VocabParallelEmbedding(quant_method=UnquantizedEmbeddingMethod()):  # the output projection is one
                module.quant_method = _unpacked(UnquantizedEmbeddingMethod)()
            case RMSNorm(variance_size_override=None, has_weight=True):
                module._forward_method = partial(_norm, module)
            case RotaryEmbedding(is_neox_style=True):
                module._forward_method = partial(_rotary, module)
            case SiluAndMul():
                module._forward_method = gated
            case Attention(impl=impl) if _is_plain(impl):
                impl.do_kv_cache_update = _keep
                impl.forward = partial(_attention, impl)
            case _ if next(module.children(), None) is None and next(module.parameters(False), None) is not None:
                raise RolloutError(
                    f"rollout.batch_invariant=true: {name} is a {type(module).__name__}, which it does not know; "
                    "rollout.batch_invariant=false works"
                )
    sampler = runner.sampler
    sampler.apply_temperature = _apply_temperature
    choose = sampler.topk_topp_sampler.forward
    sampler.topk_topp_sampler.forward = partial(_choose, choose, runner.model)


def _unpacked(method: type) -> type:
    """A quantization method whose weights stay as they are, and whose product is ours."""

    class Unpacked(method):
        def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
            """Nothing is packed."""

        def apply(self, layer: torch.nn.Module, x: Tensor, bias: Tensor | None = None) -> Tensor:
            return product(x, layer.weight, bias)

    return Unpacked


def _norm(module: Any, x: Tensor, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
    if residual is None:
        return rms_norm(x, module.weight.data, module.variance_epsilon)
    total = x + residual
    return rms_norm(total, module.weight.data, module.variance_epsilon), total


def _rotary(module: Any, positions: Tensor, query: Tensor, key: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    cosines, sines = module.cos_sin_cache.index_select(0, positions.flatten()).unsqueeze(1).chunk(2, dim=-1)
    both = torch.cat((cosines, cosines), -1), torch.cat((-sines, sines), -1)

    def of_heads(x: Tensor) -> Tensor:
        return turned(x.view(len(x), -1, module.head_size), *both).view_as(x)

    return of_heads(query), None if key is None else of_heads(key)


def _is_plain(impl: Any) -> bool:
    """Whether attention has nothing but a scale and a causal mask. A sliding window bounds the length elsewhere."""
    return impl.logits_soft_cap == 0 and impl.alibi_slopes is None and impl.sinks is None


def _keep(layer: Any, key: Tensor, value: Tensor, kv_cache: Tensor, slots: Tensor) -> None:
    """vLLM's `AttentionImpl.do_kv_cache_update`. Keys and values `[tokens, kv_heads, head_dim]` stand in the cache
    `[blocks, kv_heads, block_size, 2 * head_dim]` as they are, one beside the other."""
    width, size = key.shape[-1], kv_cache.shape[2]
    tokens = (slots >= 0).nonzero().squeeze(1)  # the others are padding of the batch
    blocks, places = slots[tokens] // size, slots[tokens] % size
    kv_cache[blocks, :, places, :width] = key[tokens]
    kv_cache[blocks, :, places, width:] = value[tokens]


def _attention(
    impl: Any, layer: Any, query: Tensor, key: Tensor, value: Tensor, kv_cache: Tensor, about: Any, output: Tensor,
    **others: Any,
) -> Tensor:  # fmt: skip
    """vLLM's `AttentionImpl.forward`."""
    if about is None:  # vLLM tries the model without a batch
        return output
    width, size = key.shape[-1], kv_cache.shape[2]
    starts, lengths = about.query_start_loc.tolist(), about.seq_lens.tolist()
    for request, length in enumerate(lengths):
        first, last = starts[request], starts[request + 1]
        if first == last:
            continue
        used = about.block_table[request, : -(-length // size)]
        held = kv_cache[used].transpose(1, 2).flatten(0, 1)[:length]  # [tokens, kv_heads, 2 * head_dim]
        keys, values = held.split(width, dim=-1)
        output[first:last] = attend(query[first:last], keys, values, impl.scale).view_as(output[first:last])
    return output


def _apply_temperature(logits: Tensor, temperature: Tensor, all_random: bool) -> Tensor:
    return logits.mul_(temperature.double().reciprocal().to(logits.dtype).unsqueeze(1))


def _choose(
    choose: Callable[..., tuple[Tensor, Tensor | None]], model: Any, logits: Tensor, generators: Any, k: Any, p: Any
) -> tuple[Tensor, Tensor | None]:
    """vLLM's choice of tokens; the log-probabilities are the learner's, unless the distribution is truncated."""
    ours = log_probabilities(logits, model.valid_vocab) if k is None and p is None else None
    chosen, logprobs = choose(logits, generators, k, p)
    return chosen, logprobs if ours is None or logprobs is None else ours
