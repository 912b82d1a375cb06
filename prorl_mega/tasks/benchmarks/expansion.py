"""Names of benchmarks as entries of a mixture, to be evaluated and not trained on.

A name is a benchmark of `published.py`, a data set of reasoning-gym or a ladder of one (`ladder.py`), or a set of them;
`NAME=PATH` reads a benchmark from a file that lies elsewhere.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import TypeVar

from prorl_mega.config.schema import EvaluationConfig, RunConfig, Split, TaskConfig, TasksConfig
from prorl_mega.config.stages import compared_response, stage_settings
from prorl_mega.errors import ConfigError
from prorl_mega.tasks.benchmarks import ladder, places
from prorl_mega.tasks.benchmarks.benchmark import Benchmark
from prorl_mega.tasks.benchmarks.published import CODE, MATH, PUBLISHED
from prorl_mega.tasks.logic import gym, gym_rules
from prorl_mega.tasks.registry import nearest

Settings = TypeVar("Settings", bound=RunConfig)
KEY = "evaluation.benchmarks"
LONGEST_LABEL = 80  # characters
OUT_OF_DISTRIBUTION = ("acre", "boxnet", "game_of_life_halting")
GRAPH_COLOR_LADDER = "graph_color:num_vertices=5/8/10/13/15/18/20"
SETS: dict[str, tuple[str, ...]] = {
    "paper_math": tuple(name for name in MATH if name != "math"),
    "paper_code": CODE,
    "out_of_distribution": tuple(f"{ladder.PREFIX}{name}" for name in OUT_OF_DISTRIBUTION),
    "graph_color_ladder": (GRAPH_COLOR_LADDER,),
    "validation_blend": ("aime24", "codeforces", "gpqa_diamond", "ifeval", f"{ladder.PREFIX}graph_color"),
}
"""Benchmarks by the name of their set; `logic` and `paper` are sets as well, whose members reasoning-gym knows."""
LOGIC, PAPER = "logic", "paper"


def expand(benchmarks: list[str], directory: Path) -> dict[str, TaskConfig]:
    """The entries of a mixture by their names, of weight 0; what has files is evaluated with all its rows.

    A benchmark that is named twice, or by two sets, is one entry. Raises ConfigError for all mistakes at once: unknown
    names with those most like them, missing files with every path that was looked at, files of another benchmark.
    """
    entries: dict[str, TaskConfig] = {}
    wrong: list[str] = []
    for text in benchmarks:
        for member in _members(text):
            try:
                for entry, config in _entries(member, directory).items():
                    _add(entry, config, entries)
            except ConfigError as error:
                wrong.append(str(error))
    wrong = list(dict.fromkeys(wrong))
    if len(wrong) == 1:
        raise ConfigError(f"{KEY}: {wrong[0]}")
    if wrong:
        raise ConfigError(f"{KEY}: {len(wrong)} mistakes:\n" + "\n".join(f"  - {line}" for line in wrong))
    return entries


def completed(tasks: TasksConfig, evaluation: EvaluationConfig) -> TasksConfig:
    """The tasks of a run with its benchmarks, which are evaluated whenever it is and never trained on."""
    if not evaluation.benchmarks:
        return tasks
    entries = expand(evaluation.benchmarks, Path(evaluation.benchmark_directory))
    if taken := entries.keys() & tasks.mixture.keys():
        raise ConfigError(
            f"{KEY}: tasks.mixture has an entry called {min(taken)!r} of its own; rename it, or leave the benchmark out"
        )
    return dataclasses.replace(tasks, mixture=tasks.mixture | entries)


def with_benchmarks(config: Settings) -> Settings:
    """`completed` for all settings of a run."""
    return dataclasses.replace(config, tasks=completed(config.tasks, config.evaluation))


def benchmarks_alone(config: Settings) -> Settings:
    """The settings of an evaluation of its benchmarks and of nothing else; without benchmarks they are as they were.

    Stages, which may weigh entries that are not there any more, are gone; their response limit is kept.
    """
    evaluation = config.evaluation
    if not evaluation.benchmarks:
        return config
    entries = expand(evaluation.benchmarks, Path(evaluation.benchmark_directory))
    limit = compared_response(config, stage_settings(config))
    return dataclasses.replace(
        config,
        tasks=dataclasses.replace(config.tasks, mixture=entries),
        schedule=dataclasses.replace(config.schedule, stages=[]),
        evaluation=dataclasses.replace(evaluation, max_response_tokens=limit),
    )


def benchmarks_label(policy: str, benchmarks: list[str]) -> str:
    """The label of a policy's results on these benchmarks, in any order: policy_aime24-math500. Those of other
    benchmarks have another one, so that neither replaces the other."""
    if not benchmarks:
        return policy
    names = (each.partition("=")[0] if each.partition("=")[0] in PUBLISHED else each for each in benchmarks)
    named = sorted({re.sub(r"[^A-Za-z0-9._]+", ".", name) for name in names})
    label = f"{policy}_{'-'.join(named)}"
    if len(label) <= LONGEST_LABEL:
        return label
    digest = hashlib.blake2b("\n".join(named).encode(), digest_size=4).hexdigest()
    return f"{label[: LONGEST_LABEL - 9].rstrip('.-')}-{digest}"


def set_members(name: str) -> tuple[str, ...] | None:
    """The benchmarks of a set; None for what is no set. Imports reasoning-gym for those that contain puzzles."""
    if name == LOGIC:
        left_out = {*OUT_OF_DISTRIBUTION, *gym_rules.HASH_DEPENDENT}
        return tuple(f"{ladder.PREFIX}{each}" for each in gym.datasets() if each not in left_out)
    if name == PAPER:
        parts = ("paper_math", "paper_code", LOGIC, "out_of_distribution", "graph_color_ladder")
        return ("gpqa_diamond", "ifeval", *(member for part in parts for member in set_members(part) or ()))
    return SETS.get(name)


def _members(text: str) -> tuple[str, ...]:
    return set_members(text) or (text,)


def _entries(text: str, directory: Path) -> dict[str, TaskConfig]:
    name, equals, path = text.partition("=")
    if name in PUBLISHED:
        benchmark = PUBLISHED[name]
        if equals and not path:
            raise ConfigError(f"{text}: names no file; write {name}=PATH, or {name} alone")
        place = places.given(benchmark, path) if equals else places.find(benchmark, directory)
        return {name: _of_files(benchmark, place)}
    dataset = text.partition(":")[0]
    if equals and ":" not in name:
        raise ConfigError(_unknown(name, f"only benchmarks with files can be read from {path}"))
    if not ladder.is_known(dataset):
        raise ConfigError(_unknown(dataset))
    return ladder.rungs(text)


def _unknown(name: str, reason: str = "") -> str:
    known = [*PUBLISHED, *SETS, LOGIC, PAPER]
    close = nearest(name.removeprefix(ladder.PREFIX), [*known, *gym.datasets()])
    more = f"; {reason}" if reason else ""
    return (
        f"no benchmark is called {name!r}{close}{more}. Known: {', '.join(known)}, and every data set of reasoning-gym "
        f"({ladder.PREFIX}NAME)"
    )


def _of_files(benchmark: Benchmark, place: places.Place) -> TaskConfig:
    options = {**benchmark.options, "path": place.path, **place.options}
    if benchmark.rows and not place.options:
        options["usual_rows"] = list(benchmark.rows)
    return TaskConfig(name=benchmark.task, weight=0.0, split=Split.validation, options=options)


def _add(entry: str, config: TaskConfig, entries: dict[str, TaskConfig]) -> None:
    """Add an entry. Raises ConfigError for one that is there with another file, and for a file of two benchmarks."""
    if (before := entries.get(entry, config)) != config:
        raise ConfigError(
            f"{entry}: is named twice, with {before.options.get('path')} and {config.options.get('path')}"
        )
    for other, each in entries.items():
        same = [config.options.get(key) == each.options.get(key) for key in ("path", "only")]
        if other != entry and "path" in config.options and all(same):
            raise ConfigError(f"{entry}: reads {config.options['path']}, which is {other}")
    entries[entry] = config
