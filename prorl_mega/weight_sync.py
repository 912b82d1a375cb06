"""The update of the engine's weights with a policy's: stream, verify, set the version."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from prorl_mega import faults
from prorl_mega.checksum import Checksum
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import WeightSyncError
from prorl_mega.protocols import Rollout
from prorl_mega.weights.reshard import stream_weights

if TYPE_CHECKING:
    from prorl_mega.learner.learner import MegatronLearner


def policy_stream(learner: MegatronLearner, *, bucket_mib: int) -> Iterator[tuple[str, torch.Tensor]]:
    """The policy as full tensors with Hugging Face names, on every rank. Collective while it is consumed."""
    tensors = stream_weights(
        learner.parameters(),
        learner.description,
        learner.layout,
        tensor_group=learner.groups.tensor,
        pipeline_group=learner.groups.pipeline,
        experts_group=learner.groups.experts,
        bucket_bytes=bucket_mib << 20,
    )
    for name, tensor in tensors:
        yield name, tensor
        del tensor  # not to be kept alive while the next one is made
        faults.reach("push/tensors")


@dataclass(kw_only=True, slots=True)
class WeightSync:
    """Hands weights to the engines: from any TP×PP×DP of a learner that lives in the same ranks, or from files.

    Every rank streams the same full tensors (Hugging Face names, one after the other) into its engine shard. Then all
    engines hold the same version, or WeightSyncError is raised on every rank and nothing may be sampled.
    """

    stream: Callable[[], Iterator[tuple[str, torch.Tensor]]]
    """The current policy as full tensors, on every rank."""
    rollout: Rollout
    ranks: Ranks
    _identity: str = field(default="", init=False)

    def update_weights(self, version: int) -> str:
        """Hand over the current weights as `version`; returns their checksum, equal on all ranks."""
        sent = Checksum()
        received = self.rollout.update_weights(sent.observe(self.stream()), version)
        digests = set(self.ranks.gather(sent.hexdigest())) | set(self.ranks.gather(received))
        if len(digests) != 1:
            raise WeightSyncError(
                f"weights of version {version} did not arrive as they were sent (checksums: "
                f"{', '.join(sorted(digests))}); no completion may be sampled from them"
            )
        self._identity = received if sent.is_of_host else ""
        return received

    def identity(self) -> str:
        """The checksum of the weights that the engines hold, the same on any machine. Collective: weights on a GPU are
        copied to the host for it, once for a version."""
        if not self._identity:
            checksum = Checksum(on_host=True)
            deque(checksum.observe(self.stream()), maxlen=0)
            self._identity = checksum.hexdigest()
        return self._identity
