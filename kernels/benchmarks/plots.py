"""The rows of a CSV as two pictures."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

COLOURS = ("#2563eb", "#0f8f74", "#5f9411", "#d9570f", "#8b3fd1", "#b98900", "#d02670", "#5b6b80", "#16191d", "#7f1d1d")
Row = dict[str, str]


def write_plots(csv_path: Path) -> list[Path]:
    """Write beside the CSV `…_modes.png` for models and token counts that were measured in more than two modes and, for
    models measured at several token counts, `…_tokens.png`. The newest row of a repeated cell counts.

    Raises ImportError without matplotlib.
    """
    from matplotlib.figure import Figure  # ImportError belongs to the caller

    with csv_path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok" and row["ms"]]
    rows = [row for row in rows if row["tensor_parallel"] == "1" and row["l2"] == "hot"]
    cases = _groups(rows, "{model}, {tokens} tokens, {device}", "mode", 3)
    sweeps = _groups(rows, "{model}, {mode}, {device}", "tokens", 2)
    written = []
    for kind, groups, columns, height in (("modes", cases, 1, 2.1), ("tokens", sweeps, 2, 4)):
        if not groups:
            continue
        figure = Figure(figsize=(12, 1.2 * (columns == 1) + height * len(groups)), dpi=110, layout="constrained")
        panels = figure.subplots(len(groups), columns, squeeze=False)
        for row, (name, group) in zip(panels, groups.items(), strict=True):
            if kind == "modes":
                _modes(row[0], name, group)
            else:
                _over_tokens(row[0], f"{name}: ms", group, "ms")
                _over_tokens(row[1], f"{name}: workspace, MiB", group, "workspace_mib")
        written.append(csv_path.with_name(f"{csv_path.stem}_{kind}.png"))
        figure.savefig(written[-1])
    return written


def _groups(rows: list[Row], name: str, column: str, least: int) -> dict[str, list[Row]]:
    """Rows by a name made of their fields; those groups that have `least` different values of a column."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[name.format_map(row)].append(row)
    return {name: group for name, group in groups.items() if len({row[column] for row in group}) >= least}


def _modes(panel: Any, title: str, rows: list[Row]) -> None:
    """Share of the bare products' speed, a group of bars per mode."""
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    providers = list(dict.fromkeys(row["provider"] for row in rows if row["provider"] != "bare products"))
    shares = {(row["mode"], row["provider"]): float(row["of_bare_products"] or 0) for row in rows}
    width = 0.8 / max(1, len(providers))
    for index, provider in enumerate(providers):
        places = [place - 0.4 + width * (index + 0.5) for place in range(len(modes))]
        heights = [100 * shares.get((mode, provider), 0.0) for mode in modes]
        panel.bar(places, heights, width, label=provider, color=COLOURS[index % len(COLOURS)])
    panel.set_xticks(range(len(modes)), modes)
    panel.axhline(100, color="#16191d", linewidth=1)
    panel.set_ylabel("% of bare products")
    _decorate(panel, title)


def _over_tokens(panel: Any, title: str, rows: list[Row], field: str) -> None:
    for index, provider in enumerate(dict.fromkeys(row["provider"] for row in rows)):
        points = {int(row["tokens"]): float(row[field]) for row in rows if row["provider"] == provider and row[field]}
        places, colour = sorted(points), COLOURS[index % len(COLOURS)]
        heights = [points[tokens] for tokens in places]
        panel.plot(places, heights, marker="o", markersize=3, color=colour, label=provider)
    panel.set_xscale("log", base=2)
    panel.set_yscale("symlog" if field == "workspace_mib" else "log")
    panel.set_xlabel("tokens")
    _decorate(panel, title)


def _decorate(panel: Any, title: str) -> None:
    panel.set_title(title, loc="left", fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
