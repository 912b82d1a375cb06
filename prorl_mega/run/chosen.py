"""One checkpoint of a run, by what people call it: the last, the best, that of a step. Only reads."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.documents import BrokenDocumentError, brief, read_content
from prorl_mega.errors import CheckpointError, ConfigError, ProRLError
from prorl_mega.huggingface import identity
from prorl_mega.run import changes, manifest
from prorl_mega.run.checkpoints import BEST, MODEL, Checkpoints
from prorl_mega.run.retention import Retention

LAST, BEST_STEP = "last", "best"
_NAME = re.compile(r"step_(\d{6,})")


def chosen_checkpoint(run: Path, step: str, report: Callable[[str], None] = print) -> Path:
    """The intact checkpoint of a run directory that `step` names: `last`, `best` or a number.

    Raises ConfigError if there is none of that kind, and CheckpointError if it is damaged.
    """
    if step == LAST:
        return _newest(run, report)
    if step == BEST_STEP:
        return _best(run)
    present = [step_of(each) for each in finished_checkpoints(run)]
    if not step.isdecimal() or int(step) not in present:
        raise ConfigError(f"step={step}: {run} has {_present(run)}; `last` and `best` work as well")
    chosen = run / "checkpoints" / f"step_{int(step):06d}"
    with told_if_deleted(chosen):
        return intact_checkpoint(chosen)


@contextlib.contextmanager
def told_if_deleted(*checkpoints: Path) -> Iterator[None]:
    """Around what reads checkpoints of a run: where that fails because the run goes on and has deleted one of them
    meanwhile, raise ConfigError with what is there now."""
    try:
        yield
    except (ProRLError, OSError) as error:
        deleted = next((each for each in checkpoints if not each.is_dir()), None)
        if deleted is None:
            raise
        run = deleted.parents[1]
        raise ConfigError(
            f"step={step_of(deleted)}: {deleted} was deleted while it was being read: the run goes on and keeps the "
            f"newest (schedule.keep_checkpoints); {run} has {_present(run)} now; name one of them, `last` or `best`, "
            "or have the run keep more with schedule.keep_every"
        ) from error


def finished_checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run directory by step, without those that are being written or deleted."""
    found = [each for each in run.glob("checkpoints/*") if _NAME.fullmatch(each.name)]
    return sorted(found, key=step_of)


def _present(run: Path) -> str:
    """ "checkpoints of steps 20, 40" """
    steps = [str(step_of(each)) for each in finished_checkpoints(run)]
    return f"checkpoints of steps {', '.join(steps) or 'none'}"


def intact_checkpoint(checkpoint: Path) -> Path:
    """The absolute path of a checkpoint whose files are what its manifest says. Raises ConfigError for a directory that
    is none, CheckpointError for a damaged one."""
    of_a_run = (checkpoint.absolute().parents[1] / "config.yaml").is_file()
    if not of_a_run and not (checkpoint / MODEL).is_dir():
        raise ConfigError(f"{checkpoint} is neither a run directory nor one of its checkpoints/step_*")
    try:
        listing = manifest.read(checkpoint)
    except manifest.BrokenManifestError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from None
    if faults := manifest.complaints(checkpoint, listing, list(listing.files)):
        raise CheckpointError(f"{checkpoint} is damaged: {'; '.join(faults)}")
    _refuse_other_companions(checkpoint)
    return checkpoint.absolute()


def _refuse_other_companions(checkpoint: Path) -> None:
    """Raise CheckpointError where configuration or tokenizer are not those that the checkpoint's settings list. A run
    that goes on does not read them."""
    if not (checkpoint / MODEL).is_dir() or not (checkpoint / changes.NAME).is_file():
        return
    listed = changes.read_in_force(checkpoint).inputs.get("model.path", {})
    found = identity.contents(checkpoint / MODEL, weights=False)
    odd = [name for name in listed if name != identity.WEIGHTS and found.get(name) != listed[name]]
    if odd:
        raise CheckpointError(
            f"{checkpoint / MODEL / odd[0]} is not the file that {changes.NAME} lists; put back the one that was there"
        )


def step_of(checkpoint: Path) -> int:
    """The number in the name of a checkpoint's directory; 0 for one that has been renamed."""
    match = _NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match else 0


def _newest(run: Path, report: Callable[[str], None]) -> Path:
    retention = Retention(newest=1)  # nothing is written
    checkpoints = Checkpoints(run / "checkpoints", ranks=Ranks.alone(), retention=retention, report=report)
    newest = checkpoints.newest_valid()
    if newest is None:
        raise ConfigError(f"{run} has no checkpoints yet")
    _refuse_other_companions(newest.directory)
    return newest.directory


def _best(run: Path) -> Path:
    try:
        name = read_content(run / "checkpoints" / BEST).decode("utf-8", "replace").strip()
    except (OSError, BrokenDocumentError):
        raise ConfigError(
            f"{run} has no best checkpoint: schedule.keep_best=true keeps the one that validates best"
        ) from None
    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"{run}/checkpoints/{BEST} has {brief(name)} in place of a name; give one of step_*")
    return intact_checkpoint(run / "checkpoints" / name)
