"""The settings that may differ when a run goes on, and the reasons why the others must not: one table.

What changes only the steps to come may change; `prorl_mega.run.changes` records it. What would make the steps that are
done those of another run is refused, with the reason and the way out. A group stands for all settings below it that
have no line of their own; `*` stands for any entry of the mixture. A setting without a line is refused.
"""

from __future__ import annotations

import re
from typing import Any

MAY = ""  # change; the value takes effect with the next step

_OTHER_PROBLEMS = (
    "other problems would be drawn, and held out, than those that the run was trained and evaluated on; add an entry "
    "with the new options beside this one, and set this one's weight to 0"
)
_BEGAN_WITH = (
    "put it back as it was, or export the policy (python -m prorl_mega.export) and start a new run from there under "
    "another name"
)

ON_RESUME: dict[str, str] = {
    "name": MAY,
    "root": MAY,
    "seed": f"problems and samples of all steps follow from it; {_BEGAN_WITH}",
    "resume": MAY,
    "loggers": MAY,
    "model.path": f"weights, tokenizer, chat template and end tokens are those that the run began with; {_BEGAN_WITH}",
    "model.family": f"the policy is this architecture; {_BEGAN_WITH}",
    "model.weights": f"it says what the run began with; {_BEGAN_WITH}",
    "model.precision": f"weights and optimizer are saved in the precision that the run began with; {_BEGAN_WITH}",
    "model.recompute": MAY,
    "model.chat": f"the prompts of all steps and evaluations were made with it; {_BEGAN_WITH}",
    "model.keep_special_tokens": MAY,
    "parallel.tensor": MAY,
    "parallel.pipeline": MAY,
    "parallel.sequence": MAY,
    "parallel.expert": f"checkpoints hold the experts in the groups that saved them; {_BEGAN_WITH}",
    "parallel.expert_tensor": f"checkpoints hold the experts in the parts that saved them; {_BEGAN_WITH}",
    "parallel.max_tokens_per_microbatch": MAY,
    "parallel.logits_cache_mib": MAY,
    "rollout": MAY,
    "placement": MAY,
    "servers": MAY,
    "reference.path": (
        f"the reference policy that the run began with; since then it is part of the checkpoints; {_BEGAN_WITH}"
    ),
    "reference.offload": MAY,
    "recipe": MAY,
    "optimizer.kind": f"the optimizer's state in the checkpoint is of this kind; {_BEGAN_WITH}",
    "optimizer.learning_rate": MAY,
    "optimizer.warmup_steps": MAY,
    "optimizer.weight_decay": MAY,
    "optimizer.beta1": MAY,
    "optimizer.beta2": MAY,
    "optimizer.epsilon": MAY,
    "optimizer.momentum": MAY,
    "optimizer.max_grad_norm": MAY,
    "optimizer.max_skipped_updates": MAY,
    "optimizer.max_rollbacks": MAY,
    "optimizer.spike_factor": MAY,
    "schedule": MAY,  # but stages that are over: see `refusal`
    "tasks.mixture": MAY,  # entries may be added
    "tasks.mixture.*": "its held-out problems belong to every evaluation of the run; weight 0 ends training on it",
    "tasks.mixture.*.name": _OTHER_PROBLEMS,
    "tasks.mixture.*.weight": MAY,
    "tasks.mixture.*.split": _OTHER_PROBLEMS,
    "tasks.mixture.*.problems": MAY,
    "tasks.mixture.*.options": _OTHER_PROBLEMS,
    "tasks.mixture.*.options.path": MAY,  # the mixture refuses other contents
    "tasks.mixture.*.options.skip": MAY,
    "tasks.mixture.*.options.usual_rows": MAY,
    "tasks.mixture.*.options.time_s": MAY,
    "tasks.mixture.*.options.total_s": MAY,
    "tasks.mixture.*.options.memory_mb": MAY,
    "tasks.modules": MAY,  # the mixture refuses other contents of those that are there
    "tasks.workers": MAY,
    "tasks.memory_mib": MAY,
    "tasks.timeout_s": MAY,
    "tasks.retries": MAY,
    "tasks.report_failures": MAY,
    "tasks.second_opinions": MAY,  # they change no reward
    "tasks.servers": MAY,
    "tasks.token_file": MAY,
    "tasks.serve": MAY,
    "evaluation": MAY,
    "cluster": MAY,
    "faults": MAY,
}

PLACES = (
    "root",
    "model.path",
    "reference.path",
    "tasks.modules",
    "tasks.token_file",
    "tasks.mixture.*.options.path",
)
"""Settings that name files: another spelling of the same place is no change."""

UNDECIDED = "it is not known whether the steps that are done depend on it"


def reason(path: tuple[str, ...]) -> str:
    """Why the setting `path` ("recipe", "kl", "coef") must stay as it is; empty if it may change."""
    for length in range(len(path), 0, -1):
        for key, why in ON_RESUME.items():
            if _matches(tuple(key.split(".")), path[:length]):
                return why
    return UNDECIDED


def is_place(path: tuple[str, ...]) -> bool:
    return any(_matches(tuple(key.split(".")), path) for key in PLACES)


def refusal(path: tuple[str, ...], before: Any, *, stage: int) -> str:
    """Why the setting `path` must stay at its value `before` (None: it was not there); empty if it may change.

    `stage` is the number, from 0, of the stage that the run is in.
    """
    if path[:2] == ("schedule", "stages") and len(path) > 2:
        index = int(path[2][1:-1])
        if index < stage:
            return f"this stage is over; change the one that is going on (schedule.stages[{stage}]), or a later one"
        if index == stage > 0 and len(path) == 3:
            return "the run is in this stage; keep it, and those before it"
    is_new_entry = path[:2] == ("tasks", "mixture") and len(path) == 3 and before is None
    return MAY if is_new_entry else reason(path)


def dotted(path: tuple[str, ...]) -> str:
    """The setting as people write it: "schedule.stages[0].steps"."""
    return "".join(part if part.startswith("[") or not index else f".{part}" for index, part in enumerate(path))


def parsed(key: str) -> tuple[str, ...]:
    """The inverse of `dotted`, for names without dots."""
    return tuple(re.findall(r"\[\d+\]|[^.\[\]]+", key))


def _matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(pattern) == len(path) and all(a in ("*", b) for a, b in zip(pattern, path, strict=True))
