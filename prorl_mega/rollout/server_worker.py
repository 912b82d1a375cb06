"""vLLM's CPU worker in a server's own process. vLLM imports this module by its qualified name."""

from __future__ import annotations

from prorl_mega.rollout.matmul import round_matmuls
from prorl_mega.rollout.startup import run_helpers_uncompiled

run_helpers_uncompiled()  # before vLLM's sampler is imported, which reads it then: its first batch would take a minute

from prorl_mega.rollout.worker import ColocatedCPUWorker  # noqa: E402


class ServerCPUWorker(ColocatedCPUWorker):
    """The colocated worker, in a process in which `rollout/startup.py` has prepared nothing."""

    def init_device(self) -> None:
        round_matmuls()
        super().init_device()
