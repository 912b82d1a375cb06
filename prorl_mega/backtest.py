"""The controller's decisions on the recorded numbers of a run, under the same or other thresholds, in a second.

    python -m prorl_mega.backtest runs/x/metrics.jsonl
    python -m prorl_mega.backtest runs/x/metrics.jsonl schedule.reset.patience=3 schedule.reset.decline=0.05
    python -m prorl_mega.backtest runs/x/metrics.jsonl experiment=prorl_v2_1p5b

Needs neither torch nor the model.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prorl_mega.config.command_line import refuse_odd_choices
from prorl_mega.config.compose import config_directory, register, root_config, to_objects
from prorl_mega.config.messages import explain
from prorl_mega.config.schedule_checks import schedule_problems
from prorl_mega.config.schema import RunConfig
from prorl_mega.config.stages import stage_settings
from prorl_mega.documents import brief
from prorl_mega.errors import ConfigError, DataError, exit_status
from prorl_mega.recipe.control import ProRLController
from prorl_mega.run.changes import before_changes
from prorl_mega.run.decisions import NAME, SettingChange, read_changes, read_decisions, to_row
from prorl_mega.run.jsonl import read_rows, to_lines
from prorl_mega.run.metrics import is_number
from prorl_mega.run.settings import read_tree, with_defaults
from prorl_mega.types import Event, Metrics

DIFFERENT = 1  # exit status of --check

_EPILOG = """\
The settings are those of the run (config.yaml beside the metrics), changed by the overrides; with experiment=NAME they
are composed from configs/ instead, as for prorl_mega.train. Settings that were changed on the way (decisions.jsonl) are
changed at the same steps, but overrides, and those of an experiment, hold from the first step on. Every decision is
printed with a mark in front:

    =   the run logged the same decision at the same step (decisions.jsonl beside the metrics)
    +   only the backtest takes it
    -   only the run took it
    ~   a setting was changed, from the next step on

The numbers are those of the run as it was. A reset that did not happen would have changed everything after it, so the
first decision that differs can be trusted; later ones say how often a threshold fires, not what would have followed.

Settings worth trying (prorl_mega/config/schedule.py explains each):
    schedule.reset.patience=8 .min_delta=0.005     plateau: evaluations without improvement
    schedule.reset.decline=0.05 .decline_patience=2    decline below the best since the last reset
    schedule.reset.kl_bound=0.1 .kl_patience=5     distance from the reference, nats per token
    schedule.reset.every=300 .min_distance=100     on a schedule; never closer than
    schedule.entropy.low=0.3 .high=2 .margin=0.05  band of the policy's entropy
    'schedule.stages=[{steps: 500}, {until: trigger}]'     stages

