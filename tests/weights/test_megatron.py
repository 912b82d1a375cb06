"""The mappings against the learner's real Megatron models: names, shapes, a checkpoint that goes in and comes out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.shards import CHECKPOINTS, described, read_checkpoint, write_checkpoint

from prorl_mega.config.schema import ParallelConfig
from prorl_mega.types import ParallelLayout

RANKS = 4
LAYOUTS = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)]  # what they leave over is data parallelism
EXPORTS = {(2, 2): 1 << 30, (4, 1): 20_000}  # of these layouts, with the bytes of one file


def round_trip(checkpoints: list[Path], exports: Path) -> None:
    """On one rank: every layout, every checkpoint."""
    from prorl_mega.learner import backend
    from prorl_mega.learner.parallel import initialize_parallel

    backend.activate()
    backend.initialize_distributed(120)
    for tensor, pipeline in LAYOUTS:
        parallel = ParallelConfig(tensor=tensor, pipeline=pipeline)
        layout = initialize_parallel(parallel, seed=1)
        for checkpoint in checkpoints:
            through_megatron(checkpoint, exports / f"{checkpoint.name}-{tensor}x{pipeline}", parallel, layout)


def through_megatron(checkpoint: Path, export: Path, parallel: ParallelConfig, layout: ParallelLayout) -> None:
    from prorl_mega.config.schema import Precision, Recompute
    from prorl_mega.families.mapping_registry import MappingRegistry
    from prorl_mega.learner.model import build_model, global_names
    from prorl_mega.learner.parallel import process_groups
    from prorl_mega.weights.directory import save_directory
    from prorl_mega.weights.load import load_weights
    from prorl_mega.weights.reshard import stream_weights

    model, tensor, pipeline = described(checkpoint), layout.tensor_size, layout.pipeline_size
    (policy,) = build_model(
        model, parallel, precision=Precision.fp32, recompute=Recompute.none, valid_vocab=model.vocab_size
    )
    parameters = {name: parameter.data.fill_(torch.nan) for name, parameter in global_names(policy).items()}

    registry = MappingRegistry(model)
    per_stage = model.layers // pipeline
    own = range(layout.pipeline_rank * per_stage, (layout.pipeline_rank + 1) * per_stage)
    wanted = {f"decoder.layers.{layer}." for layer in own}
    wanted |= {"embedding."} if layout.pipeline_rank == 0 else set()
    wanted |= {"decoder.final", "output_layer."} if layout.pipeline_rank == pipeline - 1 else set()
    expected = {mapping.name: mapping for mapping in registry.mappings if mapping.name.startswith(tuple(wanted))}
    if model.tied_embeddings and pipeline == 1:
        del expected["output_layer.weight"]
    assert parameters.keys() == expected.keys()
    vocabulary_rows = -(-model.vocab_size // tensor)
    shapes = {name: mapping.shard_shape(tensor, vocabulary_rows) for name, mapping in expected.items()}
    assert {name: tuple(parameter.shape) for name, parameter in parameters.items()} == shapes

    load_weights(checkpoint, parameters, model, layout)
    assert not any(parameter.isnan().any() for parameter in parameters.values())
    groups = process_groups()
    arguments = {"tensor_group": groups.tensor, "pipeline_group": groups.pipeline, "bucket_bytes": 8_000}
    expected = read_checkpoint(checkpoint)
    received = dict(stream_weights(parameters, model, layout, **arguments))
    assert received.keys() == expected.keys()
    assert all(torch.equal(received[name], expected[name]) for name in expected)
    if (tensor, pipeline) in EXPORTS:
        stream = stream_weights(parameters, model, layout, **arguments)
        size = EXPORTS[tensor, pipeline]
        save_directory(stream, checkpoint, export, max_shard_bytes=size, writes=layout.rank == 0)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """The checkpoints and all their exports."""
    root = tmp_path_factory.mktemp("round-trip")
    checkpoints = [write_checkpoint(root / f"{family}-{tied}", family, tied=tied) for family, tied in CHECKPOINTS]
    run_ranks(round_trip, RANKS, checkpoints, root / "exports", timeout_s=300.0)
    return checkpoints, sorted((root / "exports").iterdir())


def test_every_layout_holds_the_checkpoint_and_exports_it(directories: tuple[list[Path], list[Path]]) -> None:
    checkpoints, exports = directories
    assert len(exports) == len(checkpoints) * len(EXPORTS)
    for checkpoint in checkpoints:
        expected = read_checkpoint(checkpoint)
        for export in exports:
            if export.name.startswith(checkpoint.name):
                written = read_checkpoint(export)
                assert written.keys() == expected.keys()
                assert all(torch.equal(written[name], expected[name]) for name in expected), export.name


def test_transformers_loads_an_export_and_computes_the_same(directories: tuple[list[Path], list[Path]]) -> None:
    from transformers import AutoModelForCausalLM

    tokens = torch.arange(60).view(2, 30)
    checkpoints, exports = directories
    for checkpoint in checkpoints:
        for export in (path for path in exports if path.name.startswith(checkpoint.name)):
            with torch.no_grad():
                logits = [AutoModelForCausalLM.from_pretrained(path)(tokens).logits for path in (checkpoint, export)]
            assert torch.equal(*logits), export.name
