"""Faults that are caused on purpose, to see what a run makes of them: `faults`, empty unless somebody tests that."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum

from omegaconf import MISSING

from prorl_mega.config.bounds import bounded


class FaultAction(StrEnum):
    """The thing that happens at a site."""

    kill = "kill"  # SIGKILL to the process, as a kernel without memory sends it
    exit = "exit"  # the process ends at once, with status 0
    error = "error"  # an exception that nobody expects
    stop = "stop"  # SIGSTOP: the process stands still, with all its threads
    hang = "hang"  # the main thread waits for ever
    terminate = "terminate"  # SIGTERM, as a scheduler sends it
    full = "full"  # a write finds the disk full
    poison = "poison"  # a number becomes NaN
    flip = "flip"  # one bit of a number changes


AT_DATA = {FaultAction.poison: ("gradients",), FaultAction.flip: ("parameters",)}
"""The sites of actions that change numbers."""

_PHASES = ("rollout", "reference", "update", "parity", "push", "evaluate")
SITES = {
    **{name: f"the phase {name!r} begins" for name in _PHASES},
    **{f"{name}/done": f"the phase {name!r} has ended" for name in _PHASES},
    "open": "the run's directory is open, nothing is built",
    "load": "a checkpoint is about to be read",
    "rollout/answers": "answers have come, others are being sampled",
    "parameters": "the policy is about to be updated",
    "gradients": "this rank's gradients are complete, and not yet summed over all ranks",
    "update/stepped": "the optimizer has made its step",
    "push/tensors": "some tensors are pushed, others are not",
    "record": "the step is over, and nothing of it written",
    "record/decisions": "its decisions are written",
    "record/metrics": "its metrics are written, loggers have not got them",
    "save": "a checkpoint is due",
    "save/shards": "this rank's files are written",
    "save/state": "the state that all ranks share is written",
    "save/sealed": "this rank's share of the files is on disk and hashed, and was not read back",
    "save/manifest": "the manifest is on disk, under the temporary name",
    "save/renamed": "the checkpoint has its name, LATEST names the one before",
    "save/latest": "LATEST names it, older ones are still there",
    "save/done": "it is complete",
}
"""The places of a run at which something may be caused, in words."""


@dataclass(kw_only=True, slots=True)
class FaultConfig:
    """One fault, on one rank."""

    site: str = MISSING  # one of SITES
    action: FaultAction = FaultAction.kill
    step: int = bounded(1, ge=0)  # in which it happens, when the site is reached first; 0: before the first step
    rank: int = bounded(0, ge=0)
    times: int = bounded(1, ge=1)  # so often, counted over all starts of the run


def fault_problems(faults: list[FaultConfig], world_size: int) -> list[str]:
    """The faults that can never happen, with what would."""
    problems = []
    for index, fault in enumerate(faults):
        key = f"faults[{index}]"
        if fault.site not in SITES:
            near = difflib.get_close_matches(fault.site, SITES, n=3) or list(SITES)
            problems.append(f"{key}.site={fault.site!r} is no place of a run; these are near: {', '.join(near)}")
        elif (places := AT_DATA.get(fault.action)) and fault.site not in places:
            problems.append(f"{key}.action={fault.action} needs numbers; site={' or '.join(places)} has some")
        if fault.rank >= world_size:
            problems.append(f"{key}.rank={fault.rank}: the job has ranks 0 to {world_size - 1}")
    return problems
