"""The contents of a Hugging Face directory, from its JSON files and safetensors headers. Imports no torch.

Everything that can be refused is refused here, on a login node, before a process group or a tensor exists.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from prorl_mega.errors import ModelError
from prorl_mega.families.family import Family, Llama3Scaling, ModelDescription
from prorl_mega.families.registry import FAMILIES
from prorl_mega.plugins import load

_HEADER_LIMIT = 100 * 2**20  # bytes; the format's own bound on a safetensors header


def describe(path: str | Path, family: str | None = None) -> ModelDescription:
    """Read `config.json` of a Hugging Face directory; `family` is `model.family`, for one that is not built in.

    Raises `ModelError` for a directory or file that is missing or half-written, and for every architecture or option
    that the learner cannot reproduce exactly.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise ModelError(f"{directory}: no such directory; model.path must be a Hugging Face directory on this machine")
    file = directory / "config.json"
    config = _read_json(file)
    of = _family(config, file, family)
    _refuse_unsupported(config, of, file)
    heads = _integer(config, "num_attention_heads", file)
    hidden = _integer(config, "hidden_size", file)
    kv_heads = _integer(config, "num_key_value_heads", file, heads if of.may_lack_kv_heads else None)
    if heads % kv_heads:
        raise ModelError(f"{file}: num_attention_heads={heads} is not a multiple of num_key_value_heads={kv_heads}")
    head_dim = _integer(config, "head_dim", file, of.head_dim or hidden // heads)
    if head_dim % 2:
        raise ModelError(f"{file}: head_dim={head_dim} must be even for rotary positions")
    theta, scaling = _rope(config, file)
    return ModelDescription(
        family=of,
        layers=_integer(config, "num_hidden_layers", file),
        hidden_size=hidden,
        ffn_size=_integer(config, "intermediate_size", file),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=_integer(config, "vocab_size", file),
        max_positions=_integer(config, "max_position_embeddings", file),
        rope_theta=theta,
        rope_scaling=scaling,
        norm_eps=_number(config, "rms_norm_eps", file),
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
    )


def check_layout(description: ModelDescription, tensor: int, pipeline: int) -> None:
    """Raise `ModelError` unless the model can be cut into `tensor` × `pipeline` equal parts."""
    parts = {
        "attention heads": description.heads,
        "key/value heads": description.kv_heads,
        "intermediate_size": description.ffn_size,
    }
    for name, size in parts.items():
        if tensor < 1 or size % tensor:
            works = [n for n in range(1, description.kv_heads + 1) if not any(part % n for part in parts.values())]
            raise ModelError(
                f"parallel.tensor={tensor} does not divide the model's {name} ({size}); these work: {_listed(works)}"
            )
    if pipeline < 1 or description.layers % pipeline:
        works = [n for n in range(1, description.layers + 1) if description.layers % n == 0]
        raise ModelError(
            f"parallel.pipeline={pipeline} does not divide the model's {description.layers} layers; "
            f"these work: {_listed(works)}"
        )


def check_weights_complete(path: str | Path) -> None:
    """Raise `ModelError` unless the directory has safetensors files that are whole and cover their index.

    Only headers are read, so this is quick for checkpoints of any size.
    """
    directory = Path(path)
    index = directory / "model.safetensors.index.json"
    single = directory / "model.safetensors"
    if index.exists():
        weight_map = _read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ModelError(f"{index}: has no weight_map; the file is incomplete, copy the checkpoint again")
        for file_name in sorted(set(weight_map.values())):
            if Path(file_name).name != file_name:
                raise ModelError(f"{index}: {file_name!r} is not a plain file name in this directory")
            present = _tensor_names(directory / file_name)
            wanted = {tensor for tensor, holder in weight_map.items() if holder == file_name}
            if lacking := sorted(wanted - present):
                raise ModelError(
                    f"{directory / file_name}: lacks {lacking[0]} and {len(lacking) - 1} more of its index"
                )
    elif single.exists():
        _tensor_names(single)
    elif pickled := sorted(directory.glob("*.bin")) + sorted(directory.glob("*.pt")) + sorted(directory.glob("*.pth")):
        raise ModelError(
            f"{pickled[0]}: pickled weights are refused because loading them can run code; "
            "convert the checkpoint to safetensors"
        )
    else:
        raise ModelError(f"{directory}: has neither model.safetensors nor model.safetensors.index.json")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file}: missing; the directory is not a complete Hugging Face checkpoint") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: not valid JSON ({error}); the file is half-written or damaged") from None
    if not isinstance(content, dict):
        raise ModelError(f"{file}: must hold a JSON object")
    return content


