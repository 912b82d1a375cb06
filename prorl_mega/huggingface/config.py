"""The model of a Hugging Face directory, from its config.json. Imports no torch.

Everything that can be refused is refused here, on a login node, before a process group or a tensor exists.
"""

from __future__ import annotations

from pathlib import Path

from prorl_mega.documents import brief
from prorl_mega.errors import ConfigError, ModelError
from prorl_mega.families.family import ExpertsDescription, Family, ModelDescription
from prorl_mega.families.registry import FAMILIES
from prorl_mega.families.rope import LongRopeScaling, RopeScaling, YarnScaling
from prorl_mega.huggingface.config_fields import refuse_other_arithmetic, unknown_fields
from prorl_mega.huggingface.config_file import ConfigFile
from prorl_mega.huggingface.rope import read_rope
from prorl_mega.plugins import load

_MOST_LAYERS, _MOST_HEADS = 4096, 1 << 14  # several times those of the largest models that were ever published
_WIDEST, _MOST_TOKENS = 1 << 20, 1 << 24


def describe(path: str | Path, family: str | None = None) -> ModelDescription:
    """Read `config.json` of a Hugging Face directory; `family` is `model.family`, for one that is not built in.

    Raises `ModelError` for a directory or file that is missing or half-written, and for every architecture or option
    that the learner cannot reproduce exactly.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise ModelError(f"{directory}: no such directory; model.path must be a Hugging Face directory on this machine")
    config = ConfigFile.read(directory / "config.json")
    of = _family(config, family)
    refuse_other_arithmetic(config, of)
    heads = config.integer("num_attention_heads", most=_MOST_HEADS)
    hidden = config.integer("hidden_size", most=_WIDEST)
    kv_heads = config.integer("num_key_value_heads", heads if of.may_lack_kv_heads else None, most=_MOST_HEADS)
    if heads % kv_heads:
        raise config.error(f"num_attention_heads={heads} is not a multiple of num_key_value_heads={kv_heads}")
    head_dim = config.integer("head_dim", of.head_dim or hidden // heads, most=_WIDEST)
    theta, rotary_dim, scaling = read_rope(config, of, head_dim)
    max_positions, bound_by = _positions(config, of, scaling)
    return ModelDescription(
        family=of,
        layers=config.integer("num_hidden_layers", most=_MOST_LAYERS),
        hidden_size=hidden,
        ffn_size=config.integer("intermediate_size", most=_WIDEST),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=config.integer("vocab_size", most=_MOST_TOKENS),
        max_positions=max_positions,
        positions_bound_by=bound_by,
        rope_theta=theta,
        rope_scaling=scaling,
        rotary_dim=rotary_dim,
        norm_eps=config.number("rms_norm_eps"),
        tied_embeddings=config.flag("tie_word_embeddings", False),
        experts=_experts(config) if of.experts else None,
        ignored=unknown_fields(config, of),
    )


def _experts(config: ConfigFile) -> ExpertsDescription:
    """The mixture of experts, which has to be in every layer."""
    if config.fields.get("mlp_only_layers") or config.integer("decoder_sparse_step", 1) != 1:
        raise config.error(
            "mlp_only_layers, decoder_sparse_step: only models with experts in every layer are supported"
        )
    key = "num_experts" if config.fields.get("num_experts") is not None else "num_local_experts"
    count, active = config.integer(key, most=_MOST_HEADS), config.integer("num_experts_per_tok", most=_MOST_HEADS)
    if active > count:
        raise config.error(f"num_experts_per_tok={active} is more than {key}={count}")
    return ExpertsDescription(
        count=count,
        active=active,
        ffn_size=config.integer("moe_intermediate_size", most=_WIDEST),
        normalized=config.flag("norm_topk_prob", False),
    )


def check_layout(description: ModelDescription, tensor: int, pipeline: int) -> None:
    """Raise `ModelError` unless the model can be cut into `tensor` × `pipeline` equal parts."""
    if problems := _undivided(description, tensor):
        works = [n for n in range(1, description.heads + 1) if not _undivided(description, n)]
        raise ModelError(
            f"parallel.tensor={tensor} does not divide the model's {problems[0]}; these work: {_listed(works)}"
        )
    if pipeline < 1 or description.layers % pipeline:
        works = [n for n in range(1, description.layers + 1) if description.layers % n == 0]
        raise ModelError(
            f"parallel.pipeline={pipeline} does not divide the model's {description.layers} layers; "
            f"these work: {_listed(works)}"
        )


def check_experts(description: ModelDescription, expert: int, expert_tensor: int) -> None:
    """Raise `ModelError` unless the experts can be cut that way: `expert` groups of `expert_tensor` ranks each."""
    experts = description.experts
    if experts is None:
        if expert > 1:
            raise ModelError(f"parallel.expert={expert}: the model has no experts; 1 works")
        return
    if experts.count % expert:
        works = [n for n in range(1, experts.count + 1) if experts.count % n == 0]
        raise ModelError(
            f"parallel.expert={expert} does not divide the model's {experts.count} experts; these work: "
            f"{_listed(works)}"
        )
    if experts.ffn_size % expert_tensor:
        works = [n for n in range(1, experts.ffn_size + 1) if experts.ffn_size % n == 0]
        raise ModelError(
            f"parallel.expert_tensor={expert_tensor} does not divide moe_intermediate_size={experts.ffn_size}; these "
            f"work: {_listed(works)}"
        )


def _undivided(description: ModelDescription, tensor: int) -> list[str]:
    """The sizes that `tensor` ranks cannot share; key/value heads that are fewer than the ranks are replicated."""
    if tensor < 1:
        return [f"attention heads ({description.heads})"]
    kv_heads, rows = description.kv_heads, 2 * description.kv_heads * description.head_dim
    rests = {
        f"attention heads ({description.heads})": description.heads % tensor,
        f"key/value heads ({kv_heads}), nor they it": kv_heads % tensor and tensor % kv_heads,
        f"rows of keys and values ({rows})": rows % tensor,
    }
    if description.experts is None:
        rests[f"intermediate_size ({description.ffn_size})"] = description.ffn_size % tensor
    return [name for name, rest in rests.items() if rest]


def check_vocabulary(ids: int, description: ModelDescription) -> None:
    """Raise `ConfigError` unless the model has a row for each of the tokenizer's `ids`."""
    if not 0 < ids <= description.vocab_size:
        raise ConfigError(
            f"the tokenizer knows {ids} ids but the model has vocab_size={description.vocab_size}; "
            "use the tokenizer of the model, or a model with at least as many rows"
        )


