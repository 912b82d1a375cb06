"""The values that each number may have, independent of all other settings."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(kw_only=True, slots=True, frozen=True)
class Interval:
    """Finite numbers from `low` to `high`; either end may be excluded."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        bounds = []
        if math.isfinite(self.low):
            bounds.append(f"{'more than' if self.low_open else 'at least'} {self.low:g}")
        if math.isfinite(self.high):
            bounds.append(f"{'less than' if self.high_open else 'at most'} {self.high:g}")
        return " and ".join(bounds) or "a finite number"


_COUNT = Interval(low=1)
_FROM_ZERO = Interval(low=0)
_POSITIVE = Interval(low=0, low_open=True)
_FRACTION = Interval(low=0, high=1, low_open=True)
_SHARE = Interval(low=0, high=1)
_NOT_POSITIVE = Interval(low=-math.inf, high=0)
_DECAY = Interval(low=0, high=1, high_open=True)

RANGES: dict[str, Interval] = {
    "seed": Interval(low=0, high=2**31 - 1),
    "parallel.tensor": _COUNT,
    "parallel.pipeline": _COUNT,
    "parallel.max_tokens_per_microbatch": _COUNT,
    "parallel.logits_cache_mib": _FROM_ZERO,
    "rollout.tensor": _COUNT,
    "rollout.temperature": Interval(low=0, high=10, low_open=True),
    "rollout.max_prompt_tokens": _COUNT,
    "rollout.max_response_tokens": _COUNT,
    "rollout.max_concurrent": _COUNT,
    "rollout.gpu_memory_fraction": Interval(low=0, high=1, low_open=True, high_open=True),
    "rollout.cpu_kv_cache_gib": _COUNT,
    "rollout.sync_bucket_mib": _COUNT,
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.warmup_steps": _FROM_ZERO,
    "optimizer.weight_decay": _FROM_ZERO,
    "optimizer.beta1": _DECAY,
    "optimizer.beta2": _DECAY,
    "optimizer.epsilon": _POSITIVE,
    "optimizer.max_grad_norm": _POSITIVE,
    "recipe.prompts_per_step": _COUNT,
    "recipe.samples_per_prompt": _COUNT,
    "recipe.prompts_per_update": _COUNT,
    "recipe.clip_low": Interval(low=0, high=1, low_open=True),
    "recipe.clip_high": _POSITIVE,
    "recipe.kl_coef": _FROM_ZERO,
    "recipe.kl_clamp": _POSITIVE,
    "recipe.entropy_coef": _FROM_ZERO,
    "recipe.oversampling": Interval(low=1),
    "recipe.max_sampling_rounds": _COUNT,
    "recipe.min_groups_fraction": _FRACTION,
    "recipe.dual_clip": Interval(low=1, low_open=True),
    "recipe.fixed_length": _COUNT,
    "recipe.kl_output_clamp": _FROM_ZERO,
    "recipe.pass_rate_min": _SHARE,
    "recipe.pass_rate_max": _SHARE,
    "recipe.shaping.termination_scale": _SHARE,
    "recipe.shaping.termination_reward": _NOT_POSITIVE,
    "recipe.shaping.overlong_buffer": _FROM_ZERO,
    "recipe.shaping.overlong_factor": _FROM_ZERO,
    "recipe.shaping.length_weight": _FROM_ZERO,
    "recipe.shaping.length_reward_min": Interval(low=-math.inf),
    "recipe.shaping.length_reward_max": Interval(low=-math.inf),
    "recipe.shaping.length_on_steps": _COUNT,
    "recipe.shaping.length_off_steps": _FROM_ZERO,
    "recipe.correction.floor": _SHARE,
    "recipe.correction.cap": Interval(low=1),
    "recipe.correction.report_bound": Interval(low=1, low_open=True),
    "recipe.curriculum.memory": _DECAY,
    "recipe.curriculum.low": _SHARE,
    "recipe.curriculum.high": _SHARE,
    "recipe.curriculum.rarely": _FRACTION,
    "recipe.curriculum.min_groups": _COUNT,
    "recipe.curriculum.weight_floor": _FRACTION,
    "schedule.steps": _COUNT,
    "schedule.reset.every": _FROM_ZERO,
    "schedule.reset.patience": _FROM_ZERO,
    "schedule.reset.min_delta": _FROM_ZERO,
    "schedule.reset.min_distance": _FROM_ZERO,
    "schedule.reset.decline": _FROM_ZERO,
    "schedule.reset.decline_patience": _COUNT,
    "schedule.reset.kl_bound": _FROM_ZERO,
    "schedule.reset.kl_patience": _COUNT,
    "schedule.reset.hysteresis": Interval(low=0, high=1, high_open=True),
    "schedule.reset.futile": _FROM_ZERO,
    "schedule.entropy.low": _FROM_ZERO,
    "schedule.entropy.high": _FROM_ZERO,
    "schedule.entropy.margin": _FROM_ZERO,
    "schedule.entropy.patience": _COUNT,
    "schedule.entropy.lever_step": _FROM_ZERO,
    "schedule.entropy.lever_min": _FROM_ZERO,
    "schedule.entropy.lever_max": _FROM_ZERO,
    "schedule.entropy.target": _FROM_ZERO,
    "schedule.entropy.proportional": _FROM_ZERO,
    "schedule.entropy.integral": _FROM_ZERO,
    "schedule.entropy.coef_min": Interval(low=-math.inf),
    "schedule.entropy.coef_max": Interval(low=-math.inf),
    "schedule.kl.target": _FROM_ZERO,
    "schedule.kl.gain": _FRACTION,
    "schedule.kl.error_bound": _FRACTION,
    "schedule.kl.min_factor": _FRACTION,
    "schedule.kl.max_factor": Interval(low=1),
    "schedule.evaluate_every": _FROM_ZERO,
    "schedule.save_every": _COUNT,
    "schedule.keep_checkpoints": _COUNT,
    "schedule.time_limit_minutes": _FROM_ZERO,
    "tasks.workers": _COUNT,
    "tasks.memory_mib": Interval(low=512),
    "tasks.timeout_s": _POSITIVE,
    "tasks.retries": _FROM_ZERO,
    "tasks.serve.port": Interval(low=0, high=65535),
    "tasks.serve.max_request_mib": _COUNT,
    "tasks.serve.max_requests": _COUNT,
    "tasks.serve.request_s": _POSITIVE,
    "evaluation.problems_per_task": _COUNT,
    "evaluation.samples": _COUNT,
    "evaluation.temperature": Interval(low=0, high=10, low_open=True),
    "evaluation.top_p": _FRACTION,
    "evaluation.final_problems_per_task": _COUNT,
    "cluster.nodes": _COUNT,
    "cluster.ranks_per_node": _COUNT,
    "cluster.gpus_per_node": _FROM_ZERO,
    "cluster.cpus_per_rank": _COUNT,
    "cluster.time_minutes": _COUNT,
    "cluster.collective_timeout_s": _COUNT,
    "steps": _COUNT,
    "problems_per_step": _COUNT,
    "max_tokens": _COUNT,
    "slips": Interval(low=0, high=1),
}
