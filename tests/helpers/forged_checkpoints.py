"""Checkpoints as a training run writes them, and changes to their files that the manifest agrees with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from prorl_mega.config.recipe import CurriculumConfig, CurriculumUnit, RecipeConfig
from prorl_mega.config.schedule import ResetConfig, ScheduleConfig
from prorl_mega.config.schema import RunConfig, TaskConfig, TasksConfig
from prorl_mega.consistency import contradictions
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.learner.checkpoint import LearnerState, save_state
from prorl_mega.recipe.control import ProRLController
from prorl_mega.recipe.curriculum import Curriculum
from prorl_mega.run import changes, manifest
from prorl_mega.run.checkpoints import AFTER, STATE, Checkpoints
from prorl_mega.run.retention import Retention
from prorl_mega.tasks import Mixture
from prorl_mega.types import ParallelLayout

ALONE = ParallelLayout(world_size=1, rank=0, tensor_size=1, tensor_rank=0, pipeline_size=1, pipeline_rank=0,
                       data_size=1, data_rank=0)  # fmt: skip
OPTIMIZER, RANDOM = "optimizer-tp00-pp00-dp00.safetensors", "random-tp00-pp00-dp00.safetensors"
POLICY, LEARNER, SETTINGS = "policy-tp00-pp00.safetensors", "learner.json", "settings.yaml"
RESET = 8  # the step after which the reference was reset


def config(**tasks: str) -> RunConfig:
    names = tasks or {"sums": "arithmetic", "words": "arithmetic"}
    return RunConfig(
        name="run",
        recipe=RecipeConfig(curriculum=CurriculumConfig(by=CurriculumUnit.entry)),
        schedule=ScheduleConfig(steps=20, reset=ResetConfig(every=RESET, min_distance=RESET)),
        tasks=TasksConfig(mixture={entry: TaskConfig(name=name) for entry, name in tasks.items() or names.items()}),
    )


def checkpoints(run: Path, said: list[str] | None = None) -> Checkpoints:
    report = (lambda text: None) if said is None else said.append
    keep = Retention(newest=2)
    return Checkpoints(run / "checkpoints", ranks=Ranks.alone(), retention=keep, report=report, audit=contradictions)


def write_run(run: Path) -> None:
    """Checkpoints after steps 9 and 10: a reset after step 8, two updates in every step, three problems drawn."""
    settings = config()
    controller = ProRLController(settings)
    problems = Curriculum(Mixture(settings.tasks, seed=1), settings.recipe.curriculum)
    for step in range(1, 11):
        problems.draw(3)
        problems.observe([])
        controller.observe(step, {"policy/kl": 0.01, "evaluation/pass@1": 0.5 - step / 100})
        if step < 9:
            continue
        with checkpoints(run).writing(step) as directory:
            done = 2 * (step - RESET)
            weights = {"w": torch.full((2, 3), float(step))}
            moments = {"w/exp_avg": torch.ones(2, 3), "w/exp_avg_sq": torch.ones(2, 3)}
            random = {"cpu": torch.get_rng_state()}
            state = LearnerState(
                policy=weights, reference=weights, optimizer=moments, random=random, optimizer_steps=done
            )
            save_state(directory, ALONE, state, step)
            in_force = changes.InForce(settings=changes.to_plain(settings), inputs={})
            changes.write_in_force(directory, in_force, step)
            plain = {AFTER: step, "controller": controller.state_dict(), "problems": problems.state_dict()}
            (directory / STATE).write_text(json.dumps(plain | {"optimizer_steps": done}))


def rewrite(directory: Path, name: str, content: bytes | str) -> None:
    """Replace a file of a checkpoint, or add one, with a manifest that agrees."""
    (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
    seal(directory, name)


def seal(directory: Path, name: str) -> None:
    listing = json.loads((directory / manifest.NAME).read_text())
    listing["files"][name] = asdict(manifest.seal(directory / name))
    (directory / manifest.NAME).write_text(json.dumps(listing))


def change_json(directory: Path, name: str, change: Callable[[Any], Any]) -> None:
    """`change` alters the value in place, or returns another one."""
    value = json.loads((directory / name).read_text())
    changed = change(value)
    rewrite(directory, name, json.dumps(value if changed is None else changed))


def change_yaml(directory: Path, name: str, change: Callable[[Any], Any]) -> None:
    value = yaml.safe_load((directory / name).read_text())
    change(value)
    rewrite(directory, name, yaml.safe_dump(value))


def change_tensors(directory: Path, name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(directory / name)
    with safe_open(directory / name, framework="pt") as file:
        metadata = file.metadata()
    change(tensors)
    save_file(tensors, directory / name, metadata=metadata)
    seal(directory, name)


def put(*path: str, to: Any) -> Callable[[Any], None]:
    """A change that gives the value at the end of `path` another content."""

    def change(value: Any) -> None:
        for part in path[:-1]:
            value = value[part]
        value[path[-1]] = to

    return change


def drop(*path: str) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for part in path[:-1]:
            value = value[part]
        del value[path[-1]]

    return change
