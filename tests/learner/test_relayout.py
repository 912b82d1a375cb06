"""A checkpoint of any layout is read into any other, and is the same to the bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.learning import make_learner, make_sequences
from helpers.tiny import tiny_checkpoint
from safetensors.torch import load_file, save_file

from prorl_mega.config.schema import Precision
from prorl_mega.errors import CheckpointError
from prorl_mega.types import StepHyperparams

ALL = {1: [(1, 1)], 2: [(1, 1), (2, 1), (1, 2)], 4: [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)]}
"""By the number of ranks: tensor and pipeline; data is what is left."""
SOME = {1: [(1, 1)], 4: [(2, 1), (1, 2), (2, 2)]}
FEW = {1: [(1, 1)], 2: [(1, 1)]}
COEFFICIENTS = StepHyperparams(kl=0.1, entropy=0.01, learning_rate=1e-2)


def name(ranks: int, layout: tuple[int, int]) -> str:
    tensor, pipeline = layout
    return f"tp{tensor}-pp{pipeline}-dp{ranks // tensor // pipeline}"


def learner_of(model: str, layout: tuple[int, int], settings: dict[str, Any]) -> Any:
    return make_learner(Path(model), tensor=layout[0], pipeline=layout[1], **settings)


def save(learner: Any, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    torch.distributed.barrier()
    learner.save(directory, 3)
    torch.distributed.barrier()


def train(model: str, layout: tuple[int, int], directory: str, settings: dict[str, Any]) -> None:
    """A policy, a reference, a best one and moments that all differ, saved by the ranks of one layout."""
    learner = learner_of(model, layout, settings)
    for seed, act in enumerate((learner.keep_best, lambda: learner.reset_reference(clear_optimizer=False), None)):
        sequences = make_sequences(8, seed=seed)
        learner.compute_log_probs(sequences)
        learner.update(sequences, COEFFICIENTS)
        if act is not None:
            act()
    save(learner, Path(directory))


def through(
    model: str, sources: list[str], layouts: list[tuple[int, int]], directory: str, settings: dict[str, Any]
) -> None:
    """Read every source in every layout, and save it again as <directory>/<source>/<layout>."""
    for layout in layouts:
        learner = learner_of(model, layout, settings)
        ranks = torch.distributed.get_world_size()
        for source in sources:
            learner.load(Path(source))
            into = Path(directory) / Path(source).name
            into.mkdir(exist_ok=True)
            save(learner, into / name(ranks, layout))


def content(directory: Path) -> dict[str, bytes]:
    """The files of a checkpoint but for those of generators, which a layout seeds for itself."""
    return {each.name: each.read_bytes() for each in directory.iterdir() if not each.name.startswith("random")}


@pytest.mark.parametrize(
    ("family", "settings", "all_layouts"),
    [
        ("qwen2_tied", {}, SOME),
        ("llama3", {"precision": Precision.bf16}, FEW),
        pytest.param("qwen2_tied", {}, ALL, marks=pytest.mark.slow),
        pytest.param("llama3", {"precision": Precision.bf16}, ALL, marks=pytest.mark.slow),
        pytest.param("qwen3", {"optimizer": {"kind": "muon"}}, ALL, marks=pytest.mark.slow),
        pytest.param("phi3", {}, ALL, marks=pytest.mark.slow),
    ],
    ids=["some", "few_bf16", "all", "bf16", "muon", "fused"],
)
def test_every_layout_reads_every_other(
    family: str, settings: dict[str, Any], all_layouts: dict[int, list[tuple[int, int]]], tmp_path: Path
) -> None:
    model = str(tiny_checkpoint(tmp_path / "model", family))
    trained, first, second = tmp_path / "trained", tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    run_ranks(train, 4, model, (2, 2), str(trained), settings, timeout_s=300)
    for ranks, layouts in all_layouts.items():
        run_ranks(through, ranks, model, [str(trained)], layouts, str(first), settings, timeout_s=300)
    expected = {each.name: content(each) for each in (first / "trained").iterdir()}
    if "tp2-pp2-dp1" in expected:
        assert expected["tp2-pp2-dp1"] == content(trained)
    sources = [str(first / "trained" / each) for each in sorted(expected)]
    for ranks, layouts in all_layouts.items():
        run_ranks(through, ranks, model, sources, layouts, str(second), settings, timeout_s=900)
    pairs = [(source, layout) for source in expected for layout in expected]
    assert len(pairs) == sum(map(len, all_layouts.values())) ** 2
    for source, layout in pairs:
        assert content(second / source / layout) == expected[layout], f"{source} -> {layout}"


def refused(model: str, directory: str) -> str:
    try:
        learner_of(model, (1, 1), {}).load(Path(directory))
    except CheckpointError as error:
        return str(error)
    return ""


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    model = str(tiny_checkpoint(tmp_path / "model", "qwen2_tied"))
    trained = tmp_path / "trained"
    run_ranks(train, 2, model, (2, 1), str(trained), {}, timeout_s=300)

    def spoiled(file: str, change: Any) -> str:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(trained, copy)
        change(copy / file)
        ((text),) = run_ranks(refused, 1, model, str(copy), timeout_s=300)
        return text

    def tensors(change: Any) -> Any:
        def apply(path: Path) -> None:
            found = load_file(path)
            change(found)
            save_file(found, path)

        return apply

    policy, moments = "policy-tp01-pp00.safetensors", "optimizer-tp01-pp00-dp00.safetensors"
    key = next(each for each in sorted(load_file(trained / policy)) if "linear_fc1" in each)
    moment = next(each for each in sorted(load_file(trained / moments)) if "exp_avg" in each)
    assert "policy-tp01-pp00.safetensors: not a whole" in spoiled(policy, lambda path: path.unlink())
    assert "is not finite" in spoiled(policy, tensors(lambda found: found[key].fill_(float("nan"))))
    assert "is not of this model" in spoiled(policy, tensors(lambda found: found.update({key: torch.zeros(1, 1)})))
    assert "cannot be read" in spoiled(policy, tensors(lambda found: found.pop(key)))
    assert "elements on all replicas" in spoiled(moments, tensors(lambda found: found.update({moment: torch.zeros(1)})))
    assert json.loads((trained / "learner.json").read_text())["tensor"] == 2
