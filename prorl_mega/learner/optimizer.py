"""AdamW by Megatron: gradient buffers, sharded optimizer state, clipping over all ranks.

The distributed optimizer is used for every data-parallel size, one included, so that there is one path and one layout
of the state. On a machine without Transformer Engine torch's AdamW does the arithmetic underneath.
"""

from __future__ import annotations

import math

import torch
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.optimizer import OptimizerConfig as MegatronOptimizerConfig
from megatron.core.optimizer import get_megatron_optimizer
from megatron.core.optimizer.clip_grads import clip_grad_by_total_norm_fp32
from megatron.core.transformer.module import MegatronModule

from prorl_mega.config.schema import OptimizerConfig
from prorl_mega.errors import CheckpointError


def with_gradient_buffers(model: MegatronModule) -> DistributedDataParallel:
    """`model` in Megatron's data-parallel wrapper: parameters and fp32 gradients in contiguous buffers.

    Gradients are summed over data-parallel ranks, not averaged (`calculate_per_token_loss`): the weights of the loss
    already make it global.
    """
    assert model.config.calculate_per_token_loss, "Megatron would average the gradients over data-parallel ranks"
    settings = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True, use_distributed_optimizer=True, overlap_grad_reduce=False
    )
    return DistributedDataParallel(config=model.config, ddp_config=settings, module=model)


class Optimizer:
    """The steps of an update after the backward pass, one method each, and the state for checkpoints."""

    def __init__(self, model: DistributedDataParallel, settings: OptimizerConfig) -> None:
        self._settings = settings
        precision = next(model.parameters()).dtype
        # fp32 parameters are optimised in place; others have fp32 main copies, which are state of their own.
        self._main_copies = precision is not torch.float32
        self._chain = get_megatron_optimizer(
            MegatronOptimizerConfig(
                optimizer="adam",
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                adam_beta1=settings.beta1,
                adam_beta2=settings.beta2,
                adam_eps=settings.epsilon,
                clip_grad=settings.max_grad_norm,
                bf16=precision is torch.bfloat16,
                params_dtype=precision,
                use_distributed_optimizer=True,
            ),
            [model],
        )
        (self._sharded,) = self._chain.chained_optimizers
        self._names = {parameter: name for name, parameter in model.module.named_parameters()}
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
        """Clip by the norm that `gradient_norm` returned and apply AdamW; parameters are gathered over data ranks."""
        assert math.isfinite(norm), "the caller refuses such steps"
        for group in self._sharded.param_groups:
            group["lr"] = learning_rate
            group["weight_decay"] = self._settings.weight_decay * group["wd_mult"]
        parameters = self._sharded.get_parameters()
        if self._settings.max_grad_norm > 0.0 and parameters:
            clip_grad_by_total_norm_fp32(parameters, max_norm=self._settings.max_grad_norm, total_norm=norm)
        self._chain.step_with_ready_grads()
        self.steps += 1

    def clear(self) -> None:
        """Forget moments and step count, as if no step had been made."""
        inner = self._sharded.optimizer
        inner.state.clear()
        for group in inner.param_groups:
            group.pop("step", None)  # where Transformer Engine's Adam counts
        self.steps = 0

    def _shards(self) -> dict[str, torch.Tensor]:
        """This data-parallel rank's part of each parameter, flat, in the precision that is optimised."""
        shards = {}
        for parameter, (group, order) in self._sharded.model_param_group_index_map.items():
            shards[self._names[parameter]] = self._sharded.optimizer.param_groups[group]["params"][order]
        return shards

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that the next step depends on beside the parameters: "<parameter>/<quantity>" -> live tensor.

        Quantities are Adam's moments and, where the parameters are not fp32, `main`: their fp32 copies.
        """
        inner = self._sharded.optimizer
        tensors = {}
        for name, shard in self._shards().items():
            for quantity in self._quantities(self.steps):
                tensors[f"{name}/{quantity}"] = shard.detach() if quantity == "main" else inner.state[shard][quantity]
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, torch.Tensor], steps: int) -> None:
        """Restore what `state` returned after `steps` steps. Raises CheckpointError when it does not fit."""
        shards = self._shards()
        self.clear()
        inner = self._sharded.optimizer
        expected = {f"{name}/{quantity}" for name in shards for quantity in self._quantities(steps)}
        if expected != set(tensors):
            odd = sorted(expected ^ set(tensors))
            raise CheckpointError(f"optimizer state does not fit this model: {', '.join(odd[:3])} ({len(odd)} differ)")
        for name, shard in shards.items():
            for quantity in self._quantities(steps):
                value = tensors[f"{name}/{quantity}"]
                if value.shape != shard.shape or value.dtype != torch.float32:
                    raise CheckpointError(
                        f"optimizer state {name}/{quantity} is {value.dtype} {list(value.shape)}, "
                        f"this run needs torch.float32 {list(shard.shape)}"
                    )
                if quantity == "main":
                    shard.data.copy_(value)
                else:
                    inner.state[shard][quantity] = value.to(shard.device, copy=True)
            if steps and isinstance(inner, torch.optim.AdamW | torch.optim.Adam):
                inner.state[shard]["step"] = torch.tensor(float(steps))
        if steps and not isinstance(inner, torch.optim.AdamW | torch.optim.Adam):
            for group in inner.param_groups:
                group["step"] = steps
        self.steps = steps

    def _quantities(self, steps: int) -> tuple[str, ...]:
        return (("main",) if self._main_copies else ()) + (("exp_avg", "exp_avg_sq") if steps else ())
