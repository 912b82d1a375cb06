"""Batches that have done harm: the step whose gradient was far larger than usual, or not finite, keeps its batch.

    spikes/step_000123.safetensors      what the update was computed from; the checkpoint before it has the weights

`read_batch` returns the samples as `Learner.update` takes them, so that the step can be done again under a debugger.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from prorl_mega.errors import DataError, NumericsError
from prorl_mega.run.step import StepLog
from prorl_mega.run.storage import storage_errors
from prorl_mega.types import TrainSample

FOLDER = "spikes"
NORM = "optimizer/grad_norm"
KEPT = 8  # batches, the newest
_USUAL, _FEWEST = 50, 10  # norms that the median is of, and without which there is none

_PER_TOKEN = ("rollout_logprobs", "old_logprobs", "reference_logprobs")


class Spikes:
    """Watches the updates of a run. Rank 0 writes; the others do nothing."""

    def __init__(self, directory: Path, factor: float, *, is_first: bool) -> None:
        """Batches are kept whose norm is more than `factor` times the median of those before; 0: none."""
        self._folder, self._factor, self._is_first = directory / FOLDER, factor, is_first
        self._norms: deque[float] = deque(maxlen=_USUAL)

    def resume(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take in the metrics of the steps so far, and forget all others."""
        self._norms.clear()
        for row in rows:
            self._take(row.get(NORM))

    @contextlib.contextmanager
    def watching(self, log: StepLog, step: int, samples: Sequence[TrainSample]) -> Iterator[None]:
        """The updates of step `step` on `samples`. A NumericsError that leaves the block says where the batch is."""
        try:
            yield
        except NumericsError as error:
            if self._factor and self._is_first:
                path = write_batch(self._folder, step, samples)
                error.args = (f"{error}; its batch is in {path}",)
            raise
        norm = log.metrics.get(NORM, math.nan)
        usual = median(self._norms) if len(self._norms) >= _FEWEST else math.inf
        if self._factor and self._is_first and norm > self._factor * usual:
            path = write_batch(self._folder, step, samples)
            log.say(f"gradient norm {norm:.3g}, {norm / usual:.0f} times the usual {usual:.3g}; its batch is in {path}")
        self._take(norm)

    def _take(self, norm: float | None) -> None:
        if norm is not None and math.isfinite(norm):
            self._norms.append(norm)


def write_batch(folder: Path, step: int, samples: Sequence[TrainSample]) -> Path:
    """Write the samples of a step; the oldest batches beyond KEPT go. Raises StorageError."""
    arrays: dict[str, np.ndarray] = {
        "tokens": np.concatenate([each.tokens for each in samples]).astype(np.int32),
        "lengths": np.array([len(each.tokens) for each in samples], dtype=np.int64),
        "prompt_lengths": np.array([each.prompt_length for each in samples], dtype=np.int64),
        "rewards": np.array([each.reward for each in samples], dtype=np.float64),
        "versions": np.concatenate([each.token_versions() for each in samples]).astype(np.int32),
        "advantages": np.concatenate(
            [np.broadcast_to(np.float64(each.advantage), each.completion_length) for each in samples]
        ),
    }
    for name in _PER_TOKEN:
        values = [getattr(each, name) for each in samples]
        if all(value is not None for value in values):
            arrays[name] = np.concatenate(values).astype(np.float32)
    path = folder / f"step_{step:06d}.safetensors"
    with storage_errors(f"writing {path}"):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(arrays, path, {"keys": json.dumps([each.key for each in samples]), "step": str(step)})
        for old in sorted(folder.glob("step_*.safetensors"))[:-KEPT]:
            old.unlink()
    return path


def read_batch(path: Path) -> list[TrainSample]:
    """The samples that `write_batch` was given, advantages per token. Raises DataError for another file."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            keys = json.loads((file.metadata() or {})["keys"])
        ends = np.cumsum(arrays["lengths"])
        lengths = arrays["lengths"] - arrays["prompt_lengths"]
        stops = np.cumsum(lengths)
        return [
            TrainSample(
                tokens=arrays["tokens"][end - length : end],
                prompt_length=int(prompt),
                advantage=arrays["advantages"][stop - own : stop],
                reward=float(reward),
                version=int(arrays["versions"][stop - own]) if own else 0,
                versions=arrays["versions"][stop - own : stop],
                key=str(key),
                rollout_logprobs=arrays["rollout_logprobs"][stop - own : stop],
                **{name: arrays[name][stop - own : stop] for name in _PER_TOKEN[1:] if name in arrays},
            )
            for end, length, prompt, stop, own, reward, key in zip(
                ends, arrays["lengths"], arrays["prompt_lengths"], stops, lengths, arrays["rewards"], keys, strict=True
            )
        ]
    except (OSError, SafetensorError, KeyError, ValueError, IndexError) as error:
        raise DataError(f"{path} is no batch that a step has kept: {error}") from error
