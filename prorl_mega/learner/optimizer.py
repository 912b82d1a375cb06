"""The optimizer of an update: clipping over all ranks, the step, and the state for checkpoints.

The optimizers themselves are in `optimizer_kinds.py`; everything here holds for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.optimizer.clip_grads import clip_grad_by_total_norm_fp32
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.transformer.module import MegatronModule

from prorl_mega.config.schema import OptimizerConfig
from prorl_mega.errors import CheckpointError
from prorl_mega.learner.optimizer_kinds import OptimizerKind


def with_gradient_buffers(model: MegatronModule, kind: OptimizerKind) -> DistributedDataParallel:
    """`model` in Megatron's data-parallel wrapper: parameters and fp32 gradients in contiguous buffers.

    Gradients are summed over data-parallel ranks, not averaged (`calculate_per_token_loss`): the weights of the loss
    already make it global.
    """
    assert model.config.calculate_per_token_loss, "Megatron would average the gradients over data-parallel ranks"
    settings = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True, use_distributed_optimizer=kind.is_sharded, overlap_grad_reduce=False
    )
    return DistributedDataParallel(config=model.config, ddp_config=settings, module=model)


_SQUARES = "exp_avg_sq"  # the second moment, as every Adam calls it


class Optimizer:
    """The steps of an update after the backward pass, one method each, and the state for checkpoints."""

    def __init__(self, model: DistributedDataParallel, settings: OptimizerConfig, kind: OptimizerKind) -> None:
        self._settings = settings
        # fp32 parameters are optimised in place; others have fp32 main copies, which are state of their own.
        self._main_copies = next(model.parameters()).dtype is not torch.float32
        self._chain = kind.build(model, settings)
        self._names = {parameter: name for name, parameter in model.module.named_parameters()}
        self.is_sharded = kind.is_sharded
        self.steps = 0

    def adopt_parameters(self) -> None:
        """Take over parameters that were written from outside (bf16 training keeps fp32 main copies)."""
        self._chain.reload_model_params()

    def zero_grad(self) -> None:
        """Forget the gradients that the optimizer refers to; the buffers are zeroed by their wrapper."""
        self._chain.zero_grad()

    @torch.no_grad()
    def gradient_norm(self) -> float:
        """L2 norm of the whole model's gradient, the same on all ranks; not finite when any rank's gradient is not.

        Waits for the device: this is where an update synchronises with the host.
        """
        self._chain.prepare_grads()
        return float(self._chain.get_grad_norm())

    @torch.no_grad()
    def step(self, *, norm: float, learning_rate: float) -> None:
        """Clip by the norm that `gradient_norm` returned and step; parameters are gathered over data ranks."""
        assert math.isfinite(norm), "the caller refuses such steps"
        for each in self._chain.chained_optimizers:
            for group in each.param_groups:
                group["lr"] = learning_rate
                group["weight_decay"] = self._settings.weight_decay * group["wd_mult"]
            parameters = each.get_parameters()
            if self._settings.max_grad_norm > 0.0 and parameters:
                clip_grad_by_total_norm_fp32(parameters, max_norm=self._settings.max_grad_norm, total_norm=norm)
        self._chain.step_with_ready_grads()
        self.steps += 1

    def clear(self) -> None:
        """Forget moments and step count, as if no step had been made."""
        for each in self._chain.chained_optimizers:
            each.optimizer.state.clear()
            for group in each.optimizer.param_groups:
                group.pop("step", None)  # where Transformer Engine's Adam counts
        self.steps = 0

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that the next step depends on beside the parameters: "<parameter>/<quantity>" -> live tensor.

        Quantities are the optimizer's own (Adam's moments, a momentum) and, where the parameters are not fp32, `main`:
        their fp32 copies. The step count is not among them; it is the same for all.
        """
        tensors = {}
        for name, shard, inner in self._shards():
            if self._main_copies:
                tensors[f"{name}/main"] = shard.detach()
            for quantity, value in inner.state[shard].items():
                if quantity != "step":
                    tensors[f"{name}/{quantity}"] = value
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, torch.Tensor], steps: int) -> None:
        """Restore what `state` returned after `steps` steps. Raises CheckpointError when it does not fit."""
        self.clear()
        saved: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            name, _, quantity = key.rpartition("/")
            saved.setdefault(name, {})[quantity] = value
        quantities: dict[torch.optim.Optimizer, set[str]] = {}  # the same for all that are optimised together
        for name, shard, inner in self._shards():
            own = saved.pop(name, {})
            expected = quantities.setdefault(inner, set(own))
            if set(own) != expected or ("main" in own) != self._main_copies or (not steps and own.keys() - {"main"}):
                raise CheckpointError(f"optimizer state does not fit this model: {name} has {sorted(own) or 'nothing'}")
            for quantity, value in own.items():
                if value.shape != shard.shape or value.dtype != torch.float32:
                    raise CheckpointError(
                        f"optimizer state {name}/{quantity} is {value.dtype} {list(value.shape)}, "
                        f"this run needs torch.float32 {list(shard.shape)}"
                    )
                if quantity == _SQUARES and (value < 0).any():
                    raise CheckpointError(f"optimizer state {name}/{quantity} has a mean of squares below 0")
                if quantity == "main":
                    shard.data.copy_(value)
                else:
                    inner.state[shard][quantity] = value.to(shard.device, copy=True)
            if steps and type(inner).__module__.startswith("torch.optim"):
                inner.state[shard]["step"] = torch.tensor(float(steps))
        if saved:
            raise CheckpointError(f"optimizer state does not fit this model: it has no {min(saved)}")
        for inner in quantities if steps else ():
            for group in inner.param_groups:
                group["step"] = steps  # where Transformer Engine's Adam counts
        self.steps = steps

    def parts(self) -> Iterator[tuple[str, torch.nn.Parameter, slice]]:
        """The name that `state` has for a parameter, the parameter, and the part of it, flat, that this rank
        optimises: all of it where the optimizer is not sharded."""
        parameters = {name: parameter for parameter, name in self._names.items()}
        for each in self._chain.chained_optimizers:
            if isinstance(each, DistributedOptimizer):
                for parameter in each.model_param_group_index_map:
                    part = each._get_model_param_range_map(parameter)["param"]
                    yield self._names[parameter], parameter, slice(part.start, part.end)
        if not self.is_sharded:
            for name, _, _ in self._shards():
                yield name, parameters[name], slice(None)

    def _shards(self) -> Iterator[tuple[str, torch.Tensor, torch.optim.Optimizer]]:
        """The name of every parameter of this rank, the tensor that is optimised for it, and the optimizer.

        The tensor is the parameter or its fp32 copy; a sharded optimizer has this data-parallel rank's flat part.
        """
        for each in self._chain.chained_optimizers:
            inner = each.optimizer
            if isinstance(each, DistributedOptimizer):
                for parameter, (group, order) in each.model_param_group_index_map.items():
                    yield self._names[parameter], inner.param_groups[group]["params"][order], inner
                continue
            optimised = {id(tensor) for group in inner.param_groups for tensor in group["params"]}
            for parameter, name in self._names.items():
                main = getattr(parameter, "main_param", parameter)
                if id(main) in optimised:
                    yield name, main, inner
