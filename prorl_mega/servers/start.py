"""The start of a server: its process, its first answer, and its meeting with the transport of weights."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from prorl_mega.config.servers import ServersConfig
from prorl_mega.servers.client import EngineClient, ServerGoneError
from prorl_mega.servers.process import ServerProcess
from prorl_mega.servers.replica import Replica
from prorl_mega.transfer.transport import Transport

Launch = Callable[[str], ServerProcess]
"""Starts a server of this name."""
_TICK_S = 0.2


async def start_replica(
    name: str,
    launch: Launch,
    transport: Transport,
    config: ServersConfig,
    *,
    token: str,
    valid_vocab: int,
    workers: int,
) -> Replica:
    """A server that has started and waits for weights.

    Raises RolloutError, ServerGoneError, ServerRefusedError or GarbledAnswerError; the process has been ended then.
    """
    loop = asyncio.get_running_loop()
    process = await loop.run_in_executor(None, launch, name)
    client = None
    try:
        port = await process.port(config.start_deadline_s)
        client = EngineClient(name, process.address, port, token)
        await _first_answer(client, process, config)
        greeting = transport.greeting(name, address=process.address, workers=workers)
        info = {"transport": transport.kind, "valid_vocab": valid_vocab, "place": greeting}
        meeting = loop.run_in_executor(None, transport.meet, name)
        answer = client.call("/init_weight_transfer_engine", {"init_info": info}, config.step_deadline_s)
        await asyncio.gather(answer, meeting)
    except BaseException:
        if client is not None:
            await client.close()
        await loop.run_in_executor(None, process.end)
        raise
    return Replica(name, process, client, config)


async def _first_answer(client: EngineClient, process: ServerProcess, config: ServersConfig) -> None:
    """It says its port a moment before it listens."""
    deadline = time.monotonic() + config.step_deadline_s
    while True:
        try:
            await client.status(config.probe_deadline_s)
            return
        except ServerGoneError:
            if process.has_ended or time.monotonic() > deadline:
                raise
        await asyncio.sleep(_TICK_S)
