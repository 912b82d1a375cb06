"""Composes settings objects from `configs/` and the command line; maps errors to exit codes. Imports no torch.

An entry point is a function of its settings:

    def main(config: RunConfig) -> ExitCode: ...

    if __name__ == "__main__":
        run_hydra(main, RunConfig)
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TypeVar

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import prorl_mega
from prorl_mega.config.command_line import flags_first, refuse_odd_choices, spelled_out
from prorl_mega.config.config_source import bound_config_files
from prorl_mega.config.hydra_parts import guard_hydra
from prorl_mega.config.keys import Branch
from prorl_mega.config.messages import explain, unknown_key
from prorl_mega.config.optuna_study import RunOutcome
from prorl_mega.config.optuna_sweeper import register_optuna
from prorl_mega.config.renamed import RENAMED
from prorl_mega.config.schema import EvaluateConfig, EvaluationConfig, RunConfig, TasksConfig, WarmstartConfig
from prorl_mega.config.swept_runs import note_run
from prorl_mega.config.validate import validate, validate_evaluation, validate_tasks, validate_warmstart
from prorl_mega.distributed.launch import read_launch
from prorl_mega.distributed.parent import end_with_launcher
from prorl_mega.errors import ConfigError, ExitCode, ProRLError

Settings = TypeVar("Settings", EvaluateConfig, RunConfig, WarmstartConfig)
Completion = Callable[[Settings], Settings]
"""Adds what follows from the settings before they are checked: benchmarks, by `prorl_mega.tasks.benchmarks`."""
Scores = Callable[[Path], dict[str, float]]
"""The numbers of a run's final evaluation, by its directory; a search over settings goes by them."""

_FULL_ERROR = "HYDRA_FULL_ERROR"  # Hydra's own switch for tracebacks, kept as ours
_LONGEST_NAME = 120  # characters; file systems end at 255 and checkpoints add to it


