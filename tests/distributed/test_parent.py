"""A rank ends with the torchrun that has started it, and a program with nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""
CHILD = """
import os, time
from prorl_mega.distributed.parent import end_with_launcher
end_with_launcher(os.environ)
print("ready", flush=True)
time.sleep(600)
"""
WITHIN_S = 5.0


@pytest.mark.parametrize(("variables", "ends"), [({"TORCHELASTIC_RUN_ID": "none"}, True), ({}, False)])
def test_a_rank_ends_with_its_launcher(variables: dict[str, str], ends: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TORCHELASTIC_RUN_ID"} | variables
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    try:
        gone, alive = psutil.wait_procs([child], timeout=WITHIN_S if ends else 0.5)
        assert (len(gone), len(alive)) == ((1, 0) if ends else (0, 1))
    finally:
        if child.is_running():
            child.kill()
