"""The policy as a Megatron-core model, from the description of a Hugging Face checkpoint.

The last pipeline stage returns hidden states, not logits: log-probabilities come from `prorl_kernels`, which take the
hidden states and this rank's rows of the LM head, so that a `[tokens, vocabulary]` tensor never exists.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.models.gpt import GPTModel
from megatron.core.parallel_state import is_pipeline_first_stage, is_pipeline_last_stage
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear, gather_from_sequence_parallel_region
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.moe.experts import SequentialMLP
from megatron.core.transformer.moe.moe_layer import MoELayer, MoESubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules
from torch import Tensor, nn

from prorl_mega.config.schema import ParallelConfig, Precision, Recompute
from prorl_mega.families.family import ModelDescription
from prorl_mega.huggingface.config import check_experts, check_layout, check_vocabulary
from prorl_mega.invariant import check_exact
from prorl_mega.learner.attention import PackedAttention
from prorl_mega.learner.backend import activate
from prorl_mega.learner.batch_invariance import InvariantAttention, InvariantGatedActivation, InvariantRMSNorm
from prorl_mega.learner.gate import GatedActivation
from prorl_mega.learner.linear import HostColumnParallelLinear, HostRowParallelLinear, has_host_product
from prorl_mega.learner.norm import RMSNorm
from prorl_mega.learner.packed_sequences import PackedSequences
from prorl_mega.learner.rotary import RotaryPositions

_LOCAL_EXPERT = re.compile(r"(mlp\.experts\.local_experts\.)(\d+)(?=\.)")


class PolicyModel(GPTModel):
    """One pipeline stage of the policy. Parameters have the same names with and without Transformer Engine."""

    def __init__(
        self,
        config: TransformerConfig,
        description: ModelDescription,
        *,
        valid_vocab: int,
        batch_invariant: bool = False,
    ) -> None:
        super().__init__(
            config=config,
            transformer_layer_spec=_block_spec(config, batch_invariant=batch_invariant),
            vocab_size=padded_vocab(description, config.tensor_model_parallel_size),
            max_sequence_length=description.max_positions,
            pre_process=is_pipeline_first_stage(),
            post_process=is_pipeline_last_stage(),
            share_embeddings_and_output_weights=description.tied_embeddings,
            position_embedding_type="none",  # `PackedAttention` applies the rotary positions
        )
        self.valid_vocab = valid_vocab  # ids from here on are padding and get no probability
        self.rotary = RotaryPositions(description)

    def forward(self, tokens: Tensor, packed: PackedSequences) -> Tensor:
        """`tokens` `[tokens]` int64, as many as the pack has, its padding included.

        The last stage returns the hidden states after the final norm, `[tokens, hidden]`, of all tokens also under
        sequence parallelism. Their gradient must be complete on every tensor-parallel rank, as `linear_token_stats`
        returns it: nothing is summed here. The other stages return what the next one takes.
        """
        return super().forward(
            input_ids=tokens.unsqueeze(0),
            position_ids=None,
            attention_mask=None,
            packed_seq_params=self.rotary(packed),
        )

    def _postprocess(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not self.post_process:
            return hidden_states
        if self.config.sequence_parallel:
            hidden_states = gather_from_sequence_parallel_region(hidden_states, tensor_parallel_output_grad=False)
        return hidden_states.squeeze(1)

    def output_weight(self) -> Tensor:
        """This rank's rows of the LM head, `[padded_vocab / tensor, hidden]`; the embedding's own when tied."""
        assert self.post_process, "only the last pipeline stage has the LM head"
        if self.share_embeddings_and_output_weights:
            return self.shared_embedding_or_output_weight()
        return self.output_layer.weight


def build_model(
    description: ModelDescription,
    parallel: ParallelConfig,
    *,
    precision: Precision,
    recompute: Recompute,
    valid_vocab: int,
    batch_invariant: bool = False,
) -> list[PolicyModel]:
    """This rank's stage of the model, with random weights, on this rank's device: a list of one chunk.

    Needs `backend.activate` and `parallel.initialize_parallel`. `valid_vocab` is the number of ids that the tokenizer
    knows; rows of the LM head beyond it exist but are never sampled or scored. With `batch_invariant` a token's results
    are the same bits in every batch, in fp32 on a CPU. Raises `ModelError` if the model cannot
    be cut that way and `ConfigError` if `valid_vocab` does not fit.
    """
    check_layout(description, parallel.tensor, parallel.pipeline)
    check_experts(description, parallel.expert, parallel.expert_tensor or parallel.tensor)
    check_vocabulary(valid_vocab, description)
    device = activate()
    config = _transformer_config(description, parallel, _dtype(precision, device), recompute, device)
    if batch_invariant and device.type == "cpu":
        check_exact(config.params_dtype)
    model = PolicyModel(config, description, valid_vocab=valid_vocab, batch_invariant=batch_invariant)
    return [model.to(device)]


def padded_vocab(description: ModelDescription, tensor: int) -> int:
    """Rows of embedding and LM head over all ranks: the next multiple of `tensor`, so that shards are even."""
    return -(-description.vocab_size // tensor) * tensor


def global_names(model: PolicyModel) -> dict[str, nn.Parameter]:
    """Parameters of this stage by Megatron name, layers numbered from 0 over the whole model."""
    names = {}
    for name, parameter in model.named_parameters():
        if name.startswith("decoder.layers."):
            local, rest = name.removeprefix("decoder.layers.").split(".", 1)
            layer = model.decoder.layers[int(local)]
            name = f"decoder.layers.{layer.layer_number - 1}.{_expert_name(layer, rest)}"
        names[name] = parameter
    return names


def _expert_name(layer: TransformerLayer, name: str) -> str:
    """A parameter's name within its layer, experts numbered over all groups that share them."""
    found = _LOCAL_EXPERT.match(name)
    return f"{found[1]}{layer.mlp.local_expert_indices[int(found[2])]}{name[found.end() :]}" if found else name


