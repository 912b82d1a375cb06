"""How much of a run its filtered entropy was inside a band, and how its memory grew. Prints a line for each run.

    python benchmarks/entropy_share.py runs/study/*/metrics.jsonl --low 0.2 --high 0.5 --half-life 50

The filter is the controller's, applied to `policy/entropy` of every step, so runs with and without control, and with
other settings, are judged alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from prorl_mega.config.schedule import EntropyConfig
from prorl_mega.recipe.entropy_band import ENTROPY, EntropyBand
from prorl_mega.run.jsonl import read_rows

MEMORY = "memory/resident_mib"


def filtered(entropies: list[float], half_life: float) -> np.ndarray:
    """The running mean after every step, as the controller sees it."""
    band = EntropyBand(EntropyConfig(half_life=half_life))
    values = []
    for step, entropy in enumerate(entropies, 1):
        band.take(step, {ENTROPY: entropy})
        values.append(np.nan if band.state.filtered is None else band.state.filtered)
    return np.array(values)


def line(path: Path, low: float, high: float, half_life: float) -> str:
    """The numbers of one run."""
    rows = [row for row in read_rows(path) if row["step"] > 0 and row.get(ENTROPY) is not None]
    values = filtered([row[ENTROPY] for row in rows], half_life)
    inside = (values >= low) & (values <= high)
    quarters = " ".join(f"{part.mean():.3f}" for part in np.array_split(values, 4))
    outside = np.flatnonzero(~inside)
    left = f"first outside at step {rows[outside[0]]['step']}" if len(outside) else "never outside"
    later = [(row["step"], row[MEMORY]) for row in rows if row["step"] >= len(rows) // 2 and row.get(MEMORY)]
    at, size = np.array(later, dtype=np.float64).reshape(-1, 2).T
    slope = 100 * np.polyfit(at, size, 1)[0] if len(later) > 1 else np.nan
    return (
        f"{path.parent.name:20s} steps {len(rows):5d}  inside {inside.mean():.4f} ({left})  quarters {quarters}  "
        f"lowest {values.min():.3f} highest {values.max():.3f} last {values[-1]:.3f}  "
        f"memory in the second half {slope:+.2f} MiB per 100 steps"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metrics", nargs="+", type=Path, help="metrics.jsonl of runs")
    parser.add_argument("--low", type=float, required=True)
    parser.add_argument("--high", type=float, required=True)
    parser.add_argument("--half-life", type=float, default=50.0, help="steps")
    arguments = parser.parse_args()
    for path in arguments.metrics:
        print(line(path, arguments.low, arguments.high, arguments.half_life))


if __name__ == "__main__":
    main()
