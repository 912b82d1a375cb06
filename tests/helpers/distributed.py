"""Runs a function on several gloo ranks, each a process of its own, and shows the traceback of the one that failed."""

from __future__ import annotations

import importlib.util
import inspect
import multiprocessing
import os
import pickle
import queue
import socket
import sys
import time
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any


def run_ranks(function: Callable[..., Any], world_size: int, *args: Any, timeout_s: float = 300.0) -> list[Any]:
    """Call `function(*args)` in `world_size` fresh processes that see torchrun's environment; results by rank.

    They are forked from a server that has imported the learner and done nothing else, which saves each of them seconds.

    `function` is a module-level function, of a test file too; arguments and results are pickled. Fails with the
    traceback of every rank that raised or died, and names the ranks that were still running after `timeout_s`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prorl_mega.learner.learner", "prorl_mega.weights.reshard"])
    call = (inspect.getfile(function), function.__module__, function.__qualname__, pickle.dumps(args))
    results: Any = context.Queue()
    port = _free_port()
    processes = [
        context.Process(target=_call, args=(call, rank, world_size, port, results), daemon=True)
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    outcomes = _collect(results, processes, timeout_s)
    for process in processes:
        process.join(timeout=10 if process.pid else 0)
        if process.is_alive():
            process.kill()
            process.join()
    failures = [f"--- rank {rank}\n{text}" for rank, (ok, text) in sorted(outcomes.items()) if not ok]
    if failures:
        raise AssertionError(f"{len(failures)} of {world_size} ranks failed\n" + "\n".join(failures))
    return [pickle.loads(outcomes[rank][1]) for rank in range(world_size)]


def _collect(results: Any, processes: list[Any], timeout_s: float) -> dict[int, tuple[bool, Any]]:
    """Outcomes by rank. After the first failure the others get a moment to fail as well: they wait for the dead one."""
    outcomes: dict[int, tuple[bool, Any]] = {}
    deadline = time.monotonic() + timeout_s
    while len(outcomes) < len(processes) and time.monotonic() < deadline:
        try:
            rank, ok, value = results.get(timeout=0.2)
        except queue.Empty:
            dead = [i for i, process in enumerate(processes) if i not in outcomes and process.exitcode is not None]
            # A result may still be in the pipe of a process that has already ended.
            for i in dead if results.empty() else []:
                outcomes[i] = (False, f"the process ended with exit code {processes[i].exitcode} without a result")
                deadline = min(deadline, time.monotonic() + 5)
            continue
        outcomes[rank] = (ok, value)
        if not ok:
            deadline = min(deadline, time.monotonic() + 5)
    for rank, process in enumerate(processes):
        if rank not in outcomes:
            process.kill()
            outcomes[rank] = (False, "still running when the others had ended or the time was over; killed")
    return outcomes


def _call(call: tuple[str, str, str, bytes], rank: int, world_size: int, port: int, results: Any) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    import torch

    torch.set_num_threads(1)
    try:
        file, module_name, name, arguments = call
        function = getattr(_module(file, module_name), name)
        # As bytes: the queue would hand over tensors by descriptors that die with this process.
        results.put((rank, True, pickle.dumps(function(*pickle.loads(arguments)))))
    except BaseException:
        results.put((rank, False, traceback.format_exc()))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _module(file: str, name: str) -> ModuleType:
    """A test file under the name that pytest gave it: test files belong to no package that could be imported."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
