"""Cells as rows of a CSV and as text."""

from __future__ import annotations

import csv
import platform
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from prorl_kernels.benchmarks.cases import MODELS
from prorl_kernels.benchmarks.measure import BARE, Cell
from prorl_kernels.benchmarks.provider import version_of
from prorl_kernels.benchmarks.work import Clock

Row = dict[str, Any]

ERRORS = ("logprob", "entropy", "kl_reverse", "mean_logprob", "d_hidden", "d_weight")
NUMBERS = (
    *("ms", "ms_p20", "ms_p80", "forward_ms", "backward_ms", "useful_tflops", "executed_tflops", "forward_tflops"),
    *("backward_executed_tflops", "of_bare_products", "repetitions", "workspace_mib", "first_call_s"),
    *(f"error_{name}" for name in ERRORS),
)

CONVENTION = """\
ms: median of one repetition (forward and, with gradients, backward); ±: half the distance from p20 to p80.
useful TFLOP/s: 2 per multiply-add of logits, d_hidden and d_weight, of the rows that need them. executed: the same and
  the logits that a provider makes again in its backward pass. Nothing else counts. bwd: executed, backward pass alone.
of bare: time of torch's matrix products of the same shapes, and nothing but these, over the provider's time.
MiB: highest memory in use beyond inputs, statistics and gradients.
error: largest absolute error of the log-probs (of their mean for "mean"), and the gradients' largest relative error
  (sampled rows, Frobenius), against fp64 of the same inputs."""

HEADINGS = ["provider", "ms", "±", "useful", "executed", "bwd", "of bare", "MiB", "error", "grad err", "computes"]


def rows_of(cells: list[Cell], clock: Clock) -> list[Row]:
    """The rows of one case for the CSV; fields that were not measured are empty."""
    bare = next((_median(cell, 1) for cell in cells if cell.provider is BARE and cell.times), None)
    around, rows = _environment(), []
    for cell in cells:
        case, provider = cell.case, cell.provider
        described = {
            "op": "linear_token_stats",
            "provider": provider.name,
            "version": version_of(provider.package),
            "status": cell.status,
            "computes": provider.summary,
            "remark": provider.remark,
            "model": case.model,
            "width": case.width,
            "vocab": MODELS[case.model][1],
            "tokens": case.tokens,
            "mode": case.mode.name,
            "tensor_parallel": case.ranks,
            "communication": "emulated, none" if case.ranks > 1 else "",
            "l2": "cold" if case.cold else "hot",
            "dtype": "bfloat16" if clock.device.type == "cuda" else "float32",
            "timer": clock.timer,
        }
        rows.append(described | dict.fromkeys(NUMBERS, "") | _numbers(cell, bare) | around)
    return rows


def _numbers(cell: Cell, bare: float | None) -> Row:
    numbers: Row = {f"error_{name}": f"{error:.2e}" for name, error in cell.errors.items()}
    if cell.workspace is not None:
        numbers["workspace_mib"] = f"{cell.workspace:.1f}"
    if cell.first_seconds is not None:
        numbers["first_call_s"] = f"{cell.first_seconds:.2f}"
    if not cell.times or cell.status != "ok":
        return numbers
    case, forward, total = cell.case, _median(cell, 0), _median(cell, 1)
    totals = [both for _, both in cell.times]
    cuts = statistics.quantiles(totals, n=5, method="inclusive") if len(totals) > 1 else totals * 4
    useful = case.forward_flop + case.backward_flop
    again = case.recompute_flop if cell.provider.recomputes else 0.0
    values = {"ms": total, "ms_p20": cuts[0], "ms_p80": cuts[3], "forward_ms": forward}
    values |= {"useful_tflops": useful / total / 1e9, "executed_tflops": (useful + again) / total / 1e9}
    values["forward_tflops"] = case.forward_flop / forward / 1e9
    if case.mode.gradients:
        values["backward_ms"] = backward = statistics.median(both - one for one, both in cell.times)
        if backward > 0:
            values["backward_executed_tflops"] = (case.backward_flop + again) / backward / 1e9
    numbers |= {name: f"{value:.5g}" for name, value in values.items()}
    if bare is not None:
        numbers["of_bare_products"] = f"{bare / total:.4f}"
    return numbers | {"repetitions": len(totals)}


def _median(cell: Cell, index: int) -> float:
    return statistics.median(times[index] for times in cell.times)


def append(rows: list[Row], path: Path) -> None:
    """Append to a CSV that has the same columns, or to a new one; ValueError for other columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(rows[0])
    if path.exists():
        with path.open(newline="") as file:
            there = next(csv.reader(file), [])
        if there != columns:
            raise ValueError(f"{path} has other columns, of another version of this benchmark; move it away")
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerows(rows)


def text(rows: list[Row]) -> str:
    """The table of one case."""
    lines, shown = [HEADINGS], ("useful_tflops", "executed_tflops", "backward_executed_tflops")
    for row in rows:
        if row["status"] != "ok":
            lines.append([row["provider"], row["status"]])
            continue
        numbers = {name: float(row[name]) for name in NUMBERS if row[name] != ""}
        short = [f"{numbers[name]:.3g}" if name in numbers else "" for name in shown]
        gradient = max((row["error_d_hidden"], row["error_d_weight"]), key=lambda error: float(error or 0))
        lines.append(
            [
                row["provider"],
                f"{numbers['ms']:.2f}",
                f"{(numbers['ms_p80'] - numbers['ms_p20']) / 2:.2f}",
                *short,
                f"{100 * numbers['of_bare_products']:.0f}%" if "of_bare_products" in numbers else "",
                row["workspace_mib"],
                row["error_logprob"] or row["error_mean_logprob"],
                gradient,
                row["computes"],
            ]
        )
    first = max(len(line[0]) for line in lines)
    widths = [max(map(len, column)) for column in zip(*(line for line in lines if len(line) > 2), strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(first), *map(str.rjust, line[1:-1], widths[1:-1]), line[-1]]) for line in lines
    )


def _environment() -> dict[str, str]:
    """Versions and devices, the same for all rows of a run."""
    cuda = torch.cuda.is_available()
    query = ("nvidia-smi", "--query-gpu=driver_version,clocks.sm,power.draw,temperature.gpu", "--format=csv,noheader")
    driver, _, clocks = (_output(*query) if cuda else "").partition(", ")
    return {
        "device": torch.cuda.get_device_name() if cuda else _processor(),
        "threads": str(torch.get_num_threads()),
        "driver": driver,
        "clocks": clocks,
        "torch": torch.__version__,
        "triton": version_of("triton"),
        "python": platform.python_version(),
        "commit": _output("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _output(*command: str) -> str:
    """The first line of a program's output; empty when it is missing or does not work here."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next(iter(result.stdout.strip().splitlines()), "") if result.returncode == 0 else ""
