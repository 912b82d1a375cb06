"""The receiving end inside of vLLM: after a push the engine holds the stream's bits, and it refuses all others.

The engine is vLLM's own, in a process of its own, and is fed through the same calls that vLLM's worker makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.rollouts import (
    ENDS,
    VALID_VOCABULARY,
    by_prompt,
    checkpoint_tensors,
    engine_checkpoint,
    held_weights,
    huggingface_error,
    shard_of,
    some_prompts,
    some_seeds,
    start_rollout,
    steps_of,
)
from torch import Tensor

LIMIT = 1 << 16  # bytes of a bucket: projections of one layer lie in different buckets


def _update(engine: Any, pairs: Iterator[tuple[str, Tensor]], *, spoil: int = -1, skip: int = -1) -> str:
    """One update; the digest of what was sent. `spoil`: a bit of this bucket is changed; `skip`: it is not sent."""
    from prorl_mega.transfer.bucket import PushDigest, gather_buckets
    from prorl_mega.transfer.transport import SharedMemoryTransport

    transport, digest = SharedMemoryTransport(), PushDigest()
    engine.start_weight_update()
    for bucket in gather_buckets(pairs, transport.memory, limit=LIMIT):
        for entry in bucket.manifest.entries:
            digest.add(entry)
        if bucket.manifest.index == spoil:
            bucket.memory[bucket.manifest.entries[0].offset] ^= 1
        if bucket.manifest.index != skip:
            info = {"index": bucket.manifest.index, "place": transport.place(bucket, 1)}
            engine.update_weights(info | {"tensors": bucket.manifest.plain()})
    engine.finish_weight_update()
    transport.close()
    return digest.hexdigest()


def _error(call: Callable[[], Any]) -> str:
    from prorl_mega.errors import WeightSyncError

    try:
        call()
    except WeightSyncError as error:
        return str(error)
    return "nothing"


def push_and_look(checkpoints: list[str]) -> dict[str, Any]:
    from vllm.config import set_current_vllm_config
    from vllm.config.weight_transfer import WeightTransferConfig

    from prorl_mega.rollout.transfer_engine import BucketEngine

    rollout = start_rollout(Path(checkpoints[0]))
    vllm = rollout._engine.vllm_config
    (model,) = rollout._engine.apply_model(lambda module: module)
    found: dict[str, Any] = {"wrong": [], "receipts": [], "gaps": []}
    with set_current_vllm_config(vllm):
        engine = BucketEngine(WeightTransferConfig(backend="prorl_mega"), vllm, torch.device("cpu"), model)
        found["before init"] = _error(engine.start_weight_update)
        engine.init_transfer_engine(
            engine.parse_init_info({"transport": "shared_memory", "valid_vocab": VALID_VOCABULARY, "place": {}})
        )
        for checkpoint in checkpoints:
            tensors = checkpoint_tensors(Path(checkpoint))
            with held_weights(rollout) as held:
                digest = _update(engine, iter(tensors.items()))
            tied = {"lm_head.weight": tensors["model.embed_tokens.weight"]} | tensors
            shards = {name: shard_of(name, tied, rank=0, size=1) for name in held}
            found["wrong"] += [
                name for name, shard in shards.items() if not torch.equal(held[name][: len(shard)], shard)
            ]
            found["held"] = len(held)
            found["receipts"].append(engine.receipt == {"digest": digest, "tensors": len(tensors)})
            rollout.version = 1
            prompts = some_prompts(3)
            groups = by_prompt(steps_of(rollout, prompts, some_seeds(3, 4)), 3)
            found["gaps"].append(huggingface_error(tensors, Path(checkpoint), prompts, groups))
        first = next(iter(tensors))
        found["spoiled"] = _error(lambda: _update(engine, iter(tensors.items()), spoil=1))
        found["skipped"] = _error(lambda: _update(engine, iter(tensors.items()), skip=1))
        found["missing"] = _error(lambda: _update(engine, iter([each for each in tensors.items() if each[0] != first])))
        found["twice"] = _error(lambda: _update(engine, iter([*tensors.items(), (first, tensors[first])])))
        found["unknown"] = _error(lambda: _update(engine, iter([*tensors.items(), ("x.weight", torch.zeros(2))])))
        found["receipt after errors"] = engine.receipt
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("checkpoints")
    checkpoints = [str(engine_checkpoint(directory / str(seed), "qwen2_tied", seed=seed)) for seed in range(2)]
    (result,) = run_ranks(push_and_look, 1, checkpoints, timeout_s=600)
    return result


def test_every_tensor_is_bit_equal_to_the_stream(found: dict[str, Any]) -> None:
    assert found["wrong"] == []
    assert found["held"] == 17
    assert found["receipts"] == [True, True]


def test_samples_are_those_of_the_weights(found: dict[str, Any]) -> None:
    """After the second push as well: the packed output projection of tied embeddings follows."""
    assert max(found["gaps"]) < 1e-5
    assert len(ENDS) == 2


def test_other_streams_are_refused_by_name(found: dict[str, Any]) -> None:
    assert "init_weight_transfer_engine comes before" in found["before init"]
    assert "bucket 1: model." in found["spoiled"]
    assert "did not arrive as it was sent" in found["spoiled"]
    assert found["skipped"] == "bucket 2 came where bucket 1 was expected"
    assert found["missing"].endswith("tensors were not sent to the engine, first model.embed_tokens.weight")
    assert found["twice"] == "model.embed_tokens.weight was sent twice"
    assert found["unknown"] == "the engine has no x.weight"
    assert found["receipt after errors"] == {}
