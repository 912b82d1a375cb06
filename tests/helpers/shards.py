"""Small checkpoints and the shards that Megatron makes of them, without Megatron."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file

from prorl_mega.families.family import ModelDescription
from prorl_mega.huggingface.config import describe
from prorl_mega.types import ParallelLayout

SIZES = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 4,
    "vocab_size": 67,  # no tensor size divides it
}
CHECKPOINTS = [(family, tied) for family in ("llama3", "qwen2", "qwen3") for tied in (False, True)]
CHECKPOINTS += [("mistral", False), ("phi3", False), ("qwen2_few", False)]  # few: key/value heads
MY_FAMILY = str(Path(__file__).parents[2] / "examples" / "my_family.py") + ":MISTRAL"


def write_checkpoint(directory: Path, family: str, *, tied: bool) -> Path:
    """A checkpoint that four tensor ranks and two stages can share."""
    from helpers.tiny import tiny_checkpoint  # imports transformers, which ranks that only read have no use for

    few = {"num_key_value_heads": 2} if family.endswith("_few") else {}
    return tiny_checkpoint(directory, family.removesuffix("_few"), tie_word_embeddings=tied, **SIZES | few)


def described(directory: Path) -> ModelDescription:
    return describe(directory)


def read_checkpoint(directory: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in directory.glob("*.safetensors") for name, tensor in load_file(file).items()}


def layouts(tensor: int, pipeline: int, data: int = 1) -> Iterator[ParallelLayout]:
    """The layout of every rank, in rank order: tensor fastest, then data, then pipeline."""
    world = tensor * pipeline * data
    for rank in range(world):
        yield ParallelLayout(
            world_size=world, rank=rank, tensor_size=tensor, tensor_rank=rank % tensor, pipeline_size=pipeline,
            pipeline_rank=rank // (tensor * data), data_size=data, data_rank=rank // tensor % data,
        )  # fmt: skip


def empty_shards(
    model: ModelDescription, layout: ParallelLayout, dtype: torch.dtype = torch.float32, *, fused_norms: bool = False
) -> dict[str, torch.Tensor]:
    """One rank's parameters, all NaN, with the names and shapes of Megatron's layers, written down by hand."""
    tp, hidden = layout.tensor_size, model.hidden_size
    rows = -(-model.vocab_size // (4 * tp)) * 4  # a rank's, padded
    group = (model.heads // model.kv_heads + 2) * model.head_dim
    first, last = layout.pipeline_rank == 0, layout.pipeline_rank == layout.pipeline_size - 1
    shapes: dict[str, tuple[int, ...]] = {}
    if first:
        shapes["embedding.word_embeddings.weight"] = (rows, hidden)
    per_stage = model.layers // layout.pipeline_size
    for layer in range(layout.pipeline_rank * per_stage, (layout.pipeline_rank + 1) * per_stage):
        attention, mlp = "self_attention.linear_qkv", "mlp.linear_fc1"
        names = {
            f"{attention}.layer_norm_weight" if fused_norms else "input_layernorm.weight": (hidden,),
            f"{attention}.weight": (model.kv_heads * group // tp, hidden),
            "self_attention.linear_proj.weight": (hidden, model.heads * model.head_dim // tp),
            f"{mlp}.layer_norm_weight" if fused_norms else "pre_mlp_layernorm.weight": (hidden,),
            f"{mlp}.weight": (2 * model.ffn_size // tp, hidden),
            "mlp.linear_fc2.weight": (hidden, model.ffn_size // tp),
        }
        if model.qkv_bias:
            names[f"{attention}.bias"] = (model.kv_heads * group // tp,)
        if model.qk_norm:
            names |= dict.fromkeys(
                ("self_attention.q_layernorm.weight", "self_attention.k_layernorm.weight"), (model.head_dim,)
            )
        shapes |= {f"decoder.layers.{layer}.{name}": shape for name, shape in names.items()}
    if last:
        shapes["decoder.final_layernorm.weight"] = (hidden,)
        if not (model.tied_embeddings and first):
            shapes["output_layer.weight"] = (rows, hidden)
    return {name: torch.full(shape, torch.nan, dtype=dtype) for name, shape in shapes.items()}
