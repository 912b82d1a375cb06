"""Checkpoints on disk: complete or absent, verified before they are used, pruned only after a newer one verifies.

    checkpoints/
      step_000120/            every rank's files, state.json, settings.yaml, MANIFEST.json; model/: configuration and
                              tokenizer
      step_000130.tmp/        being written; deleted when found later
      LATEST                  the newest name, for people and scripts; resuming does not trust it
      BEST                    likewise the one that validated best, with `schedule.keep_best`

Order of a save: every rank writes its files into the `.tmp` directory; they are forced to disk, hashed and read back,
each rank doing its share; rank 0 writes the manifest, forces the directories to disk, renames, forces the parent; only
then LATEST moves and old checkpoints go. A process may die between any two of these. Forcing, hashing and reading back
may go on in a thread while the loop does (`begin` and `complete`): what the files hold is fixed once they are written.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prorl_mega import faults
from prorl_mega.config.schema import Resume
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.documents import BrokenDocumentError, brief, read_content, read_json
from prorl_mega.errors import CheckpointError, ConfigError, StorageError
from prorl_mega.run import manifest
from prorl_mega.run.manifest import BrokenManifestError, FileEntry, Manifest
from prorl_mega.run.retention import Retention
from prorl_mega.run.step import read_unfinished
from prorl_mega.run.storage import fsync_path, remove_tree, storage_errors, write_durably

STATE, MODEL = "state.json", "model"
AFTER = "after_step"  # key of the state; checkpoints of earlier versions have none
EVALUATION_BEGAN = "evaluation_began"  # another: the step that an evaluation began after that had not ended
_READ_BACK = re.compile(
    r"(state|unfinished|learner)\.json|settings\.yaml"
    r"|[a-z]+-tp\d+-pp\d+(-dp\d+)?\.safetensors|[a-z]+-experts-ep\d+-etp\d+-pp\d+\.safetensors"
)
"""Files that are read from a checkpoint: each must be in its manifest. Others, of people or systems, do not matter."""
UNFINISHED = "unfinished.json"
"""The record of a step in the checkpoint that was written in its evaluation; see `StepLog.to_json`."""
LATEST, BEST = "LATEST", "BEST"
_REPLACED = ".replaced"
_LARGEST_STATE = 1 << 28  # bytes; a curriculum has 60 for every problem that it has seen
_STEP = re.compile(r"step_(\d{6,})")


@dataclass(kw_only=True, slots=True, frozen=True)
class SavedCheckpoint:
    """A checkpoint that has been verified. `state` is what was saved as JSON beside the tensors."""

    directory: Path
    step: int
    world_size: int
    state: dict[str, Any]

    @property
    def stage(self) -> int:
        """The stage, from 0, that its controller is in."""
        return int(self.state.get("controller", {}).get("progress", {}).get("stage", 0))

    def unfinished(self) -> str:
        """The record of its last step if that lacks its evaluation, otherwise an empty string."""
        path = self.directory / UNFINISHED
        return read_content(path).decode("utf-8") if path.exists() else ""

    def check_resumable(self, resume: Resume) -> None:
        """Raise ConfigError when it must not be continued."""
        if resume is Resume.never:
            raise ConfigError(
                f"resume=never, but {self.directory} exists. Choose another name, move the directory away, or go on "
                "from there with resume=auto."
            )


Audit = Callable[[SavedCheckpoint], list[str]]
"""The faults of an intact checkpoint whose files contradict each other, one sentence each."""


class Checkpoints:
    """The `checkpoints/` directory of one run. All methods are collective over the ranks of the job."""

    def __init__(
        self,
        directory: Path,
        *,
        ranks: Ranks,
        retention: Retention,
        report: Callable[[str], None],
        audit: Audit = lambda checkpoint: [],
    ) -> None:
        """`audit` looks at intact checkpoints, on rank 0; one that it finds a fault with is not used either."""
        assert retention.newest >= 1, "at least one checkpoint is always kept"
        self._audit = audit
        self.directory = directory
        self._ranks = ranks
        self._retention = retention
        self._report = report
        self._rejected: set[str] = set()
        self._sealing: _Sealing | None = None

    def newest_valid(self) -> SavedCheckpoint | None:
        """The newest checkpoint whose files are all intact and agree, or None when there are none at all.

        Raises CheckpointError when there are checkpoints but every one of them is damaged: starting over silently
        would throw a run away.
        """
        with self._ranks.raise_on_all_ranks("listing the checkpoints"):
            names = self._names() if self._ranks.is_first else []
        refusals = []
        for name in reversed(self._ranks.broadcast(names)):
            complaints = self._faults(self.directory / name)
            if not complaints:
                return self._load(self.directory / name)
            self._rejected.add(name)
            refusals.append(
                f"{name}: {'; '.join(complaints[:5])}" + (f"; and {len(complaints) - 5} more" * (len(complaints) > 5))
            )
            self._report(f"checkpoint {refusals[-1]}: not used")
        if refusals:
            raise CheckpointError(
                f"{self.directory} has checkpoints but none is intact:\n  " + "\n  ".join(refusals) + "\n"
                "Restore one of them from a copy, or move the directory away to start from the beginning."
            )
        return None

    @contextlib.contextmanager
    def writing(self, step: int) -> Iterator[Path]:
        """Yields the directory that every rank writes its files into; afterwards the checkpoint is on disk, verified.

        Raises StorageError on every rank when one of them could not write; earlier checkpoints stay as they were.
        """
        with self.begin(step) as aside:
            yield aside
        self.complete(wait=True)

    @contextlib.contextmanager
    def begin(self, step: int) -> Iterator[Path]:
        """Yields the directory that every rank writes its files into; afterwards they are made a checkpoint in the
        background, until `complete`. Raises StorageError as `writing` does."""
        assert self._sealing is None, f"checkpoint {self.unfinished} is not complete"
        doing = f"writing checkpoint {step}"
        final = self.directory / f"step_{step:06d}"
        aside = final.with_name(f"{final.name}.tmp")
        ranks = self._ranks
        try:
            with ranks.raise_on_all_ranks(doing), storage_errors(doing):
                if ranks.is_first:
                    self.sweep()
                    aside.mkdir(parents=True)
            with ranks.raise_on_all_ranks(doing), storage_errors(doing):
                yield aside
            with ranks.raise_on_all_ranks(doing), storage_errors(doing):
                names = manifest.list_files(aside) if ranks.is_first else []
        except Exception:
            self._give_up(aside)
            raise
        names = ranks.broadcast(names)
        self._sealing = _Sealing(step, aside, final, names[ranks.rank :: ranks.world_size])

    @property
    def unfinished(self) -> int | None:
        """The step whose files are written and are no checkpoint yet; None if there is none."""
        return None if self._sealing is None else self._sealing.step

    def complete(self, *, wait: bool) -> bool:
        """Finish what `begin` has begun; False if the files of a rank are not on disk yet, which it may `wait` for.

        Collective. Raises StorageError on every rank when one of them has failed; the checkpoint is given up then.
        """
        sealing, ranks = self._sealing, self._ranks
        assert sealing is not None, "no checkpoint was begun"
        if not wait and not all(ranks.gather(sealing.is_done)):
            return False
        self._sealing = None
        doing = f"writing checkpoint {sealing.step}"
        sealed: dict[str, Any] = {}
        try:
            with ranks.raise_on_all_ranks(doing), storage_errors(doing):
                sealed = sealing.result()
            entries = {name: FileEntry(**entry) for part in ranks.gather(sealed) for name, entry in part.items()}
            listing = Manifest(step=sealing.step, world_size=ranks.world_size, files=entries)
            with ranks.raise_on_all_ranks(doing), storage_errors(doing):
                if ranks.is_first:
                    self._publish(listing, sealing.aside, sealing.final)
                    faults.reach("save/renamed")
                    write_durably(self.directory / LATEST, sealing.final.name + "\n")
                    faults.reach("save/latest")
                    self._prune(sealing.final.name)
        except Exception:
            self._give_up(sealing.aside)
            raise
        return True

    def close(self) -> None:
        """Wait until nothing is written any more; what is not complete stays none."""
        if self._sealing is not None:
            self._sealing.close()

    def _give_up(self, aside: Path) -> None:
        if self._ranks.is_first and aside.exists():
            with contextlib.suppress(OSError):
                remove_tree(aside)

    def sweep(self) -> None:
        """Remove the remains of interrupted saves and deletions. Rank 0 only, before anything is read."""
        if not self.directory.exists():
            return
        for path in sorted(self.directory.iterdir()):
            original = path.with_name(path.name.removesuffix(_REPLACED))
            if path.name.endswith(_REPLACED) and not original.exists():
                os.replace(path, original)  # the new one had not arrived yet
            elif path.name.endswith((".tmp", ".deleted", _REPLACED)):
                path.unlink() if path.is_symlink() or path.is_file() else remove_tree(path)

    def _publish(self, listing: Manifest, aside: Path, final: Path) -> None:
        write_durably(aside / manifest.NAME, listing.to_json())
        faults.reach("save/manifest")
        for path in sorted((path for path in aside.rglob("*") if path.is_dir()), reverse=True):
            fsync_path(path)
        fsync_path(aside)
        replaced = final.with_name(final.name + _REPLACED)
        if final.exists():  # the same step was saved before
            os.replace(final, replaced)
        os.replace(aside, final)
        fsync_path(self.directory)
        if replaced.exists():
            remove_tree(replaced)

    def _prune(self, newest: str) -> None:
        """Keep what `retention` says up to and including the one that was just verified; damaged ones do not count."""
        self._rejected.discard(newest)  # a damaged one of the same step, which this one has replaced
        known = {_number(name): name for name in self._names() if _number(name) <= _number(newest)}
        sound = [step for step, name in known.items() if name not in self._rejected]
        kept = self._retention.kept(sound)
        best = self._retention.best_of(sound)
        if best is not None:
            write_durably(self.directory / BEST, known[best] + "\n")
        else:
            (self.directory / BEST).unlink(missing_ok=True)
        for step, name in known.items():
            if step not in kept:
                remove_tree(self.directory / name)

    def _names(self) -> list[str]:
        """Names of finished checkpoints, oldest first."""
        if not self.directory.exists():
            return []
        found = [path.name for path in self.directory.iterdir() if _STEP.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=_number)

    def _faults(self, directory: Path) -> list[str]:
        """The faults of a checkpoint, the same list on every rank; each rank reads its share of the files."""
        ranks = self._ranks
        try:
            listing = manifest.read(directory)
            share = sorted(listing.files)[ranks.rank :: ranks.world_size]
            complaints = manifest.complaints(directory, listing, share)
            if listing.step != _number(directory.name):
                complaints.append(f"{manifest.NAME} is of step {listing.step}")
            if STATE not in listing.files:
                complaints.append(f"{STATE} is not listed")
        except BrokenManifestError as error:
            complaints = [str(error)]
        found = list(dict.fromkeys(fault for part in ranks.gather(complaints) for fault in part))
        if found:
            return found
        with ranks.raise_on_all_ranks(f"looking at {directory}"):
            found = self._contradictions(directory) if ranks.is_first else []
        return list(ranks.broadcast(found))

    def _contradictions(self, directory: Path) -> list[str]:
        """The faults of a checkpoint in which every file is what the manifest says."""
        try:
            checkpoint = self._load(directory)
        except CheckpointError as error:
            return [str(error)]
        listed = {*manifest.read(directory).files, manifest.NAME}
        read = {each.name for each in directory.iterdir() if _READ_BACK.fullmatch(each.name)}
        complaints = [f"{name} is not listed in {manifest.NAME}" for name in sorted(read - listed)]
        try:
            if text := checkpoint.unfinished():
                read_unfinished(text)
        except ValueError as error:
            complaints.append(f"{UNFINISHED}: {error}")
        return complaints or self._audit(checkpoint)

    def _load(self, directory: Path) -> SavedCheckpoint:
        """Raises CheckpointError for a state that `TrainingRun.save` does not write."""
        listing = manifest.read(directory)
        try:
            state = read_json(directory / STATE, _LARGEST_STATE)
        except (OSError, BrokenDocumentError) as error:
            raise CheckpointError(f"{STATE} cannot be read: {error}") from error
        if not isinstance(state, dict):
            raise CheckpointError(f"{STATE} is {brief(state)} and not an object")
        after = state.pop(AFTER, listing.step)
        if after != listing.step:
            raise CheckpointError(f"{STATE} was saved after step {brief(after)}, not {listing.step}")
        return SavedCheckpoint(directory=directory, step=listing.step, world_size=listing.world_size, state=state)


class _Sealing:
    """This rank's share of the files of a checkpoint on their way to the disk, in a thread."""

    def __init__(self, step: int, aside: Path, final: Path, names: list[str]) -> None:
        self.step, self.aside, self.final = step, aside, final
        self._names = names
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sealing")
        self._future = self._pool.submit(self._seal)

    def _seal(self) -> dict[str, Any]:
        """Entries of the manifest, of files that are on disk and were read back from there. Raises StorageError."""
        entries = {name: manifest.seal(self.aside / name) for name in self._names}
        faults.reach("save/sealed")
        listing = Manifest(step=self.step, world_size=1, files=entries)
        if complaints := manifest.complaints(self.aside, listing, self._names):
            raise StorageError(f"{self.aside} was written but reads back differently: {'; '.join(complaints)}")
        return {name: asdict(entry) for name, entry in entries.items()}

    @property
    def is_done(self) -> bool:
        return self._future.done()

    def result(self) -> dict[str, Any]:
        """The entries that `_seal` returns, or its error; waits for them."""
        try:
            return self._future.result()
        finally:
            self.close()

    def close(self) -> None:
        self._pool.shutdown(wait=True)


def _number(name: str) -> int:
    match = _STEP.fullmatch(name)
    assert match is not None, name
    return int(match.group(1))