def _family(config: dict[str, Any], file: Path, reference: str | None) -> Family:
    known = FAMILIES
    if reference is not None:
        given: Family = load(reference, what="model family", key="model.family", kind=Family)
        known = {given.architecture: given}
    works = f"these work: {', '.join(known)}"
    if "auto_map" in config:
        raise ModelError(f"{file}: auto_map asks for code from the checkpoint, which is never run; {works}")
    names = config.get("architectures") or []
    if len(names) != 1 or names[0] not in known:
        more = "" if reference else "; model.family names a file for another one (examples/my_family.py)"
        raise ModelError(f"{file}: architectures={names} is not supported; {works}{more}")
    return known[names[0]]


def _refuse_unsupported(config: dict[str, Any], family: Family, file: Path) -> None:
    """Refuse options that change the arithmetic and that the learner does not have."""
    layer_types = set(config.get("layer_types") or ["full_attention"])
    window = "use_sliding_window" if family.window_has_switch else "sliding_window"
    if config.get(window) or layer_types != {"full_attention"}:
        raise ModelError(f"{file}: sliding-window attention is not supported; only full attention works")
    for key in ("attention_bias", "mlp_bias"):
        if config.get(key):
            raise ModelError(f"{file}: {key}=true is not supported; only models without these biases work")
    if config.get("hidden_act", "silu") != "silu":
        raise ModelError(f"{file}: hidden_act={config['hidden_act']!r} is not supported; only 'silu' works")
    if config.get("quantization_config"):
        raise ModelError(f"{file}: quantized weights cannot be trained; use the unquantized checkpoint")


def _rope(config: dict[str, Any], file: Path) -> tuple[float, Llama3Scaling | None]:
    """RoPE's base and scaling, as `rope_parameters` (transformers 5) or as `rope_theta` and `rope_scaling`."""
    rope = {"rope_theta": config.get("rope_theta", 10000.0)}
    rope |= config.get("rope_scaling") or {}
    rope |= config.get("rope_parameters") or {}
    if float(rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))) != 1.0:
        raise ModelError(f"{file}: partial_rotary_factor is not supported; only whole-head rotation works")
    kind = rope.get("rope_type", rope.get("type", "default"))
    theta = _number(rope, "rope_theta", file)
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise ModelError(f"{file}: RoPE scaling {kind!r} is not supported; 'default' and 'llama3' work")
    return theta, Llama3Scaling(
        factor=_number(rope, "factor", file),
        low_freq_factor=_number(rope, "low_freq_factor", file),
        high_freq_factor=_number(rope, "high_freq_factor", file),
        original_max_positions=_integer(rope, "original_max_position_embeddings", file),
    )


def _integer(config: dict[str, Any], key: str, file: Path, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if value is None:
        raise ModelError(f"{file}: lacks {key}; the file is incomplete")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"{file}: {key}={value!r} must be a positive integer")
    return value


def _number(config: dict[str, Any], key: str, file: Path) -> float:
    value = config.get(key)
    if value is None:
        raise ModelError(f"{file}: lacks {key}; the file is incomplete")
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ModelError(f"{file}: {key}={value!r} must be a positive number")
    return float(value)


def _tensor_names(file: Path) -> set[str]:
    """Names in a safetensors header; raises when the file's size is not what the header promises."""
    if not file.exists():
        raise ModelError(f"{file}: missing, although the index of the checkpoint names it")
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > min(_HEADER_LIMIT, size - 8):
            raise ModelError(f"{file}: truncated or not a safetensors file ({size} bytes)")
        header = stream.read(length)
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        expected = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise ModelError(f"{file}: its safetensors header is damaged; copy the file again") from None
    if size != expected:
        raise ModelError(f"{file}: has {size} bytes but its header promises {expected}; copy the file again")
    return set(tensors)


def _listed(values: list[int]) -> str:
    return ", ".join(str(value) for value in values)