Exit status: 0; 20 for settings that cannot work; with --check 1 when a decision differs from those logged.
"""


class Section(NamedTuple):
    """The settings that were in force after `step` steps, until those of the next section."""

    step: int
    config: RunConfig


def backtest(course: list[Section], rows: Iterable[dict[str, Any]]) -> Iterator[tuple[int, Event]]:
    """Step and event, in order, of all events of a fresh controller on these rows of a metrics file.

    Where settings change it goes on as after a resume.
    """
    controller = ProRLController(course[0].config)
    following = list(course[1:])
    for row in rows:
        if row["step"] == 0:  # the policy before training, which is not judged
            continue
        while following and row["step"] > following[0].step:
            state = controller.state_dict()
            controller = ProRLController(following.pop(0).config)
            controller.load_state_dict(state)
        for event in controller.observe(row["step"], _metrics(row)).events:
            yield row["step"], event


def differences(
    logged: Iterable[tuple[int, Event]], backtested: Iterable[tuple[int, Event]]
) -> Iterator[tuple[str, int, Event]]:
    """Mark ("=", "+", "-"), step and event, by step. Decisions are equal when step, trigger and action are."""
    logged, backtested = list(logged), list(backtested)
    left = Counter(map(_identity, logged))
    marked: list[tuple[int, str, Event]] = []
    for step, event in backtested:
        known = left[_identity((step, event))] > 0
        left[_identity((step, event))] -= known
        marked.append((step, "=" if known else "+", event))
    for step, event in reversed(logged):  # of equal ones the last are those that are missing
        if left[_identity((step, event))] > 0:
            left[_identity((step, event))] -= 1
            marked.append((step, "-", event))
    for step, mark, event in sorted(marked, key=lambda each: each[0]):
        yield mark, step, event


def read_course(metrics: Path, overrides: list[str]) -> list[Section]:
    """The settings to backtest with. Raises ConfigError for settings that do not exist or contradict each other."""
    try:
        if any(override.startswith("experiment=") for override in overrides):
            refuse_odd_choices(overrides, config_directory())
            register()
            with initialize_config_dir(config_dir=str(config_directory()), version_base="1.3"):
                settings = compose(root_config(RunConfig), overrides=[*overrides, "name=backtest", "model.path=none"])
            course = [Section(0, to_objects(settings, RunConfig))]
        else:
            given = _parsed(overrides)
            course = [Section(step, _merged(tree, given)) for step, tree in _stored(metrics.parent)]
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, RunConfig)) from None
    for step, config in course:
        if problems := schedule_problems(config, stage_settings(config)):
            when = f"with the settings after step {step}: " if step else ""
            raise ConfigError(when + "; ".join(problems))
    return course


def _merged(tree: dict[str, Any], given: Any) -> RunConfig:
    settings: Any = OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.create(tree), given)
    return to_objects(settings, RunConfig)


def _stored(run: Path) -> list[tuple[int, dict[str, Any]]]:
    """The nested settings of a run, and after how many steps they came into force: config.yaml has the last ones."""
    path = run / "config.yaml"
    if not path.exists():
        raise ConfigError(f"{path} does not exist; say which settings to backtest with: experiment=NAME")
    tree = with_defaults(read_tree(path))
    found: list[tuple[int, dict[str, Any]]] = []
    changes = read_changes(run / NAME)
    for step in sorted({change.step for change in changes}, reverse=True):
        found.append((step, tree))
        try:
            tree = before_changes(tree, [change for change in changes if change.step == step])
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{run / NAME}: the changes after step {step} do not fit {path} ({error!r})") from None
    return [(0, tree), *reversed(found)]


def _parsed(overrides: list[str]) -> Any:
    """The settings in overrides of the form `a.b=value`, with YAML values."""
    for override in overrides:
        if "=" not in override:
            raise ConfigError(f"{override}: not an override; write <setting>=<value>")
    return OmegaConf.from_dotlist(overrides)


def _metrics(row: dict[str, Any]) -> Metrics:
    """The metrics that the controller saw: values that were not finite are null in the file. Raises DataError for a
    value that is no number."""
    for name, value in row.items():
        if value is not None and not is_number(value):
            raise DataError(f"metrics of step {row['step']}: {name}={brief(value)} must be a number or null")
    return {name: math.nan if value is None else float(value) for name, value in row.items() if name != "step"}


def _identity(decision: tuple[int, Event]) -> tuple[int, str, str]:
    step, event = decision
    return step, event.trigger, event.action


def _change(change: SettingChange) -> Event:
    return Event(trigger="settings", action="change", text=change.text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.backtest",
        description="Prints the decisions that the controller would take on the numbers of a run, and compares them "
        "with those that were logged. Thresholds can be tuned this way without a GPU.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("metrics", type=Path, help="metrics.jsonl of a run")
    parser.add_argument("overrides", nargs="*", metavar="setting=value", help="as for prorl_mega.train")
    parser.add_argument("--json", action="store_true", help="one JSON object per decision, with numbers and limits")
    parser.add_argument("--check", action="store_true", help="exit with 1 when the backtest differs from the log")
    return parser.parse_intermixed_args()


def main() -> int:
    arguments = _arguments()
    counts: Counter[str] = Counter()

    def command() -> None:
        if not arguments.metrics.is_file():
            raise ConfigError(f"{arguments.metrics} is not a file; it should be the metrics.jsonl of a run")
        course = read_course(arguments.metrics, arguments.overrides)
        rows = list(read_rows(arguments.metrics))
        logged = list(read_decisions(arguments.metrics.with_name(NAME)))
        backtested = list(backtest(course, rows))
        if arguments.json:
            sys.stdout.write(to_lines(to_row(step, event) for step, event in backtested))
        lines = [(each.step, "~", _change(each)) for each in read_changes(arguments.metrics.with_name(NAME))]
        for mark, step, event in differences(logged, backtested):
            counts[mark] += 1
            lines.append((step, mark, event))
        for step, mark, event in sorted(lines, key=lambda line: (line[0], line[1] == "~")):
            if not arguments.json:
                print(f"{mark} step {step:>6}  {event.action:<10}  {event.trigger:<12}  {event.text}")
        if not arguments.json:
            steps = sum(row["step"] > 0 for row in rows)
            print(f"{steps} steps: {counts['=']} as logged, {counts['+']} only here, {counts['-']} only in the log")

    status = exit_status(command)
    return DIFFERENT if not status and arguments.check and counts["+"] + counts["-"] else status


if __name__ == "__main__":
    sys.exit(main())
