"""The receiving end of a push inside of vLLM's workers: buckets are checked, loaded layer by layer, and accounted for.

vLLM calls it by the routes of its weight-transfer API: init once, and in each push start, update for every bucket,
finish. An update that broke off leaves layers half-way between two versions: the server has to be replaced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from vllm.config import VllmConfig
from vllm.config.weight_transfer import WeightTransferConfig
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.mtp_validation import disable_mtp_completeness_check
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from prorl_mega.errors import WeightSyncError
from prorl_mega.rollout.loading import checkpoint_names, repack
from prorl_mega.rollout.startup import forbid_padding
from prorl_mega.transfer.bucket import BucketManifest, PushDigest
from prorl_mega.transfer.receiver import Receiver, open_receiver


@dataclass
class BucketInit(WeightTransferInitInfo):
    """The body of the init route. Ids from `valid_vocab` on are padding of the output projection."""

    transport: str
    valid_vocab: int
    place: dict[str, Any] = field(default_factory=dict)  # whatever `open_receiver` needs of the transport


@dataclass
class BucketUpdate(WeightTransferUpdateInfo):
    """The body of the update route: bucket `index` (they count from 0 in each push), where it is and what is in it."""

    index: int
    place: dict[str, Any]
    tensors: list[list[Any]]


class BucketEngine(WeightTransferEngine[BucketInit, BucketUpdate]):
    """Full tensors with Hugging Face names, each exactly once, as `rollout/loading.py` takes them in one process."""

    init_info_cls = BucketInit
    update_info_cls = BucketUpdate
    supports_draft_weight_update = False

    def __init__(
        self, config: WeightTransferConfig, vllm_config: VllmConfig, device: torch.device, model: torch.nn.Module
    ) -> None:
        super().__init__(config, vllm_config, device, model)
        self.receipt: dict[str, Any] = {}
        self._receiver: Receiver | None = None
        self._expected: frozenset[str] = frozenset()
        self._remaining: set[str] = set()
        self._digest = PushDigest()
        self._next = 0
        self._masked = False

    def init_transfer_engine(self, init_info: BucketInit) -> None:
        """Join the sender. Again after `shutdown`, for another sender."""
        if not self._masked:
            forbid_padding(self.model, init_info.valid_vocab)
            self._masked = True
        self._expected = self._expected or checkpoint_names(self.model)
        self.shutdown()
        rank = self.parallel_config.rank
        self._receiver = open_receiver(init_info.transport, init_info.place, rank=rank)

    def start_weight_update(self) -> None:
        if self._receiver is None:
            raise WeightSyncError("init_weight_transfer_engine comes before start_weight_update")
        self.receipt, self._next = {}, 0
        self._remaining, self._digest = set(self._expected), PushDigest()
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: BucketUpdate) -> None:
        """Check and load one bucket. Raises WeightSyncError, which names the bucket and the tensor."""
        assert self._receiver is not None
        if update_info.index != self._next:
            raise WeightSyncError(f"bucket {update_info.index} came where bucket {self._next} was expected")
        self._next += 1
        manifest = BucketManifest.parsed(update_info.index, update_info.tensors)
        weights = []
        for entry, tensor in self._receiver.receive(update_info.place, manifest):
            if entry.name not in self._remaining:
                known = entry.name in self._expected
                raise WeightSyncError(f"{entry.name} was sent twice" if known else f"the engine has no {entry.name}")
            self._remaining.remove(entry.name)
            self._digest.add(entry)
            weights.append((entry.name, tensor.to(self.device)))
        with disable_mtp_completeness_check():
            self.model.load_weights(weights)

    def finish_weight_update(self) -> None:
        if self._remaining:
            raise WeightSyncError(
                f"{len(self._remaining)} of {len(self._expected)} tensors were not sent to the engine, "
                f"first {min(self._remaining)}"
            )
        finalize_layerwise_reload(self.model, self.model_config)
        repack(self.model)
        self.receipt = {"digest": self._digest.hexdigest(), "tensors": len(self._expected)}

    def shutdown(self) -> None:
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None
