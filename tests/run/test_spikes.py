"""Batches of updates that have gone wrong are on disk, whole, and come back as they were."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.learning import make_sequences

from prorl_mega.errors import DataError, NumericsError
from prorl_mega.run.console import Console
from prorl_mega.run.spikes import KEPT, NORM, Spikes, read_batch, write_batch
from prorl_mega.run.step import StepLog
from prorl_mega.types import TrainSample

SAMPLES = make_sequences(3, seed=1)


def log_of(norm: float, path: Path) -> StepLog:
    console = Console(path / "console.log")
    log = StepLog(heading="step 21/40", console=console, resets=0)
    log.add({NORM: norm})
    console.close()
    return log


def kept(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "spikes").glob("*"))


def norms(*values: float | None) -> list[dict[str, float | None]]:
    return [{NORM: value} for value in values]


def test_a_norm_far_above_the_median_keeps_its_batch(tmp_path: Path) -> None:
    spikes = Spikes(tmp_path, 10.0, is_first=True)
    spikes.resume(norms(*[1.0] * 6, None, *[2.0] * 6))
    for step, norm in enumerate((14.9, 15.1, math.nan), start=20):  # of 1.5, then of 2
        with spikes.watching(log_of(norm, tmp_path), step, SAMPLES):
            pass
    assert kept(tmp_path) == []
    with spikes.watching(log_of(20.5, tmp_path), 30, SAMPLES):
        pass
    assert kept(tmp_path) == ["step_000030.safetensors"]


def test_without_enough_norms_without_a_factor_and_on_other_ranks_there_is_none(tmp_path: Path) -> None:
    for spikes, before in (
        (Spikes(tmp_path, 10.0, is_first=True), [1.0] * 9),
        (Spikes(tmp_path, 0.0, is_first=True), [1.0] * 20),
        (Spikes(tmp_path, 10.0, is_first=False), [1.0] * 20),
    ):
        spikes.resume(norms(*before))
        with spikes.watching(log_of(100.0, tmp_path), 1, SAMPLES):
            pass
        assert kept(tmp_path) == []


def test_a_batch_that_is_not_finite_is_named_in_the_error(tmp_path: Path) -> None:
    with (
        pytest.raises(NumericsError, match=r"loss=nan; its batch is in .*step_000007\.safetensors"),
        Spikes(tmp_path, 10.0, is_first=True).watching(log_of(1.0, tmp_path), 7, SAMPLES),
    ):
        raise NumericsError("loss=nan")
    assert kept(tmp_path) == ["step_000007.safetensors"]


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(1, KEPT + 3):
        write_batch(tmp_path / "spikes", step, SAMPLES)
    assert kept(tmp_path) == [f"step_{step:06d}.safetensors" for step in range(3, KEPT + 3)]


def test_samples_come_back_as_they_were(tmp_path: Path) -> None:
    samples = make_sequences(4, seed=2)
    samples[1].advantage = np.linspace(-1, 1, samples[1].completion_length)
    samples[2].versions = np.arange(samples[2].completion_length, dtype=np.int32)
    samples[2].version = 0
    for sample in samples:
        sample.old_logprobs = sample.rollout_logprobs + np.float32(0.5)
        sample.reference_logprobs = None
    found = read_batch(write_batch(tmp_path, 3, samples))

    def values(sample: TrainSample) -> list[object]:
        arrays = (
            sample.tokens,
            np.broadcast_to(np.float64(sample.advantage), sample.completion_length),
            sample.rollout_logprobs,
            sample.old_logprobs,
            sample.token_versions(),
        )
        plain = (sample.prompt_length, sample.reward, sample.version, sample.key, sample.reference_logprobs)
        return [each.tolist() if each is not None else None for each in arrays] + list(plain)

    assert [values(each) for each in found] == [values(each) for each in samples]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = write_batch(tmp_path, 3, SAMPLES)
    content = path.read_bytes()
    for broken in (b"", content[:100], content[:-4], b"\x80\x04." + content):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="is no batch that a step has kept"):
            read_batch(path)
    with pytest.raises(DataError, match="is no batch"):
        read_batch(tmp_path / "absent.safetensors")
