"""Several runs compared: in which settings they differ, what they came to, and which setting mattered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from prorl_mega.evaluation import conditions
from prorl_mega.evaluation.setting_effects import Observed, SettingEffect, ValueEffect, setting_effects
from prorl_mega.reporting.swept_run import SweptRun, read_swept_run, shared_problems
from prorl_mega.reporting.swept_settings import ABSENT, SEED, SweptSetting, shown_value, swept_settings


@dataclass(kw_only=True, slots=True, frozen=True)
class Sweep:
    """`settings` differ between the runs (their values are in the order of `known`), `compared` between those with a
    score. `problems`: keys of those that all of `scored` were evaluated on."""

    runs: list[SweptRun]
    known: list[SweptRun]  # with settings
    settings: list[SweptSetting]
    scored: list[SweptRun]
    problems: list[str]
    compared: list[SweptSetting]
    effects: list[SettingEffect]  # of `compared`, the clearest first
    seeds: tuple[int, ...]  # of `scored`, each once

    def setting(self, key: str) -> SweptSetting:
        """The compared setting of this key."""
        return next(each for each in self.compared if each.key == key)

    def verdict(self, effect: SettingEffect) -> str:
        """Whether a setting mattered, in words."""
        if effect.method == "none":
            return "cannot be told apart from noise between seeds: too few runs to see how much they scatter"
        p = f"p = {effect.corrected:.2g}, for all settings together"
        if not effect.mattered:
            return f"cannot be told apart from noise between seeds ({p})"
        clearest = max(effect.values, key=ValueEffect.clearness)
        against = f"{clearest.value} against {effect.values[0].value}: {clearest.mean_difference:+.3f} ({p})"
        if effect.method == "pairs":
            return f"mattered, {against}"
        return f"goes with a difference, its own or that of what changed with it, {against}"

    def remarks(self) -> list[str]:
        """Sentences on what a reader should know of the comparison."""
        lines = []
        if without := [run for run in self.runs if run not in self.scored]:
            lines.append(f"Without a final evaluation, so not compared: {', '.join(each.name for each in without)}.")
        if together := [each for each in self.compared if each.together]:
            lines += [
                f"{each.key} always changes together with {', '.join(each.together)}: nothing here tells them apart."
                for each in together
            ]
        if len(self.scored) > 1 and len(self.seeds) == 1:
            lines.append(f"Every run has seed={self.seeds[0]}; a sweep with seed=1,2,3 shows the noise between seeds.")
        for run in self.scored[1:]:
            alike = conditions.remarks(self.scored[0].conditions, run.conditions)
            lines += [each for each in alike if each not in lines]
        if dropped := max((len(run.final) for run in self.scored), default=0) - len(self.problems):
            lines.append(f"{dropped} problems were left out: not every run was evaluated on them.")
        if len(commits := Counter(run.commit for run in self.known if run.commit)) > 1:
            listed = ", ".join(f"{count} by {commit}" for commit, count in commits.items())
            lines.append(f"The runs were made by different code: {listed}.")
        for run in self.known:
            if run.history is not None and run.history.changes:
                changes = "; ".join(f"{each.text} after step {each.step}" for each in run.history.changes)
                lines.append(f"{run.name} went on with other settings: {changes}.")
        return lines


def read_sweep(directories: list[Path]) -> Sweep:
    """The comparison of the runs in these directories. Raises ConfigError for runs that cannot be compared."""
    runs = [read_swept_run(each) for each in directories]
    known, scored = [run for run in runs if run.settings], [run for run in runs if run.final]
    compared = swept_settings([run.settings for run in scored])
    problems = shared_problems(scored) if scored else []
    observed = [
        Observed(
            values={each.key: shown_value(each.value[place]) for each in compared},
            groups={each.key: each.group[place] for each in compared},
            seed=run.settings.get(SEED, ABSENT),
            scores=run.problem_scores(problems),
        )
        for place, run in enumerate(scored)
    ]
    return Sweep(
        runs=runs,
        known=known,
        settings=swept_settings([run.settings for run in known]),
        scored=scored,
        problems=problems,
        compared=compared,
        effects=setting_effects(observed, {each.key: each.order for each in compared}),
        seeds=tuple(dict.fromkeys(run.settings.get(SEED, 0) for run in scored)),
    )
