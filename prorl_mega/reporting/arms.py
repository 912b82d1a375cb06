"""The arms of a study compared over seeds, with intervals.

All arms answer the same held-out problems with the same seeds, so arms are compared problem by problem and seed by
seed. Two things are random, which problems and which seeds; the intervals resample both (a bootstrap of seeds, and of
problems within). Such an interval is rough for three seeds, but wide where seeds disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from prorl_mega.evaluation.conditions import Conditions, incomparable
from prorl_mega.evaluation.pass_at_k import Estimate, pass_at_k
from prorl_mega.reporting.history import read_history
from prorl_mega.run.evaluations import BASE, FINAL

RESAMPLES = 2000


@dataclass(kw_only=True, slots=True, frozen=True)
class Arm:
    """One variant of the method."""

    title: str
    overrides: list[str] = field(default_factory=list)


@dataclass(kw_only=True, slots=True, frozen=True)
class FinishedRun:
    """A finished run: `[problems]` float64 per k, in the order of `problems`."""

    seed: int
    problems: tuple[str, ...]
    base: dict[int, np.ndarray]
    final: dict[int, np.ndarray]
    entropy: float  # nats, mean of the last tenth of the steps
    settings: Conditions = field(default_factory=dict)  # of the final evaluation
    obstacles: tuple[str, ...] = ()  # settings that differ between the evaluations of base and final policy

    def summary(self) -> str:
        note = [f"(not comparable, {'; '.join(self.obstacles)})"] if self.obstacles else []
        passes = [f"pass@{k} {self.base[k].mean():.3f} → {self.final[k].mean():.3f}" for k in sorted(self.final)]
        return "  ".join(passes + note)


@dataclass(kw_only=True, slots=True, frozen=True)
class ArmResult:
    """`final` by k over all seeds; `difference` to the reference arm, None for that arm itself and where `obstacles`,
    settings of the evaluations that differ between the two arms, forbid it."""

    arm: Arm
    seeds: int
    base: dict[int, float]
    final: dict[int, Estimate]
    difference: dict[int, Estimate] | None
    entropy: float
    obstacles: tuple[str, ...] = ()


def read_finished_run(directory: Path) -> FinishedRun | None:
    """The results in a run directory; None when the run has not finished."""
    if not (directory / "evaluation" / f"{FINAL}.json").exists():
        return None
    history = read_history(directory)
    before, after = history.evaluations.get(BASE), history.evaluations.get(FINAL)
    if before is None or after is None:
        return None
    trained = {str(record["key"]): record for record in after["problems"]}
    pairs = [(record, trained[record["key"]]) for record in before["problems"] if record["key"] in trained]
    records = [pair for pair in pairs if all(record["samples"] for record in pair)]  # of some no answer was scored
    if not records:
        return None
    most = min(min(int(a["samples"]), int(b["samples"])) for a, b in records)
    entropy = history.column("policy/entropy")
    return FinishedRun(
        seed=int(history.settings.get("seed", 0)),
        problems=tuple(str(record["key"]) for record, _ in records),
        base={k: np.array([pass_at_k(a["samples"], a["solved"], k) for a, _ in records]) for k in {1, most}},
        final={k: np.array([pass_at_k(b["samples"], b["solved"], k) for _, b in records]) for k in {1, most}},
        entropy=float(np.nanmean(entropy[-max(1, len(entropy) // 10) :])) if len(entropy) else float("nan"),
        settings=after["settings"],
        obstacles=tuple(incomparable(before["settings"], after["settings"])),
    )


def compare_arms(arms: dict[str, Arm], outcomes: dict[str, list[FinishedRun]], reference: str) -> list[ArmResult]:
    """One result per arm that has an outcome, in the order of `arms`."""
    others = {outcome.seed: outcome for outcome in outcomes.get(reference, [])}
    results = []
    for name, arm in arms.items():
        runs = outcomes.get(name, [])
        if not runs:
            continue
        pairs = [(run, others[run.seed]) for run in runs if run.seed in others]
        ks = sorted(runs[0].final)
        pairs_differ = [incomparable(other.settings, run.settings) for run, other in pairs]
        obstacles = dict.fromkeys(line for lines in pairs_differ for line in lines)
        results.append(
            ArmResult(
                arm=arm,
                seeds=len(runs),
                base={k: float(np.mean([run.base[k].mean() for run in runs])) for k in ks},
                final={k: resample([run.final[k] for run in runs]) for k in ks},
                difference={k: resample([_paired(a, b, k) for a, b in pairs]) for k in ks}
                if pairs and name != reference and not obstacles
                else None,
                entropy=float(np.mean([run.entropy for run in runs])),
                obstacles=tuple(obstacles),
            )
        )
    return results


def _paired(run: FinishedRun, other: FinishedRun, k: int) -> np.ndarray:
    """The differences run − other on the problems that both have, `[problems]`."""
    place = {key: index for index, key in enumerate(other.problems)}
    shared = [(index, place[key]) for index, key in enumerate(run.problems) if key in place]
    mine, theirs = (np.array(column, dtype=int) for column in zip(*shared, strict=True))
    return run.final[k][mine] - other.final[k][theirs]


def resample(values: list[np.ndarray], *, confidence: float = 0.95, seed: int = 0) -> Estimate:
    """Mean over seeds of means over problems, and the interval of a bootstrap of both; `values` `[seeds][problems]`."""
    random = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        chosen = random.integers(len(values), size=len(values))
        means[index] = np.mean([random.choice(values[each], size=len(values[each])).mean() for each in chosen])
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean=float(np.mean([each.mean() for each in values])), low=float(low), high=float(high))


def table(results: list[ArmResult], reference: str) -> str:
    """The results as a Markdown table."""
    ks = sorted(results[0].final)
    head = ["arm", "seeds", "base pass@1", *(f"pass@{k} | − {reference}" for k in ks), "entropy at the end"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * (3 + 2 * len(ks) + 1)]
    for each in results:
        cells = [each.arm.title, str(each.seeds), f"{each.base[1]:.3f}"]
        for k in ks:
            cells.append(_cell(each.final[k], signed=False))
            cells.append("–" if each.difference is None else _cell(each.difference[k], signed=True))
        lines.append("| " + " | ".join([*cells, f"{each.entropy:.2f}"]) + " |")
    note = "95 % intervals of a bootstrap over seeds and over problems; differences are paired by seed and problem."
    missing = [
        f"No difference for {each.arm.title}: it was evaluated under other settings than {reference}: "
        f"{'; '.join(each.obstacles)}."
        for each in results
        if each.obstacles
    ]
    return "\n".join([*lines, "", note, *missing, ""])


def _cell(estimate: Estimate, *, signed: bool) -> str:
    sign = "+" if signed else ""
    return f"{estimate.mean:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"
