"""A comparison of several runs for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prorl_mega.evaluation.setting_effects import ValueEffect
from prorl_mega.reporting.sweep import Sweep
from prorl_mega.reporting.swept_run import LAST_TENTH, SweptRun
from prorl_mega.reporting.swept_settings import ABSENT, SEED, shown_value
from prorl_mega.run.console import printable

_LONGEST = 60  # characters of how a run has ended
ABOUT = (
    "Differences to the first value, each with its own 95 % interval; p is corrected for all values and settings. "
    "Without pairs, runs are compared that differ in other settings as well."
)


def sweep_lines(sweep: Sweep) -> list[str]:
    """Tables of runs and of settings, and remarks."""
    head, rows = run_table(sweep)
    lines = [headline(sweep), "", *_aligned([head, *rows])]
    if sweep.effects:
        lines += ["", "Which setting mattered?"]
        for effect in sweep.effects:
            setting = sweep.setting(effect.setting)
            lines.append(f"  {setting.label}: {sweep.verdict(effect)}")
            lines += [f"    {line}" for line in _aligned([_value_cells(each) for each in effect.values])]
        lines.append(ABOUT)
    return [printable(line) for line in [*lines, *([""] if sweep.remarks() else []), *sweep.remarks()]]


def headline(sweep: Sweep) -> str:
    """How many runs there are, and what is compared."""
    runs = f"{len(sweep.runs)} runs, {len(sweep.scored)} with a final evaluation"
    return f"{runs}, compared on {len(sweep.problems)} held-out problems" if sweep.scored else runs


def run_table(sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    """Names of columns, and a row per run: settings that differ, outcome, end."""
    head = ["run", *short_names([each.key for each in sweep.settings]), SEED, "pass@1", "best (step)",
            "reward", "entropy", "KL", "steps", "ended"]  # fmt: skip
    return head, [_row(sweep, run) for run in sweep.runs]


def short_names(keys: Sequence[str]) -> list[str]:
    """The shortest ends of dotted keys by which they are told apart."""

    def end(key: str) -> str:
        parts = key.split(".")
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[-count:])
            if sum(other == name or other.endswith(f".{name}") for other in keys) == 1 and name != SEED:
                return name
        return key

    return [end(key) for key in keys]


def _row(sweep: Sweep, run: SweptRun) -> list[str]:
    settings = ["–"] * (len(sweep.settings) + 1)
    if run.settings:
        place = sweep.known.index(run)
        settings = [shown_value(each.value[place]) for each in sweep.settings]
        settings.append(shown_value(run.settings.get(SEED, ABSENT)))
    score = "–"
    if run.final:
        estimate = run.score(sweep.problems)
        score = f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
    best, step = run.best
    ended = run.ended if len(run.ended) <= _LONGEST else f"{run.ended[:_LONGEST]}…"
    numbers = [_number(run.last_tenth.get(name, math.nan)) for name in LAST_TENTH]
    return [run.name, *settings, score, f"{best:.3f} ({step})" if math.isfinite(best) else "–", *numbers,
            f"{run.steps}/{run.planned}", ended]  # fmt: skip


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _value_cells(effect: ValueEffect) -> list[str]:
    runs = f"{effect.runs} run{'' if effect.runs == 1 else 's'}"
    return [effect.value, runs, f"{effect.mean:.3f}" if effect.runs else "–", difference(effect)]


def difference(effect: ValueEffect) -> str:
    """The difference to the first value, with its interval where there is one."""
    if effect.mean_difference is None:
        return ""
    text = f"{effect.mean_difference:+.3f}"
    if effect.difference is not None:
        text += f" [{effect.difference.low:+.3f}, {effect.difference.high:+.3f}]"
    return text + (f" in {effect.pairs} pair{'' if effect.pairs == 1 else 's'}" if effect.pairs else "")


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