def config_directory() -> Path:
    """The folder `configs/`: beside the package in a checkout, inside it after a normal install."""
    package = Path(prorl_mega.__file__).resolve().parent
    for candidate in (package.parent / "configs", package / "configs"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise ConfigError(f"{package.parent / 'configs'}: no train.yaml there; install the project again from its checkout")


def root_config(schema: type) -> str:
    """Name of the root file in `configs/` whose settings are `schema`."""
    return {RunConfig: "train", EvaluateConfig: "evaluate", WarmstartConfig: "warmstart"}[schema]


def register() -> None:
    """Make the settings classes known to Hydra, whose files name them in their defaults lists; bound its files, and
    what it calls."""
    bound_config_files()
    register_optuna()
    guard_hydra()
    store = ConfigStore.instance()
    for schema in (RunConfig, EvaluateConfig, WarmstartConfig):
        store.store(name=f"{root_config(schema)}_schema", node=schema, provider="prorl_mega")


def to_config(
    settings: DictConfig, schema: type[Settings], world_size: int, complete: Completion[Settings] | None = None
) -> Settings:
    """Settings objects from a `DictConfig`, checked for `world_size` learner ranks. Raises only `ConfigError`."""
    config = to_objects(settings, schema)
    if complete is not None:
        config = complete(config)
    if isinstance(config, EvaluateConfig):
        validate_evaluation(config, world_size)
    elif isinstance(config, RunConfig):
        validate(config, world_size)
    else:
        validate_warmstart(config, world_size)
    return config


def to_objects(settings: DictConfig, schema: type[Settings]) -> Settings:
    """Objects that may contradict each other still; `to_config` checks them as well."""
    return _to_object(settings, settings, schema, schema)


def to_tasks(settings: DictConfig, complete: Callable[[TasksConfig, EvaluationConfig], TasksConfig]) -> TasksConfig:
    """The tasks of a run alone, checked. What else the run needs may be missing. Raises only `ConfigError`."""
    evaluation = _to_object(settings, settings.evaluation, RunConfig, EvaluationConfig)
    tasks = complete(_to_object(settings, settings.tasks, RunConfig, TasksConfig), evaluation)
    validate_tasks(tasks)
    return tasks


def run_hydra(
    main: Callable[[Settings], ExitCode],
    schema: type[Settings],
    complete: Completion[Settings] | None = None,
    scores: Scores = lambda run: {},
) -> NoReturn:
    """Compose, complete the settings, validate for the ranks of this launch, call `main`, and leave with an exit code.

    Under `--multirun` that is once per job. The ranks are put into the environment as `torch.distributed` wants them
    before `main` is called.
    """

    @functools.wraps(main)
    def job(settings: DictConfig) -> ExitCode:
        end_with_launcher(os.environ)
        launch = read_launch(os.environ)
        os.environ.update(launch.variables())
        return main(to_config(settings, schema, launch.world_size, complete))

    run_composed(job, schema, scores)


def run_composed(
    main: Callable[[DictConfig], ExitCode],
    schema: type[RunConfig] | type[WarmstartConfig],
    scores: Scores = lambda run: {},
) -> NoReturn:
    """`run_hydra` without validation, for entry points that start no ranks.

    Errors of ours and of the settings are shown as one message on stderr; a traceback only with HYDRA_FULL_ERROR=1.
    """
    debug = _FULL_ERROR in os.environ
    sys.argv[1:] = flags_first(spelled_out(sys.argv[1:]))
    swept = swept_keys(sys.argv[1:])
    codes: list[int] = []
    jobs: dict[str, int] = {}  # exit codes of a local sweep's jobs
    failures: list[ProRLError] = []

    @functools.wraps(main)
    def job(settings: DictConfig) -> RunOutcome | None:
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            try:
                codes.append(main(settings))
            except ProRLError as error:
                failures.append(error)
            return None
        _name_sweep_job(settings, schema, swept)
        run = _note_sweep_job(settings, schema)
        if str(HydraConfig.get().launcher["_target_"]).endswith(".BasicLauncher"):
            name, code = _run_in_own_process(settings, schema, debug)
            if not _is_search():  # which has an end of its own, whatever its runs come to
                jobs[name] = code
        else:
            code = main(settings)  # errors are the launcher's, which has to know which job failed
            codes.append(code)
        return RunOutcome(code=int(code), run=run, scores=scores(run) if code == ExitCode.FINISHED else {})

    if {"--help", "-h"} & set(sys.argv[1:]):
        print(sys.modules[main.__module__].__doc__)  # Hydra's own help, which follows, knows only the settings
    try:
        register()
        refuse_odd_choices(sys.argv[1:], config_directory())
        with _propagated_errors():
            hydra.main(version_base="1.3", config_path=str(config_directory()), config_name=root_config(schema))(job)()
        if failures:
            raise failures[0]
    except ProRLError as error:
        _leave(str(error), error, debug, error.exit_code)
    except (HydraException, OmegaConfBaseException) as error:
        _leave(explain(error, schema), error, debug, ExitCode.CONFIG)
    except yaml.YAMLError as error:
        _leave(f"not valid YAML: {error}", error, debug, ExitCode.CONFIG)
    if failed := {name: code for name, code in jobs.items() if code != ExitCode.FINISHED}:
        listed = ", ".join(f"{name} ({code})" for name, code in failed.items())
        print(f"error: {len(failed)} of {len(jobs)} jobs of the sweep failed (exit code): {listed}", file=sys.stderr)
    sys.exit(max([*codes, *jobs.values()], default=ExitCode.FINISHED))


def swept_keys(arguments: list[str]) -> frozenset[str]:
    """Keys that have several values on the command line of a sweep; Hydra reports what cannot be parsed."""
    parser = OverridesParser.create()
    keys = set()
    for argument in arguments:
        if "=" in argument and not argument.startswith("-"):
            with suppress(HydraException):
                override = parser.parse_override(argument)
                if override.is_sweep_override():
                    keys.add(override.key_or_group)
    return frozenset(keys)


_TOLD_APART = ("run", "step", "model.path", "label")  # settings that give evaluations other names or labels anyway


def sweep_name(name: str, overrides: list[str]) -> str:
    """`name` with the overrides of one sweep job, so that jobs never share a directory and reruns find theirs.

    `seed=2 recipe.kl.coef=1e-3` gives `name--seed_2--kl_coef_1e-3`; characters unfit for a path become part of a hash.
    """
    parts = [name]
    exact = True
    overrides = [_former(override) for override in overrides]
    for override in overrides:
        key, value = _key(override), override.partition("=")[2]
        if key in ("name", "output", "root") or (key == "experiment" and value == name):
            continue
        safe = re.sub(r"[^A-Za-z0-9._-]", "-", value.rpartition("/")[2])
        exact &= safe == value and "--" not in value
        parts.append(f"{key.rpartition('.')[2]}_{safe}")
    joined = "--".join(parts)
    if exact and len(joined) <= _LONGEST_NAME:
        return joined
    digest = hashlib.sha256("\0".join(overrides).encode()).hexdigest()[:8]
    return f"{joined[: _LONGEST_NAME - 10]}--{digest}"


def _directory_key(settings: DictConfig, schema: type) -> str:
    """The setting that says where a job writes."""
    if schema is EvaluateConfig and OmegaConf.is_missing(settings, "name"):
        return "label"  # the run or the model that is evaluated gives the name
    return {RunConfig: "name", EvaluateConfig: "name", WarmstartConfig: "output"}[schema]


def _status(command: list[str], environ: dict[str, str]) -> int:
    """Run a command to its end. A signal to stop is passed on, so that it ends by itself, with what it has saved.

    As SIGTERM: a terminal has sent its SIGINT to the command too, and a second one would end it at once.
    """
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    with subprocess.Popen(command, env=environ) as process:
        previous = {each: signal.signal(each, lambda *_: process.terminate()) for each in signals}
        try:
            return process.wait()
        finally:
            for each, handler in previous.items():
                signal.signal(each, handler)


def _name_sweep_job(settings: DictConfig, schema: type, swept: frozenset[str]) -> None:
    key = _directory_key(settings, schema)
    if OmegaConf.is_missing(settings, key):
        return
    swept |= set(HydraConfig.get().sweeper.params or ())  # of a configuration file
    overrides = [text for text in HydraConfig.get().overrides.task if _key(text) in swept]
    if key != "label":
        settings[key] = sweep_name(str(settings[key]), overrides)
    elif overrides := [text for text in overrides if _key(text) not in _TOLD_APART]:
        settings.label = sweep_name(settings.label or settings.step, overrides)


def _is_search() -> bool:
    return str(HydraConfig.get().sweeper["_target_"]).endswith(".OptunaSweeper")


def _note_sweep_job(settings: DictConfig, schema: type) -> Path:
    """Add the job's run to the list of the sweep's runs; returns its directory."""
    run = Path(settings.root) / str(settings.name) if schema is RunConfig else Path()
    if schema is RunConfig:
        note_run(Path(HydraConfig.get().sweep.dir), run)
    return run


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _former(override: str) -> str:
    """An override with its key of version 0.1, so that sweeps of that version find their runs again."""
    former = {new: old for old, new in RENAMED.items()}
    return override.replace(_key(override), former.get(_key(override), _key(override)), 1)


def _run_in_own_process(settings: DictConfig, schema: type, debug: bool) -> tuple[str, int]:
    """Run one job of a local sweep in a process of its own: Hydra's one process would keep memory and groups.

    The child gets this job's overrides as they were written. Returns its name and its exit code: a job that fails says
    nothing about the others. Only one that was told to stop ends the sweep, which is what the signal was meant for.
    """
    key = _directory_key(settings, schema)
    overrides = [text for text in HydraConfig.get().overrides.task if not text.startswith(f"{key}=")]
    name = " ".join(overrides)
    if not OmegaConf.is_missing(settings, key) and settings[key] is not None:
        name = f"{key}={settings[key]}"
        overrides.append(name)
    sources = HydraConfig.get().runtime.config_sources
    folders = [part for each in sources if each.provider == "command-line" for part in ("--config-dir", each.path)]
    specification = sys.modules["__main__"].__spec__
    program = ["-m", specification.name] if specification is not None else [sys.argv[0]]
    environ = {name: value for name, value in os.environ.items() if debug or name != _FULL_ERROR}
    code = _status([sys.executable, *program, *folders, *overrides], environ)
    if code in (ExitCode.SAVED_AFTER_SIGNAL, -signal.SIGINT, -signal.SIGTERM):
        print(f"error: the sweep stops, {name} was told to", file=sys.stderr, flush=True)
        sys.exit(code if code > 0 else 128 - code)
    if code != ExitCode.FINISHED:
        print(f"error: {name} failed with exit code {code}; the sweep goes on", file=sys.stderr, flush=True)
    return name, code if code >= 0 else 128 - code


def _to_object(settings: DictConfig, branch: DictConfig, schema: type, kind: type[Branch]) -> Branch:
    """The object of one branch of `settings`, none of which may be unknown."""
    _refuse_unknown(settings, schema, "")
    try:
        found = OmegaConf.to_object(branch)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, schema)) from None
    assert isinstance(found, kind)
    return found


def _refuse_unknown(settings: DictConfig, schema: type, prefix: str) -> None:
    """Refuse keys that no settings class has; Hydra's `+key=value` adds them."""
    kind = OmegaConf.get_type(settings)
    known = {entry.name for entry in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else None
    for key in map(str, settings):
        name = f"{prefix}{key}"
        if known is not None and key not in known:
            raise ConfigError(unknown_key(name, schema))
        if OmegaConf.is_missing(settings, key) or OmegaConf.is_interpolation(settings, key):
            continue
        if isinstance(value := settings[key], DictConfig):
            _refuse_unknown(value, schema, f"{name}.")


@contextmanager
def _propagated_errors() -> Iterator[None]:
    """Make Hydra raise errors, which are mapped to exit codes, instead of printing them and exiting with 1."""
    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FULL_ERROR]
        else:
            os.environ[_FULL_ERROR] = before


def _leave(message: str, error: BaseException, debug: bool, code: ExitCode) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    # Every rank prints: the launcher may end rank 0 for another rank's failure before rank 0 has printed it.
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    print(f"error: {message}" if rank == "0" else f"error on rank {rank}: {message}", file=sys.stderr, flush=True)
    sys.exit(code)
