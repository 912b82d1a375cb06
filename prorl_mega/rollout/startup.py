"""Starting vLLM: its environment, its arguments, and an engine with random weights."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from prorl_mega.config.schema import Precision, RolloutConfig
from prorl_mega.errors import ModelError, ProRLError, RolloutError
from prorl_mega.garbage import collection_paused
from prorl_mega.invariant import check_exact
from prorl_mega.rollout.batch_invariance import SETTING
from prorl_mega.rollout.matmul import round_matmuls
from prorl_mega.rollout.sampled_logprobs import keep_sampled_logprobs_only

# Prompts share whole blocks of the cache. vLLM's 128 on a CPU is longer than most prompts of small models, and each of
# their samples would compute its prompt again; its attention there takes multiples of 32.
_CPU_BLOCK_TOKENS = 32
_CPU_PREFILL_TOKENS = 8192  # of one forward pass; more would only cost memory

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives in the learner's process
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # and shares its threads
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_PLUGINS": "",  # no installed plugins
    # A CPU's matrix products: compiled kernels of up to half a megabyte each, 1,024 by default.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "192",
}


def prepare_environment(config: RolloutConfig) -> None:
    """Set the variables that vLLM reads when it is imported, where the user has not set them."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if config.batch_invariant and torch.cuda.is_available():  # on a CPU it is ours: `batch_invariance.py`
        os.environ["VLLM_BATCH_INVARIANT"] = "1"


def start_engine(model: Path, config: RolloutConfig, *, precision: Precision, valid_vocab: int, seed: int) -> Any:
    """A `vllm.v1.engine.llm_engine.LLMEngine` with random weights. Raises `RolloutError` with vLLM's reason.

    Every rank of the job calls it together when `torch.distributed` is initialised; then consecutive
    `config.tensor` ranks form one engine.
    """
    prepare_environment(config)
    try:
        # What vLLM warns about at import, before it sets up logging, concerns its developers; its errors are raised.
        logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])
        with warnings.catch_warnings(), collection_paused():
            warnings.simplefilter("ignore")
            run_helpers_uncompiled()
            round_matmuls()
            keep_sampled_logprobs_only()
            from vllm.engine.arg_utils import EngineArgs
            from vllm.v1.engine.llm_engine import LLMEngine

            vllm_config = EngineArgs(**engine_arguments(model, config, precision, seed)).create_engine_config()
            _check_head_size(model, vllm_config.model_config.get_head_size())
            engine = LLMEngine.from_vllm_config(vllm_config, disable_log_stats=True)
    except ProRLError:
        raise
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        raise RolloutError(f"vLLM could not start an engine for {model}: {error}") from error
    engine.apply_model(lambda module: forbid_padding(module, valid_vocab))
    return engine


def engine_arguments(model: Path, config: RolloutConfig, precision: Precision, seed: int) -> dict[str, Any]:
    """The arguments of an engine: `vllm.EngineArgs` by name."""
    gpu = torch.cuda.is_available()
    half = precision is Precision.bf16 or (precision is Precision.auto and gpu)
    length = config.max_prompt_tokens + config.max_response_tokens
    arguments: dict[str, Any] = {
        "model": str(model),
        "skip_tokenizer_init": True,  # tokens in, tokens out
        "generation_config": "vllm",  # the model's own sampling defaults and stop tokens do not apply
        "load_format": "dummy",
        "dtype": "bfloat16" if half else "float32",
        "seed": seed,
        "tensor_parallel_size": config.tensor,
        "distributed_executor_backend": "external_launcher" if dist.is_initialized() else "uni",
        "max_model_len": length,
        "max_num_seqs": config.max_concurrent,
        "logprobs_mode": "processed_logprobs",
        "enable_prefix_caching": True,
        "enforce_eager": config.enforce_eager or not gpu,
    }
    if config.batch_invariant and not gpu:
        check_exact(torch.bfloat16 if half else torch.float32)
        arguments["additional_config"] = {SETTING: True}
    if config.speculative_tokens:
        arguments["speculative_config"] = {
            "method": "ngram",
            "num_speculative_tokens": config.speculative_tokens,
            "prompt_lookup_min": config.speculative_ngram,
            "prompt_lookup_max": config.speculative_ngram,
        }
    if gpu:
        return arguments | {"gpu_memory_utilization": config.gpu_memory_fraction, "enable_sleep_mode": True}
    return arguments | {
        "kv_cache_memory_bytes": config.cpu_kv_cache_gib << 30,
        "block_size": _CPU_BLOCK_TOKENS,
        # A prompt that is processed in parts makes vLLM rewind the sample's generator, which a CPU's cannot do.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(_CPU_PREFILL_TOKENS, length),
        "worker_cls": "prorl_mega.rollout.worker.ColocatedCPUWorker",
    }


def _check_head_size(model: Path, size: int) -> None:
    from vllm.platforms import current_platform
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    supported = CPUAttentionBackend.get_supported_head_sizes()
    if current_platform.is_cpu() and size not in supported:
        raise ModelError(
            f"{model}/config.json: attention heads of size {size}; vLLM's attention on a CPU has sizes "
            f"{', '.join(map(str, supported))}"
        )


def run_helpers_uncompiled() -> None:
    """Without a GPU, run vLLM's small helpers of the sampler as written.

    It compiles them with a C++ compiler, which takes seconds in the first call and which a plain machine does not have.
    """
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        type(current_platform).simple_compile_backend = "eager"


def forbid_padding(model: torch.nn.Module, valid_vocab: int) -> None:
    """Give no probability to rows of the output projection that are no token: they are -inf before the sampler."""

    model.valid_vocab = valid_vocab

    def mask(_module: torch.nn.Module, _inputs: Any, logits: torch.Tensor | None) -> torch.Tensor | None:
        if logits is not None:
            logits[..., valid_vocab:] = float("-inf")
        return logits

    model.get_submodule("logits_processor").register_forward_hook(mask)