def _family(config: ConfigFile, reference: str | None) -> Family:
    known = FAMILIES
    if reference is not None:
        given: Family = load(reference, what="model family", key="model.family", kind=Family)
        known = {given.architecture: given}
    works = f"these work: {', '.join(known)}"
    known_code = config.name("model_type") in {each.model_type for each in known.values()} - {None}
    if config.fields.get("auto_map") and not known_code:
        raise config.error(f"auto_map asks for code from the checkpoint, which is never run; {works}")
    names = config.names("architectures")
    if len(names) != 1 or names[0] not in known:
        more = "" if reference else "; model.family names a file for another one (examples/my_family.py)"
        raise config.error(f"architectures={brief(names)} is not supported; {works}{more}")
    return known[names[0]]


def _positions(config: ConfigFile, family: Family, scaling: RopeScaling | None) -> tuple[int, str]:
    """The longest sequence that the learner computes as the model does, and the field that bounds it.

    A window that no sequence outgrows is full attention, and so is LongRoPE within the original context one set of
    factors. YaRN's context is the original one times `factor`, whatever the model was published with.
    """
    longest = config.integer("max_position_embeddings")
    bounds = {"max_position_embeddings": longest}
    if isinstance(scaling, YarnScaling):
        bounds = {"yarn": int(scaling.original_max_positions * scaling.factor)}
    if isinstance(scaling, LongRopeScaling):
        bounds["longrope"] = scaling.original_max_positions
    if (window := _window(config, family)) is not None:
        bounds["sliding_window"] = window
    name = min(bounds, key=bounds.__getitem__)
    return bounds[name], name


def _window(config: ConfigFile, family: Family) -> int | None:
    """The sliding window of any layer; None: all layers attend to everything."""
    types = set(config.names("layer_types"))
    if other := types - {"full_attention", "sliding_attention"}:
        raise config.error(
            f"layer_types: {min(map(str, other))!r} is not supported; 'full_attention' and 'sliding_attention' work"
        )
    sliding = "sliding_attention" in types
    if family.window_has_switch and not (sliding or config.flag("use_sliding_window", False)):
        return None
    if not sliding and config.fields.get("sliding_window", family.window) is None:
        return None
    return config.integer("sliding_window", family.window)


def _listed(values: list[int]) -> str:
    return ", ".join(str(value) for value in values)
