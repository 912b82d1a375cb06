"""Mixtures of experts, cut by groups of experts as well: checkpoints, and weights on their way to engines and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.learning import bits, make_learner, make_sequences, same_bits
from helpers.shards import described, read_checkpoint
from helpers.tiny import tiny_checkpoint

from prorl_mega.errors import CheckpointError, ModelError
from prorl_mega.types import StepHyperparams
from prorl_mega.weights.reshard import stream_weights
from prorl_mega.weights.saved import policy_files, stream_saved

COEFFICIENTS = StepHyperparams(kl=0.1, entropy=0.01, learning_rate=1e-2)
LAYOUTS: dict[str, dict[str, Any]] = {
    "alone": {},
    "groups": {"expert": 4},
    "pipeline": {"pipeline": 2, "expert": 2},
    "tensor": {"tensor": 2, "sequence": True, "expert": 2},
    "own tensor": {"tensor": 2, "sequence": True, "expert": 2, "expert_tensor": 1},
    "all": {"tensor": 2, "pipeline": 2, "sequence": True, "expert": 2, "expert_tensor": 1},
}
OFTEN_ENOUGH = ("groups", "pipeline", "tensor")  # what they show, "all" shows together
BUCKET = 40_000  # bytes; the model has 600,000


def update(learner: Any, seed: int) -> None:
    sequences = make_sequences(8, seed=seed)
    learner.compute_log_probs(sequences)
    learner.update(sequences, COEFFICIENTS)


def streamed(learner: Any) -> tuple[dict[str, torch.Tensor], int]:
    """All tensors, and the most bytes that the stream held at a time."""
    groups, most = learner.groups, 0
    empty = torch.empty

    def counted(*arguments: Any, **keywords: Any) -> torch.Tensor:
        nonlocal most
        made = empty(*arguments, **keywords)
        most = max(most, made.nbytes)
        return made

    found: dict[str, torch.Tensor] = {}
    before = torch.Tensor.new_empty
    torch.Tensor.new_empty = lambda self, *shape: counted(*shape, dtype=self.dtype)
    try:
        for name, tensor in stream_weights(
            learner.parameters(), learner.description, learner.layout, tensor_group=groups.tensor,
            pipeline_group=groups.pipeline, experts_group=groups.experts, bucket_bytes=BUCKET,
        ):  # fmt: skip
            assert name not in found
            found[name] = tensor.clone()
    finally:
        torch.Tensor.new_empty = before
    return found, most


def course(path: Path, directory: Path, name: str, layout: dict[str, Any]) -> dict[str, Any]:
    learner = make_learner(path, **layout)
    loaded, most = streamed(learner)
    update(learner, seed=1)
    learner.reset_reference(clear_optimizer=False)
    learner.keep_best()
    update(learner, seed=2)
    place = directory / name.replace(" ", "_")
    if learner.layout.rank == 0:
        place.mkdir()
    torch.distributed.barrier()
    learner.save(place, 2)
    torch.distributed.barrier()
    saved, (trained, _) = bits(learner), streamed(learner)
    update(learner, seed=3)
    other = make_learner(path, **layout)
    other.load(place)
    alike = same_bits(bits(other), saved)
    update(other, seed=3)
    return {
        "loaded": all(torch.equal(loaded[name], each) for name, each in read_checkpoint(path).items()),
        "names": set(loaded),
        "most": most,
        "trained": trained,
        "resumed": alike and same_bits(bits(other), bits(learner)) and not same_bits(saved, bits(learner)),
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"), "qwen3_moe")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in OFTEN_ENOUGH else name for name in LAYOUTS]
)
def test_weights_come_out_as_they_went_in_and_a_resumed_learner_goes_on(name: str, model: Path, tmp_path: Path) -> None:
    """Streamed, saved, loaded and read from the files, to the bit."""
    found = run_ranks(course, 4 if name != "alone" else 1, model, tmp_path, name, LAYOUTS[name], timeout_s=240)
    trained = found[0]["trained"]
    for rank in found:
        assert rank["names"] == set(read_checkpoint(model))
        assert rank["loaded"]
        assert rank["resumed"]
        assert all(torch.equal(rank["trained"][key], value) for key, value in trained.items())
        largest = 259 * 48 * 4 + 48 * 4 * 8  # bytes of the embedding, with its padding
        assert rank["most"] <= max(BUCKET, largest)
    (tmp_path / name.replace(" ", "_") / "MANIFEST.json").write_text(
        '{"format": 1, "step": 2, "world_size": 4, "files": {}}'
    )
    files = policy_files(tmp_path / name.replace(" ", "_"))
    read = dict(stream_saved(files, described(model)))
    assert read.keys() == trained.keys()
    assert all(torch.equal(read[key], value) for key, value in trained.items())


def loads(path: Path, layout: dict[str, Any]) -> list[dict[str, float]]:
    """The metrics of experts of two updates; before the second the first router sends every token to experts 2, 5."""
    learner = make_learner(path, **layout)
    found = []
    for seed in (1, 2):
        sequences = make_sequences(8, seed=seed)
        learner.compute_log_probs(sequences)
        metrics = learner.update(sequences, COEFFICIENTS)
        found.append({name: value for name, value in metrics.items() if name.startswith("experts/")})
        for name, parameter in learner.parameters().items():
            if name == "decoder.layers.0.mlp.router.weight":
                parameter.zero_()  # all logits are equal, and the first experts win
    return found


def test_the_load_of_experts_is_the_same_in_every_layout(model: Path) -> None:
    (alone,) = run_ranks(loads, 1, model, {})
    for layout in ({"expert": 4}, LAYOUTS["all"]):
        for found in run_ranks(loads, 4, model, layout, timeout_s=240):
            assert found == [pytest.approx(each, rel=0.2) for each in alone], "but for padding"
    spread, concentrated = alone
    assert 1.0 < spread["experts/load_max"] < 4.0
    assert spread["experts/unused"] == 0.0
    assert concentrated["experts/load_max"] == pytest.approx(4.0, rel=1e-3), "two of eight get everything"
    assert concentrated["experts/unused"] == pytest.approx(6 / 8 / 4), "in one of four layers"


def other_layout(path: Path, directory: Path, layout: dict[str, Any]) -> str:
    try:
        make_learner(path, **layout).load(directory)
    except (CheckpointError, ModelError) as error:
        return str(error)
    return ""


def saved_by(path: Path, directory: Path, layout: dict[str, Any]) -> None:
    make_learner(path, **layout).save(directory, 1)
    torch.distributed.barrier()


def test_what_does_not_fit_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    run_ranks(saved_by, 2, model, tmp_path / "two", {"expert": 2})
    (text, _) = run_ranks(other_layout, 2, model, tmp_path / "two", {})
    assert "experts that are cut in their own way are read by the same only" in text
    assert "1 tensor × 1 pipeline × 2 data, 2 groups of experts" in text
    (tmp_path / "two" / "policy-experts-ep01-etp00-pp00.safetensors").rename(tmp_path / "elsewhere")
    (_, text) = run_ranks(other_layout, 2, model, tmp_path / "two", {"expert": 2})
    assert "policy-experts-ep01-etp00-pp00.safetensors cannot be read" in text
    (text,) = {*run_ranks(other_layout, 3, model, tmp_path / "two", {"expert": 3})}
    assert "parallel.expert=3 does not divide the model's 8 experts; these work: 1, 2, 4, 8" in text
    dense = tiny_checkpoint(tmp_path / "dense", "qwen3")
    (text, _) = run_ranks(other_layout, 2, dense, tmp_path / "two", {"expert": 2})
    assert text == "parallel.expert=2: the model has no experts; 1 works"