def spec_name() -> str:
    """Which layer implementation a model built here uses, for the console and the log."""
    return "transformer-engine" if _has_transformer_engine() else "local"


def _has_transformer_engine() -> bool:
    return torch.cuda.is_available() and importlib.util.find_spec("transformer_engine") is not None


def _dtype(precision: Precision, device: torch.device) -> torch.dtype:
    if precision is Precision.auto:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {Precision.bf16: torch.bfloat16, Precision.fp32: torch.float32}[precision]


def _transformer_config(
    description: ModelDescription,
    parallel: ParallelConfig,
    dtype: torch.dtype,
    recompute: Recompute,
    device: torch.device,
) -> TransformerConfig:
    gpu = device.type == "cuda"
    optional: dict[str, Any] = {}
    if recompute is Recompute.full:
        optional = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
    optional |= _experts_config(description, parallel)
    return TransformerConfig(
        num_layers=description.layers,
        hidden_size=description.hidden_size,
        ffn_hidden_size=description.ffn_size,
        num_attention_heads=description.heads,
        num_query_groups=description.kv_heads,
        kv_channels=description.head_dim,
        normalization="RMSNorm",
        layernorm_epsilon=description.norm_eps,
        gated_linear_unit=True,
        activation_func=F.silu,
        add_bias_linear=False,
        add_qkv_bias=description.qkv_bias,
        qk_layernorm=description.qk_norm,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        init_method_std=0.02,
        tensor_model_parallel_size=parallel.tensor,
        pipeline_model_parallel_size=parallel.pipeline,
        sequence_parallel=parallel.sequence,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype is torch.bfloat16,
        variable_seq_lengths=True,  # packs differ in length, and stages send them to each other
        moe_token_dispatcher_type="alltoall",  # checked with variable lengths even without experts
        calculate_per_token_loss=True,  # gradients are summed over data-parallel ranks; the loss is already global
        use_cpu_initialization=not gpu,
        bias_activation_fusion=gpu,
        use_te_activation_func=not gpu,  # the layer's own activation module, which is ours: `GatedActivation`
        bias_dropout_fusion=False,  # without bias and dropout it is one addition
        masked_softmax_fusion=False,
        apply_rope_fusion=False,
        # Megatron's own linear layers (the LM head is one) need Apex's kernel for it, with Transformer Engine too.
        gradient_accumulation_fusion=gpu and importlib.util.find_spec("fused_weight_gradient_mlp_cuda") is not None,
        persist_layer_norm=False,
        **optional,
    )


