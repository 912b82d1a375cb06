"""vLLM's CPU worker inside the learner's process. vLLM imports this module by its qualified name."""

from __future__ import annotations

import os
from typing import Any

import torch
from vllm.config import VllmConfig
from vllm.v1.worker.cpu_worker import CPUWorker

from prorl_mega.rollout.batch_invariance import SETTING, make_batch_invariant, weights_unpacked
from prorl_mega.rollout.matmul import round_batches
from prorl_mega.rollout.speculation import mend_expansion


class ColocatedCPUWorker(CPUWorker):
    """A worker whose tensor-parallel ranks meet under the port of their job, and that leaves memory where it is.

    vLLM names the shared memory of a tensor-parallel group by the end of the rendezvous address, which is the same
    `env://` in every job that the learner's launcher started: two jobs on one machine would share their sums. The
    address serves for nothing else, because the ranks have joined already.

    It would also bind all memory of the process to the first NUMA node, the learner's included.
    """

    def __init__(
        self,
        vllm_config: VllmConfig,
        local_rank: int,
        rank: int,
        distributed_init_method: str,
        is_driver_worker: bool = False,
    ) -> None:
        if distributed_init_method == "env://" and "MASTER_PORT" in os.environ:
            distributed_init_method = f"tcp://{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        bind_memory = torch.ops._C.init_cpu_memory_env
        torch.ops._C.init_cpu_memory_env = lambda nodes: None
        try:
            super().__init__(vllm_config, local_rank, rank, distributed_init_method, is_driver_worker)
        finally:
            torch.ops._C.init_cpu_memory_env = bind_memory

    def init_device(self) -> None:
        super().init_device()
        most = self.vllm_config.scheduler_config.max_num_batched_tokens
        round_batches(self.model_runner.cudagraph_dispatcher, most)

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        if self.vllm_config.speculative_config is not None:
            mend_expansion()
        if not self.vllm_config.additional_config.get(SETTING):
            super().load_model(*args, **kwargs)
            return
        with weights_unpacked():
            super().load_model(*args, **kwargs)
        make_batch_invariant(self.model_runner)
