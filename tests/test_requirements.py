"""The lock files name every package once, gpu.lock can be installed, and a setup for GPUs has CUDA's torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.lock"))
FAKE = """#!/bin/bash
[[ $* == *torch.version.cuda* && -z "{cuda}" ]] && exit 1
[[ $* == *print\\(torch* ]] && echo 2.13.0+cpu
exit 0
"""


def pins(*files: Path) -> list[tuple[str, str]]:
    """(normalised name, version) of every line; a line that is no pin fails."""
    found = []
    for file in files:
        for line in file.read_text().splitlines():
            if not line.startswith("#"):
                name, version = line.split("==")
                found.append((re.sub(r"[-_.]+", "-", name).lower(), version))
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_names_every_package_once(lock: Path) -> None:
    names = [name for name, _ in pins(lock)]
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})


def test_the_locks_agree_but_for_what_the_machines_differ_in() -> None:
    """Only these are built for one machine; all else is what the tests on a CPU have run with."""
    cpu, gpu, dev = (dict(pins(REQUIREMENTS / f"{variant}.lock")) for variant in ("cpu", "gpu", "dev"))
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} == {"apache-tvm-ffi", "triton"}
    assert dev.items() <= cpu.items()
    assert not [name for name in dev if gpu.get(name, dev[name]) != dev[name]]


@pytest.mark.slow
def test_gpu_lock_resolves_to_itself_from_the_public_index(tmp_path: Path) -> None:
    """With what `make setup VARIANT=gpu` installs, without this machine's wheels, mirrors and constraints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") or name == "PIP_CERT"}
    files = [REQUIREMENTS / "gpu.lock", REQUIREMENTS / "dev.lock"]
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report"]
    done = subprocess.run(
        [*command, str(report), *(part for file in files for part in ("-r", str(file)))],
        env=kept | {"PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
    )
    if "NewConnectionError" in done.stderr or "No matching distribution found for absl-py" in done.stderr:
        pytest.skip("the public package index cannot be reached")
    assert done.returncode == 0, done.stderr
    wanted = json.loads(report.read_text())["install"]
    named = [(each["metadata"]["name"], each["metadata"]["version"]) for each in wanted]
    installed = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in named}
    assert installed == set(pins(*files)), "a package without a pin may be another one tomorrow"


@pytest.mark.parametrize(("variant", "cuda", "code"), [("gpu", "", 1), ("gpu", "13.0", 0), ("cpu", "", 0)])
def test_a_setup_for_gpus_with_a_cpu_torch_fails(tmp_path: Path, variant: str, cuda: str, code: int) -> None:
    """A directory of wheels that pip looks into (PIP_FIND_LINKS) may offer a CPU torch of the same version."""
    shutil.copytree(REQUIREMENTS, tmp_path / "requirements")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE.format(cuda=cuda))
    python.chmod(0o755)
    command = [str(tmp_path / "requirements" / "install.sh"), sys.executable, variant]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("needs torch with CUDA, and torch 2.13.0+cpu is installed" in done.stderr) is (code == 1)
    assert (tmp_path / ".venv" / ".variant").exists() is (code == 0)
