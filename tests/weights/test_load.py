"""Loading: what every rank holds is exactly its part of the checkpoint, and broken checkpoints are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.shards import CHECKPOINTS, SIZES, described, empty_shards, layouts, read_checkpoint, write_checkpoint
from safetensors.torch import save_file

from prorl_mega.errors import ModelError
from prorl_mega.families.llama import LLAMA
from prorl_mega.families.mapping_registry import MappingRegistry
from prorl_mega.weights.directory import save_directory
from prorl_mega.weights.load import load_weights

LAYOUTS = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)]


@pytest.fixture(scope="module", params=CHECKPOINTS, ids=str)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family, tied = request.param
    directory = tmp_path_factory.mktemp(f"{family}-{'tied' if tied else 'untied'}")
    return write_checkpoint(directory, family, tied=tied)


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """An untied Qwen2 directory and its tensors, to be changed and written back."""
    write_checkpoint(tmp_path, "qwen2", tied=False)
    return tmp_path, read_checkpoint(tmp_path)


def load_one_rank(directory: Path) -> dict[str, torch.Tensor]:
    (layout,) = layouts(1, 1)
    shards = empty_shards(described(directory), layout)
    load_weights(directory, shards, described(directory), layout)
    return shards


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.mark.parametrize(("tensor", "pipeline"), LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shards_join_to_the_checkpoint_bit_for_bit(
    checkpoint: Path, tensor: int, pipeline: int, dtype: torch.dtype
) -> None:
    model = described(checkpoint)
    ranks = list(layouts(tensor, pipeline))
    shards = [empty_shards(model, layout, dtype, fused_norms=pipeline == 2) for layout in ranks]
    for layout, parameters in zip(ranks, shards, strict=True):
        load_weights(checkpoint, parameters, model, layout)

    registry, expected = MappingRegistry(model), read_checkpoint(checkpoint)
    joined: dict[str, torch.Tensor] = {}
    for stage in range(pipeline):
        peers = shards[stage * tensor : (stage + 1) * tensor]
        for name in peers[0]:
            for tensor_name, full in registry.mapping(name).join([peer[name] for peer in peers]).items():
                assert torch.equal(joined.setdefault(tensor_name, full), full), "copies of the embedding differ"
    assert joined.keys() == expected.keys()
    for name, full in joined.items():
        assert torch.equal(full, expected[name].to(dtype)), name


def test_query_groups_and_gate_up_lie_as_megatron_reads_them(checkpoint: Path) -> None:
    """Against slices written out by hand, for the second of two tensor ranks."""
    model, full = described(checkpoint), read_checkpoint(checkpoint)
    layout = list(layouts(2, 1))[1]
    shards = empty_shards(model, layout)
    load_weights(checkpoint, shards, model, layout)

    d, kv = SIZES["head_dim"], model.kv_heads
    attention, mlp = "model.layers.1.self_attn", "model.layers.1.mlp"
    if f"{attention}.qkv_proj.weight" in full:
        q, k, v = full[f"{attention}.qkv_proj.weight"].split([8 * d, kv * d, kv * d])
        gate, up = full[f"{mlp}.gate_up_proj.weight"].chunk(2)
    else:
        q, k, v = (full[f"{attention}.{name}_proj.weight"] for name in "qkv")
        gate, up = (full[f"{mlp}.{name}_proj.weight"] for name in ("gate", "up"))
    blocks, queries = [], 8 // kv * d
    for group in range(kv // 2, kv):
        blocks += [q[group * queries : (group + 1) * queries]]
        blocks += [projection[group * d : (group + 1) * d] for projection in (k, v)]
    assert torch.equal(shards["decoder.layers.1.self_attention.linear_qkv.weight"], torch.cat(blocks))

    assert torch.equal(shards["decoder.layers.1.mlp.linear_fc1.weight"], torch.cat([gate[24:], up[24:]]))
    down = full[f"{mlp}.down_proj.weight"]
    assert torch.equal(shards["decoder.layers.1.mlp.linear_fc2.weight"], down[:, 24:])


def test_padded_rows_are_zero(checkpoint: Path) -> None:
    model = described(checkpoint)
    for layout in layouts(4, 1):
        shards = empty_shards(model, layout)
        load_weights(checkpoint, shards, model, layout)
        weight = shards["embedding.word_embeddings.weight"]
        valid = min(max(SIZES["vocab_size"] - layout.tensor_rank * len(weight), 0), len(weight))
        assert weight[valid:].eq(0).all()
        assert weight[:valid].ne(0).any(dim=1).all()


def test_an_index_with_several_files(tmp_path: Path) -> None:
    one = write_checkpoint(tmp_path / "one", "qwen3", tied=False)
    many = tmp_path / "many"
    save_directory(iter(read_checkpoint(one).items()), one, many, max_shard_bytes=20_000, writes=True)
    assert len(list(many.glob("*.safetensors"))) > 2
    expected, loaded = load_one_rank(one), load_one_rank(many)
    assert all(torch.equal(expected[name], loaded[name]) for name in expected)


def test_missing_tensor(broken: tuple[Path, dict[str, torch.Tensor]]) -> None:
    directory, tensors = broken
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(ModelError, match=r"has no tensor 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        load_one_rank(directory)


def test_wrong_shape(broken: tuple[Path, dict[str, torch.Tensor]]) -> None:
    directory, tensors = broken
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:-1].contiguous()
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors: 'lm_head\.weight' has shape \(66, 32\).*\(67, 32\)"):
        load_one_rank(directory)


def test_integers_are_not_weights(broken: tuple[Path, dict[str, torch.Tensor]]) -> None:
    directory, tensors = broken
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.int8)
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(ModelError, match=r"'model\.norm\.weight' is stored as I8"):
        load_one_rank(directory)


def test_unknown_tensor(broken: tuple[Path, dict[str, torch.Tensor]]) -> None:
    directory, tensors = broken
    save_file(tensors | {"model.layers.2.mlp.up_proj.weight": torch.ones(3)}, directory / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors: tensor 'model\.layers\.2\.mlp\.up_proj\.weight' is not"):
        load_one_rank(directory)


def test_harmless_tensors_are_ignored(broken: tuple[Path, dict[str, torch.Tensor]]) -> None:
    directory, tensors = broken
    without = load_one_rank(directory)
    save_file(tensors | {"model.rotary_emb.inv_freq": torch.ones(2)}, directory / "model.safetensors")
    assert_same(load_one_rank(directory), without)


def test_a_tied_checkpoint_may_repeat_its_head(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "llama3", tied=True)
    tensors, without = read_checkpoint(tmp_path), load_one_rank(tmp_path)
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"] + 0}, tmp_path / "model.safetensors")
    assert_same(load_one_rank(tmp_path), without)


def test_truncated_file(broken: tuple[Path, dict[str, torch.Tensor]]) -> None:
    directory, _ = broken
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_one_rank(directory)


def test_index_that_leaves_the_directory(broken: tuple[Path, dict[str, torch.Tensor]]) -> None:
    directory, tensors = broken
    weight_map = dict.fromkeys(tensors, "../elsewhere.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelError, match="not a plain file name"):
        load_one_rank(directory)


def test_a_parameter_that_the_family_does_not_know(checkpoint: Path) -> None:
    model = described(checkpoint)
    (layout,) = layouts(1, 1)
    shards = empty_shards(model, layout) | {"decoder.layers.0.self_attention.linear_qkv.gain": torch.zeros(1)}
    with pytest.raises(ModelError, match=r"no parameter 'decoder\.layers\.0\.self_attention\.linear_qkv\.gain'"):
        load_weights(checkpoint, shards, model, layout)


def test_a_model_that_lacks_a_parameter(checkpoint: Path) -> None:
    model = described(checkpoint)
    for layout in layouts(1, 2):
        for name in empty_shards(model, layout):
            shards = empty_shards(model, layout)
            del shards[name]
            with pytest.raises(ModelError, match=f"no parameter '{name}'"):
                load_weights(checkpoint, shards, model, layout)


def test_a_config_of_another_family(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "qwen2", tied=False)
    (layout,) = layouts(1, 1)
    llama = replace(described(tmp_path), family=LLAMA)
    with pytest.raises(ModelError, match=r"_proj\.bias' is not a part of the model"):
        load_weights(tmp_path, empty_shards(llama, layout), llama, layout)
