"""The program of one rollout replica: vLLM's server behind the guard, `python -m prorl_mega.rollout.server`.

`prorl_mega.servers.process` starts it. Its settings come as one line of JSON on stdin, so that the token stands neither
on a command line nor in an environment; its port goes back as one line on stdout; what it has to say goes to stderr.
When stdin ends, whoever started it is gone: it and all that it has started end at once.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from prorl_mega.config.schema import Precision, RolloutConfig
from prorl_mega.errors import ConfigError, RolloutError, exit_status
from prorl_mega.garbage import collection_paused
from prorl_mega.rollout.plugin import PLUGIN

_ENVIRONMENT = {
    "VLLM_PLUGINS": PLUGIN,
    "VLLM_SERVER_DEV_MODE": "1",  # routes of the weight transfer, pause and resume; the guard keeps the others shut
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # on a CPU: the worker lives in the core's process instead of a third one
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "0",
}


class ServerSettings(msgspec.Struct, frozen=True):
    """The first line of stdin. Fields are those of `VllmRollout`; `rollout` are the fields of RolloutConfig."""

    token: str
    model: str
    rollout: dict[str, Any]
    precision: str
    seed: int
    address: str
    learner: str | None = None  # an address of the learner: listen on this machine's own towards it, not on `address`


def main() -> None:
    stdin = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 (the thread below reads it to the end)
    settings = read_settings(stdin)
    told = _keep_stdout()
    os.umask(0o077)  # vLLM's own sockets lie in /tmp, and whoever may write to one speaks to the engine
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    address = settings.address if settings.learner is None else _towards(settings.learner)
    threading.Thread(target=_end_with_parent, args=(stdin,), daemon=True).start()
    os.environ.update(_ENVIRONMENT)
    os.environ["VLLM_HOST_IP"] = address  # of its own sockets, too
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    listening = socket.create_server((address, 0))
    asyncio.run(_serve(settings, listening, told))


def read_settings(stdin: io.RawIOBase) -> ServerSettings:
    """The settings. Raises ConfigError, which does not show them."""
    try:
        return msgspec.json.decode(stdin.readline(1 << 20), type=ServerSettings)
    except msgspec.DecodeError:
        raise ConfigError("rollout.server is started by a run and reads its settings from stdin") from None


def _keep_stdout() -> int:
    """A descriptor of stdout for our one line; everything else that is printed goes to stderr."""
    told = os.dup(1)
    os.dup2(2, 1)
    return told


def _towards(other: str) -> str:
    """The address of this machine from which packets to `other` are sent; none is."""
    family, _, _, _, place = socket.getaddrinfo(other, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(place)
        return str(probe.getsockname()[0])


def _end_with_parent(stdin: io.RawIOBase) -> None:
    while stdin.read(1 << 16):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


async def _serve(settings: ServerSettings, listening: socket.socket, told: int) -> None:
    engine, app = await _build(settings)
    from vllm.entrypoints.launchers.launcher import serve_http

    with os.fdopen(told, "w") as stdout:
        address, port = listening.getsockname()[:2]
        print(json.dumps({"port": port, "pid": os.getpid(), "address": address}), file=stdout, flush=True)
    try:
        ended = await serve_http(
            app, sock=listening, host=address, port=port, log_level="warning", access_log=False,
        )  # fmt: skip
        await ended
    finally:
        engine.shutdown()


async def _build(settings: ServerSettings) -> tuple[Any, Any]:
    """The engine with random weights, and vLLM's application behind the guard. Raises RolloutError."""
    from prorl_mega.rollout.startup import engine_arguments, prepare_environment, run_helpers_uncompiled

    rollout = RolloutConfig(**settings.rollout)
    prepare_environment(rollout)
    with collection_paused():
        run_helpers_uncompiled()
        from vllm import AsyncEngineArgs
        from vllm.config.weight_transfer import WeightTransferConfig
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.launchers.app import build_app
        from vllm.plugins import load_general_plugins
        from vllm.v1.engine.async_llm import AsyncLLM

        load_general_plugins()
        _check_plugin()
        arguments = engine_arguments(Path(settings.model), rollout, Precision(settings.precision), settings.seed)
        arguments |= {
            "weight_transfer_config": WeightTransferConfig(backend=PLUGIN),
            "worker_extension_cls": "prorl_mega.rollout.worker_extension.WeightReceipts",
        }
        if arguments["tensor_parallel_size"] > 1:
            arguments["distributed_executor_backend"] = "mp"  # a process per rank; "uni" would wait for the others
        if "worker_cls" in arguments:
            arguments["worker_cls"] = "prorl_mega.rollout.server_worker.ServerCPUWorker"
        config = AsyncEngineArgs(**arguments).create_engine_config()
        engine = AsyncLLM.from_vllm_config(config, disable_log_stats=True)
    from prorl_mega.rollout.guard import Guard

    tasks = await engine.get_supported_tasks()
    args = _route_arguments(settings.model)
    app = build_app(args, tasks, engine.model_config)
    await init_app_state(engine, app.state, args, tasks)
    # Around the whole stack, errors and all: vLLM has built it by now, and adds nothing to it afterwards.
    app.middleware_stack = Guard(app.middleware_stack or app.build_middleware_stack(), settings.token, engine)
    return engine, app


def _route_arguments(model: str) -> Any:
    """vLLM's arguments as its routes read them; the engine has been built from our own."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    return make_arg_parser(FlexibleArgumentParser()).parse_args(
        ["--model", model, "--enable-scale-out", "--disable-fastapi-docs", "--skip-tokenizer-init"]
    )


def _check_plugin() -> None:
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory

    if PLUGIN not in WeightTransferEngineFactory._registry:
        raise RolloutError(
            f"vLLM does not find the plugin {PLUGIN!r}, which the installation of this project registers; run "
            "`make setup` again"
        )


if __name__ == "__main__":
    sys.exit(exit_status(main))
