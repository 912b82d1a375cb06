"""The optimizers that `optimizer.kind` names, and how one of your own joins them.

AdamW's state is shared out over the data-parallel ranks (Megatron's distributed optimizer, which knows Adam alone). The
other kinds are replicated: every data-parallel rank holds the state of all of its parameters and makes the same step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import ChainedOptimizer, _get_param_groups, get_megatron_optimizer
from megatron.core.optimizer import OptimizerConfig as MegatronOptimizerConfig
from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params, FP32Optimizer

from prorl_mega.config.schema import OptimizerConfig
from prorl_mega.learner.muon import Muon
from prorl_mega.plugins import resolve

ParamGroup = dict[str, Any]
"""One of torch's parameter groups: "params", and "wd_mult", 0 for the parameters that are not to be decayed."""

TorchOptimizer = Callable[[list[ParamGroup], OptimizerConfig], torch.optim.Optimizer]
"""The type of `optimizer.kind: my_file.py:Name`. Its learning rate and weight decay are set before every step."""


@dataclass(frozen=True, slots=True)
class OptimizerKind:
    """One way to make an optimizer for a model in its data-parallel wrapper."""

    is_sharded: bool  # over data-parallel ranks
    make: Callable[[DistributedDataParallel, MegatronOptimizerConfig, OptimizerConfig], ChainedOptimizer]

    def build(self, model: DistributedDataParallel, settings: OptimizerConfig) -> ChainedOptimizer:
        """Megatron's wrappers around the optimizer, with main copies in fp32 where parameters are not."""
        precision = next(model.parameters()).dtype
        config = MegatronOptimizerConfig(
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            adam_beta1=settings.beta1,
            adam_beta2=settings.beta2,
            adam_eps=settings.epsilon,
            sgd_momentum=settings.momentum,
            clip_grad=settings.max_grad_norm,
            bf16=precision is torch.bfloat16,
            params_dtype=precision,
            use_distributed_optimizer=self.is_sharded,
        )
        return self.make(model, config, settings)


def find_kind(name: str) -> OptimizerKind:
    """The kind called `name`, or the torch optimizer that it refers to. Raises ConfigError."""
    found = resolve(name, KINDS, what="optimizer", key="optimizer.kind")
    return found if isinstance(found, OptimizerKind) else OptimizerKind(False, partial(_replicated, [found]))


def _megatrons(
    name: str, model: DistributedDataParallel, config: MegatronOptimizerConfig, _: OptimizerConfig
) -> ChainedOptimizer:
    config.optimizer = name
    return get_megatron_optimizer(config, [model])


def _replicated(
    makes: list[TorchOptimizer],
    model: DistributedDataParallel,
    config: MegatronOptimizerConfig,
    settings: OptimizerConfig,
) -> ChainedOptimizer:
    """One wrapped optimizer for each of `makes`, which take their parameters out of the groups they are given."""
    wrapped = []
    for make in makes:
        inner = make(_get_param_groups([model], config, None), settings)
        each = (
            Float16OptimizerWithFloat16Params(inner, config, None, None)
            if config.bf16
            else FP32Optimizer(inner, config, None)
        )
        each.grad_stats_parallel_group = parallel_state.get_model_parallel_group()
        each.tp_group = parallel_state.get_tensor_model_parallel_group()
        wrapped.append(each)
    return ChainedOptimizer(wrapped)


def _matrices(groups: list[ParamGroup], settings: OptimizerConfig) -> torch.optim.Optimizer:
    return Muon(_chosen(groups, True), momentum=settings.momentum)


def _all_but_matrices(groups: list[ParamGroup], settings: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(_chosen(groups, False), betas=(settings.beta1, settings.beta2), eps=settings.epsilon)


def _chosen(groups: list[ParamGroup], matrices: bool) -> list[ParamGroup]:
    """The groups with those parameters that are, or are not, the matrices between the layers' inputs and outputs."""

    def is_matrix(parameter: torch.nn.Parameter) -> bool:
        return parameter.dim() == 2 and not getattr(parameter, "is_embedding_or_output_parameter", False)

    chosen = [group | {"params": [p for p in group["params"] if is_matrix(p) is matrices]} for group in groups]
    return [group for group in chosen if group["params"]]


KINDS = {
    "adamw": OptimizerKind(True, partial(_megatrons, "adam")),
    "sgd": OptimizerKind(False, partial(_megatrons, "sgd")),
    "muon": OptimizerKind(False, partial(_replicated, [_matrices, _all_but_matrices])),
}