def _experts_config(description: ModelDescription, parallel: ParallelConfig) -> dict[str, Any]:
    """The mixture of experts in Megatron's terms; nothing for a dense model."""
    experts = description.experts
    if experts is None:
        return {}
    return {
        "num_moe_experts": experts.count,
        "moe_router_topk": experts.active,
        "moe_ffn_hidden_size": experts.ffn_size,
        "moe_router_score_function": "softmax",
        # The softmax of the chosen logits is that of all, divided by the sum over the chosen ones.
        "moe_router_pre_softmax": not experts.normalized,
        "moe_router_load_balancing_type": "none",
        "moe_router_dtype": "fp32",
        "moe_aux_loss_coeff": 0.0,
        "moe_grouped_gemm": False,
        "expert_model_parallel_size": parallel.expert,
        "expert_tensor_parallel_size": parallel.expert_tensor or parallel.tensor,
    }


def _mlp_spec(config: TransformerConfig, parts: MLPSubmodules) -> ModuleSpec:
    """An MLP of these parts, or a mixture of such MLPs."""
    if not config.num_moe_experts:
        return ModuleSpec(module=MLP, submodules=parts)
    if parts.linear_fc1 is HostColumnParallelLinear:  # the rows of an expert differ from call to call: `row_multiple`
        parts = replace(parts, linear_fc1=ColumnParallelLinear, linear_fc2=RowParallelLinear)
    experts = ModuleSpec(module=SequentialMLP, submodules=parts)
    return ModuleSpec(module=MoELayer, submodules=MoESubmodules(experts=experts))


def _block_spec(config: TransformerConfig, *, batch_invariant: bool) -> TransformerBlockSubmodules:
    """The layers of this stage. Norms stay modules of their own also with Transformer Engine, so that parameters keep
    one set of names; attention is ours in both, because it takes packs and applies the rotary positions."""
    column, row, norm = ColumnParallelLinear, RowParallelLinear, RMSNorm
    core, activation = PackedAttention, GatedActivation
    if _has_transformer_engine():
        from megatron.core.extensions import transformer_engine as engine

        column, row, norm = engine.TEColumnParallelLinear, engine.TERowParallelLinear, engine.TENorm
    elif config.use_cpu_initialization and config.params_dtype is torch.float32 and has_host_product():
        column, row = HostColumnParallelLinear, HostRowParallelLinear
        if batch_invariant:
            norm, core, activation = InvariantRMSNorm, InvariantAttention, InvariantGatedActivation
    head_norm = norm if config.qk_layernorm else IdentityOp
    attention = SelfAttentionSubmodules(
        linear_qkv=column,
        core_attention=core,
        linear_proj=row,
        q_layernorm=head_norm,
        k_layernorm=head_norm,
    )
    layer = TransformerLayerSubmodules(
        input_layernorm=norm,
        self_attention=ModuleSpec(
            module=SelfAttention, params={"attn_mask_type": AttnMaskType.causal}, submodules=attention
        ),
        self_attn_bda=get_bias_dropout_add,
        pre_mlp_layernorm=norm,
        mlp=_mlp_spec(config, MLPSubmodules(linear_fc1=column, linear_fc2=row, activation_func=activation)),
        mlp_bda=get_bias_dropout_add,
    )
    layers = [ModuleSpec(module=TransformerLayer, submodules=layer)] * get_num_layers_to_build(config)
    return TransformerBlockSubmodules(layer_specs=layers, layer_norm=norm)
