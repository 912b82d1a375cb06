"""Every layout of four learner's ranks to servers of one and of two ranks, by every transport of the host.

`tests/integration/test_weight_push.py` has the same for engines in the learner's ranks, where it looks at every
parameter. Here a server's own checksums of what it received are compared with the checkpoint's, and what it samples
with Hugging Face's model.
"""

from __future__ import annotations

import contextlib
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.distributed import run_ranks
from helpers.fleets import TRANSPORTS
from helpers.pushing import pushing_learner
from helpers.rollouts import checkpoint_tensors, engine_checkpoint
from helpers.vllm_fleets import huggingface_gap, real_fleet, some_orders

pytestmark = pytest.mark.slow

LAYOUTS = ((1, 1), (2, 1), (1, 2), (2, 2))  # tensor, pipeline; data is what is left of four ranks
WORLD = 4


def push_from_every_layout(checkpoints: list[str], directory: str, engine_size: int) -> dict[str, Any]:
    """By transport and layout, on the first rank: what was verified, and the difference of log-probabilities."""
    from prorl_mega.distributed.collectives import job_ranks
    from prorl_mega.learner.backend import initialize_distributed

    initialize_distributed(1200)
    ranks = job_ranks()
    found: dict[str, Any] = {}
    for transport in TRANSPORTS:
        with contextlib.ExitStack() as ending:
            watched = None
            if ranks.is_first:
                folder = Path(directory) / transport.value
                folder.mkdir()
                fleet = real_fleet(folder, Path(checkpoints[0]), transport=transport, tensor=engine_size)
                watched = ending.enter_context(fleet)
            ranks.gather(None)
            for version, layout in enumerate(LAYOUTS):
                key = f"{transport.value} {layout}"
                found[key] = _push(watched, checkpoints[version % len(checkpoints)], layout, version)
                ranks.gather(None)
    return found


def _push(watched: Any, checkpoint: str, layout: tuple[int, int], version: int) -> Any:
    from prorl_mega.weight_sync import policy_stream

    learner = pushing_learner(checkpoint, *layout)
    stream = partial(policy_stream, learner, bucket_mib=1)
    if watched is None:
        deque(stream(), maxlen=0)
        return None
    report = watched.pusher.push(stream(), version)
    weights = checkpoint_tensors(Path(checkpoint))
    orders = some_orders(2, max_tokens=8)
    groups = [future.result(timeout=300) for future in [watched.fleet.submit(each) for each in orders]]
    gap = huggingface_gap(Path(checkpoint), {version % 2: weights}, orders, groups)
    return {"servers": report.servers, "digest": report.digest, "tensors": report.tensors, "gap": gap}


@pytest.mark.parametrize("engine_size", [1, 2])
def test_every_tensor_arrives(engine_size: int, tmp_path: Path) -> None:
    checkpoints = [str(engine_checkpoint(tmp_path / str(seed), "llama3", seed=seed)) for seed in range(2)]
    (first, *_) = run_ranks(push_from_every_layout, WORLD, checkpoints, str(tmp_path), engine_size, timeout_s=3000)
    assert len(first) == len(TRANSPORTS) * len(LAYOUTS)
    for key, seen in first.items():
        assert seen["servers"] == ("server-0",), key
        assert seen["gap"] < 1e-4, key
    digests = [{seen["digest"] for seen in list(first.values())[version::2]} for version in range(2)]
    assert [len(each) for each in digests] == [1, 1], "a layout or a transport makes a difference"
    assert digests[0] != digests[1]
