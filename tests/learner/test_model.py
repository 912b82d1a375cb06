"""What a model is made of on every rank: names, shards, initial weights, precision and recomputation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.tiny import tiny_checkpoint

from prorl_mega.config.schema import ParallelConfig, Precision, Recompute
from prorl_mega.errors import ConfigError, ModelError
from prorl_mega.huggingface.config import describe
from prorl_mega.types import ParallelLayout

LENGTHS = (9, 30, 3, 14)


def start(**settings: Any) -> tuple[ParallelConfig, ParallelLayout]:
    from prorl_mega.learner import backend
    from prorl_mega.learner.parallel import initialize_parallel

    backend.activate()
    backend.initialize_distributed(60)
    parallel = ParallelConfig(**settings)
    return parallel, initialize_parallel(parallel, seed=5)


def build(directory: str, parallel: ParallelConfig, **settings: Any) -> Any:
    from prorl_mega.learner.model import build_model

    defaults: dict[str, Any] = {"precision": Precision.auto, "recompute": Recompute.none, "valid_vocab": 250}
    (model,) = build_model(describe(directory), parallel, **(defaults | settings))
    return model


def forward_backward(model: Any) -> dict[str, torch.Tensor]:
    """Output and all gradients of one pack through a whole model."""
    from prorl_mega.learner.packed_sequences import pack_lengths

    model.zero_grad()
    tokens = torch.arange(sum(LENGTHS)) * 7 % 250
    hidden = model(tokens, pack_lengths(LENGTHS, multiple=1, device=torch.device("cpu")))
    assert hidden.shape == (sum(LENGTHS), model.config.hidden_size)
    scores = (hidden @ model.output_weight().T).float().log_softmax(-1)
    scores.gather(1, tokens[:, None]).sum().backward()
    return {"hidden": hidden.detach()} | {name: p.grad.clone() for name, p in model.named_parameters()}


def whole_models(directories: dict[str, str]) -> dict[str, Any]:
    """On two replicas of a whole model."""
    from prorl_mega.learner.model import global_names, spec_name

    found: dict[str, Any] = {"spec": spec_name()}
    parallel, _ = start()
    for family, directory in directories.items():
        model = build(directory, parallel)
        weights = {name: p.detach().clone() for name, p in global_names(model).items()}
        once, again = forward_backward(model), forward_backward(model)
        recomputing = build(directory, parallel, recompute=Recompute.full)
        halved = build(directory, parallel, precision=Precision.bf16)
        for name, parameter in global_names(recomputing).items():
            parameter.data.copy_(weights[name])
            global_names(halved)[name].data.copy_(weights[name])
        recomputed, rough = forward_backward(recomputing), forward_backward(halved)
        found[family] = {
            "names": list(weights),
            "weights": weights,
            "tied": model.output_weight() is model.embedding.word_embeddings.weight,
            "unlike again": [name for name in once if not torch.equal(once[name], again[name])],
            "unlike recomputed": [name for name in once if not torch.equal(once[name], recomputed[name])],
            "half": {str(value.dtype) for value in rough.values()},
            "half error": float((rough["hidden"] - once["hidden"]).norm() / once["hidden"].norm()),
        }
    return found


def cut_models(directories: dict[str, str]) -> dict[str, Any]:
    """On two tensor-parallel ranks, then on two stages."""
    from prorl_mega.learner.model import global_names

    found = {}
    for cut in ({"tensor": 2}, {"pipeline": 2}):
        parallel, _ = start(**cut)
        for family, directory in directories.items():
            parameters = global_names(build(directory, parallel))
            found[f"{family} {cut}"] = {name: p.detach().clone() for name, p in parameters.items()}
    return found


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("tiny")
    return {family: str(tiny_checkpoint(root / family, family)) for family in ("qwen2_tied", "qwen3")}


def both(directories: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    return whole_models(directories), cut_models(directories)


@pytest.fixture(scope="module")
def ranks(directories: dict[str, str]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return run_ranks(both, 2, directories)


def test_replicas_start_with_equal_weights(ranks: list[Any]) -> None:
    for family in ("qwen2_tied", "qwen3"):
        first, second = (whole[family]["weights"] for whole, _ in ranks)
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert 0.015 < float(first["decoder.layers.3.mlp.linear_fc1.weight"].std()) < 0.025
        repeated = first["decoder.layers.0.mlp.linear_fc1.weight"], first["decoder.layers.1.mlp.linear_fc1.weight"]
        assert not torch.equal(*repeated)


def test_forward_and_backward_are_deterministic_and_recompute_bit_for_bit(ranks: list[Any]) -> None:
    for whole, _ in ranks:
        for family in ("qwen2_tied", "qwen3"):
            assert whole[family]["unlike again"] == []
            assert whole[family]["unlike recomputed"] == []


def test_half_precision_is_half_precision_throughout(ranks: list[Any]) -> None:
    whole, _ = ranks[0]
    for family in ("qwen2_tied", "qwen3"):
        assert whole[family]["half"] == {"torch.bfloat16"}
        print(f"{family}: relative error of bf16 hidden states {whole[family]['half error']:.1e}")
        assert whole[family]["half error"] < 0.05


def test_head_is_the_embedding_only_when_tied(ranks: list[Any]) -> None:
    whole, _ = ranks[0]
    assert whole["spec"] == "local"
    assert (whole["qwen2_tied"]["tied"], whole["qwen3"]["tied"]) == (True, False)
    assert "output_layer.weight" not in whole["qwen2_tied"]["names"]
    assert "output_layer.weight" in whole["qwen3"]["names"]


def test_tensor_parallel_ranks_slice_one_draw_and_pad_the_vocabulary(ranks: list[Any]) -> None:
    whole = ranks[0][0]["qwen3"]["weights"]
    shards = [cut["qwen3 {'tensor': 2}"] for _, cut in ranks]
    embedding = torch.cat([shard["embedding.word_embeddings.weight"] for shard in shards])
    assert whole["embedding.word_embeddings.weight"].shape == (259, 48)
    assert embedding.shape == (260, 48)
    for name in ("input_layernorm.weight", "self_attention.q_layernorm.weight"):
        assert torch.equal(*(shard[f"decoder.layers.0.{name}"] for shard in shards))
    first, second = (shard["decoder.layers.2.mlp.linear_fc2.weight"] for shard in shards)
    assert first.shape == second.shape == (48, 40)
    assert not torch.equal(first, second)


def test_stages_hold_their_layers_and_one_tied_embedding(ranks: list[Any]) -> None:
    first, last = (cut["qwen2_tied {'pipeline': 2}"] for _, cut in ranks)
    assert {name.split(".")[2] for name in first if name.startswith("decoder.layers")} == {"0", "1"}
    assert {name.split(".")[2] for name in last if name.startswith("decoder.layers")} == {"2", "3"}
    assert torch.equal(first["embedding.word_embeddings.weight"], last["output_layer.weight"])
    pair = first["decoder.layers.1.mlp.linear_fc1.weight"], last["decoder.layers.3.mlp.linear_fc1.weight"]
    assert not torch.equal(*pair)


def test_refuses_what_does_not_fit_before_it_builds(directories: dict[str, str]) -> None:
    from prorl_mega.learner.model import padded_vocab

    with pytest.raises(ModelError, match=r"parallel\.tensor=3"):
        build(directories["qwen3"], ParallelConfig(tensor=3))
    with pytest.raises(ConfigError, match="knows 260 ids but the model has vocab_size=259"):
        build(directories["qwen3"], ParallelConfig(), valid_vocab=260)
    description = describe(directories["qwen3"])
    assert [padded_vocab(description, tensor) for tensor in (1, 2, 4)] == [259, 260, 260]
