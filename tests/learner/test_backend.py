"""The CPU backend binds Megatron and nothing else, notices another Megatron, and starts the ranks of a launcher."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.distributed import run_ranks

from prorl_mega.learner.backend import respell_method, respell_module

MOVED = """
class A:
    @classmethod
    def kinds(cls): return "torch.FloatTensor" in ["torch.cuda.HalfTensor", "torch.cuda.FloatTensor"], ["cuda"]
    def nested(self): return (lambda: "cuda")()

def plain(): return "cuda graphs stay"

def method(tensor): return tensor.cpu()
"""


@pytest.fixture
def moved(tmp_path: Path) -> ModuleType:
    """A module of another Megatron: literals in two functions."""
    (tmp_path / "moved.py").write_text(MOVED)
    spec = importlib.util.spec_from_file_location("moved", tmp_path / "moved.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_respells_literals_wherever_they_are(moved: ModuleType) -> None:
    assert moved.A.kinds() == (False, ["cuda"])
    respell_module(moved, 2)
    assert moved.A.kinds() == (True, ["cpu"])
    assert moved.A().nested() == "cpu"
    assert moved.plain() == "cuda graphs stay"


def test_notices_when_megatron_has_moved_something(moved: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"expected CUDA literals in 3 functions and found them in \['A.kinds', "):
        respell_module(moved, 3)
    with pytest.raises(RuntimeError, match="method no longer calls cuda"):
        respell_method(moved.method, "cuda", "cpu")


def activate_everything(variables: dict[str, list[str]]) -> dict[str, object]:
    """On every rank, with its own value of `variables` in place of torchrun's."""
    import megatron.core
    import torch.distributed as dist

    from prorl_mega.config.schema import ParallelConfig
    from prorl_mega.learner import backend, parallel

    torchrun = {name: os.environ.pop(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    os.environ |= {name: values[int(torchrun["RANK"])] for name, values in variables.items()}

    found: dict[str, object] = {}
    found["genuine"], megatron.core.__version__ = megatron.core.__version__, "0.99.0"
    try:
        backend.activate()
    except RuntimeError as error:
        found["other version"] = str(error)
    megatron.core.__version__ = found["genuine"]
    functions = (torch.Tensor.cuda, torch.Tensor.type, torch.zeros, torch.cuda.current_device)
    found["devices"] = [str(backend.activate()), str(backend.activate())]
    found["torch untouched"] = (
        functions
        == (
            torch.Tensor.cuda,
            torch.Tensor.type,
            torch.zeros,
            torch.cuda.current_device,
        )
        and not torch.overrides._get_current_function_mode_stack()
    )

    from megatron.core.tensor_parallel import layers

    found["megatron's device"] = str(layers.torch.cuda.current_device())
    try:
        layers.torch.cuda.memory_allocated()
    except AttributeError as error:
        found["unknown call"] = str(error)
    launch = backend.initialize_distributed(60)
    total = torch.ones(1)
    dist.all_reduce(total)
    found["launch"] = (launch.rank, launch.world_size, int(total))
    found["exported"] = [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    layout = parallel.initialize_parallel(ParallelConfig(pipeline=2), seed=1)
    timeout = parallel.process_groups().pipeline._get_backend(torch.device("cpu")).options._timeout
    found["layout"] = (layout.pipeline_rank, layout.data_size, timeout.total_seconds())
    return found


def test_binds_megatron_and_starts_under_srun() -> None:
    variables = {
        "SLURM_PROCID": ["0", "1"],
        "SLURM_NODEID": ["0", "1"],
        "SLURM_LOCALID": ["0", "0"],
        "SLURM_STEP_NUM_TASKS": ["2", "2"],
        "SLURM_STEP_TASKS_PER_NODE": ["1(x2)", "1(x2)"],
    }
    for rank, found in enumerate(run_ranks(activate_everything, 2, variables)):
        assert found["genuine"] == "0.16.1"
        assert "megatron-core 0.99.0 is installed" in str(found["other version"])
        assert found["devices"] == ["cpu", "cpu"]
        assert found["torch untouched"]
        assert found["megatron's device"] == "cpu"
        assert "torch.cuda.memory_allocated" in str(found["unknown call"])
        assert found["launch"] == (rank, 2, 2)
        assert found["exported"] == [str(rank), "2", "0"]
        assert found["layout"] == (rank, 1, 60.0)


LISTENING = """
import os, torch, torch.distributed as dist
from pathlib import Path
from prorl_mega.learner.backend import initialize_distributed
assert initialize_distributed(60).world_size == dist.get_world_size()
dist.all_reduce(torch.ones(1))
mine = {os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
rows = [row.split() for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()[1:]]
listening = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in mine]
dist.barrier()
print(os.environ.get("RANK"), len(listening), [address for address in listening if not address.startswith("0100007F:")])
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("size", [1, 2])
def test_ranks_of_one_machine_listen_to_nobody_else(size: int) -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", LISTENING],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    for rank, process in enumerate(ranks):
        said, errors = process.communicate(timeout=120)
        sockets = size - rank if size > 1 else 1  # gloo's, and the store's of rank 0
        assert said.split(maxsplit=2)[0] == str(rank), errors
        assert said.split(maxsplit=2)[2].strip() == "[]", said
        assert int(said.split()[1]) >= sockets


def refusal(address: str, port: int) -> str:
    """The words of a rank 0 that cannot listen where it should."""
    place = {"MASTER_ADDR": address, "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0",
             "LOCAL_WORLD_SIZE": "2"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LISTENING], env={**os.environ, **place}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    return done.stderr


def test_a_place_where_nobody_can_listen_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal("127.0.0.1", port)
        assert f"MASTER_PORT={port}: rank 0 cannot listen there: Address already in use" in said
    assert "MASTER_ADDR=nowhere.invalid MASTER_PORT=1: rank 0 cannot listen there: " in refusal("nowhere.invalid", 1)
