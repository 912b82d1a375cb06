"""`python -m prorl_kernels.benchmarks`: the grid without pytest, within a time limit."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import torch

from prorl_kernels.benchmarks.cases import GRIDS
from prorl_kernels.benchmarks.registry import PROVIDERS
from prorl_kernels.benchmarks.session import Session
from prorl_kernels.benchmarks.supervisor import Turn, supervise, without
from prorl_kernels.benchmarks.table import CONVENTION


def main() -> int:
    default = "gpu" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(prog="python -m prorl_kernels.benchmarks", description=__doc__)
    parser.add_argument("--grid", choices=sorted(GRIDS), default=default, help="which cases (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no case after this many")
    parser.add_argument("--output", type=Path, default=Path("runs/kernels"), help="folder (default: %(default)s)")
    parser.add_argument("--cpu-time", action="store_true", help="on a CPU count process time, not the wall clock's")
    parser.add_argument("--providers", nargs="*", default=[""], help="only those whose names begin like one of these")
    hidden = parser.add_argument_group("given by the process that restarts this one when a provider has killed it")
    hidden.add_argument("--first", type=int, default=0, help="number of the case to begin with")
    hidden.add_argument("--turn", type=Path, help="file that says whose turn it is")
    hidden.add_argument("--left-out", nargs="*", default=[], help="providers that did it")
    options = parser.parse_args()
    if options.grid == "gpu" and options.turn is None:
        command = [sys.executable, "-m", "prorl_kernels.benchmarks", *sys.argv[1:]]
        return supervise(command, options.output, options.seconds)
    chosen = [each for each in PROVIDERS if each.name.startswith(tuple(options.providers))]
    providers = without(chosen, options.left_out)
    session = Session(options.grid, options.output, options.cpu_time, providers, Turn(options.turn))
    print(CONVENTION, end="\n\n")
    return 0 if session.run(options.seconds, partial(print, flush=True), options.first) else 3


if __name__ == "__main__":
    sys.exit(main())
