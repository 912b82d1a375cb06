"""The mappings of a whole model: what every parameter is called and how it is cut, in Hugging Face order."""

from __future__ import annotations

from functools import cached_property

from prorl_mega.errors import ModelError
from prorl_mega.families.family import Family, ModelDescription
from prorl_mega.families.param_mapping import ParamMapping

# Transformer Engine keeps a norm inside the linear layer that follows it.
_OTHER_SPELLINGS = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
}


class MappingRegistry:
    """The parameters of one model, each with its mapping."""

    def __init__(self, description: ModelDescription) -> None:
        family: Family = description.family
        layers = [
            mapping.within_layer(layer) for layer in range(description.layers) for mapping in family.layer(description)
        ]
        self.mappings: tuple[ParamMapping, ...] = (
            *family.before_layers(description),
            *layers,
            *family.after_layers(description),
        )
        self._architecture = family.architecture
        self.experts = 0 if description.experts is None else description.experts.count
        """Experts in every layer."""

    def mapping(self, name: str) -> ParamMapping:
        """The mapping of a Megatron parameter, in either spelling of the norms. Raises `ModelError` if unknown."""
        for other, spelling in _OTHER_SPELLINGS.items():
            if name.endswith(f".{other}"):
                name = name.removesuffix(other) + spelling
        try:
            return self._by_name[name]
        except KeyError:
            raise ModelError(f"{self._architecture} has no parameter {name!r}") from None

    @cached_property
    def exported(self) -> tuple[ParamMapping, ...]:
        """The mappings that make up a Hugging Face checkpoint, each tensor once."""
        return tuple(mapping for mapping in self.mappings if not mapping.copy)

    @cached_property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every Hugging Face tensor of the model with its shape, in the order of export."""
        return {name: shape for mapping in self.exported for name, shape in mapping.checkpoint_tensors.items()}

    @cached_property
    def _by_name(self) -> dict[str, ParamMapping]:
        return {mapping.name: mapping for mapping in self.mappings}
