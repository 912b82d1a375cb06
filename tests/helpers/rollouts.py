"""A small engine on a tiny checkpoint, and Hugging Face's opinion of what it sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers.tiny import tiny_checkpoint
from safetensors.torch import load_file
from torch import Tensor

from prorl_mega.config.schema import Precision, RolloutConfig
from prorl_mega.protocols import Finished
from prorl_mega.rollout.engine import VllmRollout
from prorl_mega.types import Completion

VOCABULARY, VALID_VOCABULARY = 259, 250  # the last nine rows of the output projection are padding
EOS = 2
ENDS = (EOS, 5)  # each ends a sample
TEMPERATURE = 1.2
SETTINGS = RolloutConfig(max_prompt_tokens=24, max_response_tokens=20, max_concurrent=32)


def engine_checkpoint(directory: Path, family: str, *, seed: int = 0) -> Path:
    """A tiny checkpoint with heads of the smallest size that vLLM's attention on a CPU has."""
    heads = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 2}
    if family == "qwen3":
        heads |= {"num_attention_heads": 4, "head_dim": 32}
    if family == "mistral":
        heads |= {"sliding_window": 64}  # longer than a sequence: full attention
    return tiny_checkpoint(directory, family, seed=seed, vocab_size=VOCABULARY, eos_token_id=EOS, **heads)


def start_rollout(checkpoint: Path, *, tensor: int = 1, seed: int = 1) -> VllmRollout:
    config = RolloutConfig(
        tensor=tensor,
        max_prompt_tokens=SETTINGS.max_prompt_tokens,
        max_response_tokens=SETTINGS.max_response_tokens,
        max_concurrent=SETTINGS.max_concurrent,
    )
    return VllmRollout(
        checkpoint,
        config,
        precision=Precision.fp32,
        valid_vocab=VALID_VOCABULARY,
        end_ids=ENDS,
        seed=seed,
    )


def checkpoint_tensors(checkpoint: Path) -> dict[str, Tensor]:
    return load_file(checkpoint / "model.safetensors")


def stream(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return iter(tensors.items())


def some_prompts(count: int = 5, *, seed: int = 0) -> list[np.ndarray]:
    """Prompts of different lengths, up to the longest that is allowed."""
    random = np.random.default_rng(seed)
    lengths = [SETTINGS.max_prompt_tokens, *random.integers(1, SETTINGS.max_prompt_tokens, count - 1)]
    return [random.integers(3, VALID_VOCABULARY, length).astype(np.int32) for length in lengths]


def some_seeds(prompts: int, samples: int, *, first: int = 0) -> list[list[int]]:
    return [[first + prompt * samples + sample for sample in range(samples)] for prompt in range(prompts)]


def huggingface_error(
    tensors: dict[str, Tensor], checkpoint: Path, prompts: Sequence[np.ndarray], completions: list[list[Completion]]
) -> float:
    """Largest difference between an engine's log-probabilities and those of Hugging Face with weights `tensors`."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tied = {"lm_head.weight": tensors["model.embed_tokens.weight"]} | tensors
    model.load_state_dict(tied)
    worst = 0.0
    for prompt, group in zip(prompts, completions, strict=True):
        for completion in group:
            ids = torch.from_numpy(np.concatenate([prompt, completion.tokens]).astype(np.int64))
            with torch.no_grad():
                logits = model(ids[None]).logits[0, len(prompt) - 1 : -1, :VALID_VOCABULARY]
            expected = (logits / TEMPERATURE).log_softmax(-1).gather(-1, ids[len(prompt) :, None])[:, 0]
            worst = max(worst, float((expected - torch.from_numpy(completion.logprobs)).abs().max()))
    return worst


def steps_of(rollout: VllmRollout, prompts: list[np.ndarray], seeds: list[list[int]], **changes: Any) -> list[Finished]:
    """What each decoding step of `generate` yields, with one sample per seed."""
    settings = {"samples": len(seeds[0]), "temperature": TEMPERATURE, "top_p": 1.0, "max_tokens": None} | changes
    return list(rollout.generate(prompts, seeds=seeds, **settings))


def by_prompt(steps: list[Finished], prompts: int) -> list[list[Completion]]:
    """The completions of all steps, in the order of the prompts and of their seeds."""
    ended = dict(each for finished in steps for each in finished)
    samples = len(ended) // prompts
    return [[ended[prompt * samples + sample] for sample in range(samples)] for prompt in range(prompts)]


@contextmanager
def held_weights(rollout: VllmRollout) -> Iterator[dict[str, Tensor]]:
    """After the block: what this rank's engine computes with, by vLLM's parameter names.

    On a CPU, weights of projections disappear into a packed form when they are loaded; they are copied on their way.
    """
    import vllm.model_executor.layers.utils as layers

    packed: dict[int, Tensor] = {}
    held: dict[str, Tensor] = {}
    pack = layers.dispatch_cpu_unquantized_gemm

    def record(layer: torch.nn.Module, remove_weight: bool) -> None:
        packed[id(layer)] = layer.weight.detach().clone()
        pack(layer, remove_weight=remove_weight)

    def collect(model: torch.nn.Module) -> None:
        held.update((name, parameter.detach().clone()) for name, parameter in model.named_parameters())
        held.update((f"{name}.weight", packed[id(each)]) for name, each in model.named_modules() if id(each) in packed)

    layers.dispatch_cpu_unquantized_gemm = record
    try:
        yield held
    finally:
        layers.dispatch_cpu_unquantized_gemm = pack
    rollout._engine.apply_model(collect)


def shard_of(name: str, tensors: dict[str, Tensor], *, rank: int, size: int) -> Tensor:
    """What rank `rank` of an engine of `size` has to hold as `name`, cut from a checkpoint's tensors."""
    *path, module, kind = name.split(".")
    fused = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    pieces = [tensors[".".join([*path, part, kind])] for part in fused.get(module, (module,))]
    if "norm" in module:
        return pieces[0]
    if module in ("embed_tokens", "lm_head"):
        rows = -(-VOCABULARY // 64) * 64 // size  # vLLM pads the vocabulary to a multiple of 64
        return pieces[0][rank * rows : (rank + 1) * rows]
    return torch.cat([piece.chunk(size, dim=1 if module in ("o_proj", "down_proj") else 0)[rank] for piece in pieces])
