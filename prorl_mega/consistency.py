"""Whether the files of an intact checkpoint agree: with each other, and with what a run can have done in its steps.

Hashes see what has changed since a checkpoint was written. They do not see one that was written wrong, put together
from several, or edited together with its manifest: such a one would be trained on without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prorl_mega.documents import brief
from prorl_mega.errors import CheckpointError, ConfigError
from prorl_mega.learner.checkpoint import LearnerManifest, missing_files, read_manifest, refuse_odd_files
from prorl_mega.recipe import controller_state, curriculum
from prorl_mega.recipe.controller_state import ControllerState
from prorl_mega.run import changes, manifest
from prorl_mega.run.checkpoints import EVALUATION_BEGAN, STATE, SavedCheckpoint
from prorl_mega.tasks import mixture
from prorl_mega.tasks.mixture import MixtureState

_PARTS = {"controller", "problems"}
_OPTIMIZER_STEPS = "optimizer_steps"  # checkpoints of earlier versions have it in learner.json alone
_OPTIONAL = {_OPTIMIZER_STEPS, EVALUATION_BEGAN}


def contradictions(checkpoint: SavedCheckpoint) -> list[str]:
    """The faults of a checkpoint of a training run, one sentence each; empty if it has none."""
    try:
        return list(_contradictions(checkpoint))
    except (CheckpointError, ConfigError) as error:
        return [str(error)]


def _contradictions(checkpoint: SavedCheckpoint) -> Iterator[str]:
    directory, state = checkpoint.directory, checkpoint.state
    if odd := _PARTS - state.keys() or state.keys() - _PARTS - _OPTIONAL:
        yield f"{STATE} has the keys {brief(sorted(state))}; {min(odd)!r} is missing or unknown"
        return
    learner = read_manifest(directory)
    controller = controller_state.read_state(state["controller"])
    problems = _read_problems(state["problems"])
    yield from controller_state.contradictions(controller, checkpoint.step)
    yield from _of_learner(checkpoint, learner)
    yield from _of_optimizer(checkpoint, learner, controller, problems, may_skip=_may_skip(directory))
    began = state.get(EVALUATION_BEGAN, 0)
    if type(began) is not int or not 0 <= began <= checkpoint.step:
        yield f"{STATE} has {EVALUATION_BEGAN}={brief(began)}; steps are from 0 to {checkpoint.step}"
    if (directory / changes.NAME).exists():  # those of version 0.1 have none
        saved = changes.read_in_force(directory)
        if saved.after_step not in (None, checkpoint.step):
            yield f"{changes.NAME} was saved after step {brief(saved.after_step)}, not {checkpoint.step}"
        yield from _of_cursors(problems, saved.settings)


def _read_problems(state: Any) -> MixtureState:
    if not isinstance(state, dict):
        raise CheckpointError(f"{STATE}: problems is {brief(state)} and not an object")
    curriculum.read_state(state)
    curriculum.read_open(state)
    return mixture.read_state(curriculum.source_state(state))


def _of_learner(checkpoint: SavedCheckpoint, learner: LearnerManifest) -> Iterator[str]:
    tensor, pipeline, data = learner.sizes
    if tensor * pipeline * data != checkpoint.world_size:
        yield f"learner.json is of {tensor * pipeline * data} ranks, the checkpoint of {checkpoint.world_size}"
    elif missing := missing_files(learner, manifest.read(checkpoint.directory).files):
        yield f"{missing[0]} is missing ({len(missing)} files are)"
    elif learner.after_step not in (None, checkpoint.step):
        yield f"learner.json was saved after step {learner.after_step}, not {checkpoint.step}"
    else:
        refuse_odd_files(checkpoint.directory, learner, checkpoint.step)


def _of_optimizer(
    checkpoint: SavedCheckpoint,
    learner: LearnerManifest,
    controller: ControllerState,
    problems: MixtureState,
    *,
    may_skip: bool,
) -> Iterator[str]:
    """A step makes an update or more, unless it may be left out, and each is made from a problem or more that was
    drawn."""
    steps, clear = learner.optimizer_steps, controller.progress.last_clear
    since = checkpoint.step - clear
    fewest = 0 if may_skip else since
    most = problems.drawn if since else 0
    if not fewest <= steps <= most:
        yield (
            f"learner.json has optimizer_steps={steps}; {fewest} to {most} are possible after step {checkpoint.step}, "
            f"with an optimizer that was fresh after step {clear} and {problems.drawn} problems that were drawn"
        )
    said = checkpoint.state.get(_OPTIMIZER_STEPS, steps)
    if said != steps:
        yield f"learner.json has optimizer_steps={steps}, {STATE} {brief(said)}"


def _may_skip(directory: Path) -> bool:
    if not (directory / changes.NAME).exists():
        return False
    settings = changes.read_in_force(directory).settings
    return bool(settings.get("optimizer", {}).get("max_skipped_updates", 0))


def _of_cursors(problems: MixtureState, settings: dict[str, Any]) -> Iterator[str]:
    entries = settings.get("tasks", {}).get("mixture", {}).keys()
    if odd := problems.cursors.keys() ^ entries:
        has = "no cursor of" if min(odd) in entries else "a cursor of"
        yield f"{STATE} has {has} {min(odd)!r}; the entries of tasks.mixture are {', '.join(sorted(entries))}"
    if problems.drawn and not any(problems.cursors.values()):
        yield f"{STATE}: {problems.drawn} problems were drawn, and every cursor is 0"
