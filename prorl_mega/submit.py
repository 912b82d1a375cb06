"""Submits a run to Slurm, from a login node: checks and plans it, keeps a copy of code and settings, calls sbatch.

    python -m prorl_mega.submit experiment=prorl_v1_1p5b model.path=/models/R1 cluster=h100_4x8 cluster.partition=gpu
    python -m prorl_mega.submit --dry-run experiment=...      writes and submits nothing, prints what it would
    python -m prorl_mega.submit seed=1,2 experiment=...       a sweep: one array, a run of its own for each combination

Settings are those of prorl_mega.train; `cluster` says nodes, ranks, time, partition and container. The job runs the
code and the configuration files as they are now, whatever is changed while it waits. After a signal, at its time limit
and after an accident it saves and goes back into the queue by itself (slurm/README.md).
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prorl_mega.config.command_line import flags_first, refuse_odd_choices, spelled_out
from prorl_mega.config.compose import config_directory, register, root_config, sweep_name, to_config, to_objects
from prorl_mega.config.messages import explain
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ConfigError, StorageError, exit_status
from prorl_mega.planning.numbers import plan_lines
from prorl_mega.run.provenance import without_secret
from prorl_mega.run.settings import write_settings
from prorl_mega.slurm.job import CODE, CONFIG_DIR, SlurmJob
from prorl_mega.slurm.snapshot import copy_code
from prorl_mega.tasks.benchmarks import with_benchmarks

SUBMISSIONS = "submissions"  # under `root`
_SBATCH_S = 120
_CONFIG_DIR = ("--config-dir", "-cd")


def submit(arguments: list[str], *, dry: bool) -> None:
    """Submit the run, or the sweep, of these overrides. Raises ConfigError, StorageError."""
    flags, overrides = divided(arguments)
    _refuse_secrets(overrides)
    runs = [_composed(flags, each) for each in combinations(overrides, flags)]
    first = runs[0][1]
    if len({config.name for _, config in runs}) < len(runs):
        raise ConfigError("several runs of this sweep have the same name, so they would share a directory")
    for config in (config for _, config in runs[1:]):
        if config.cluster != first.cluster or config.root != first.root:
            raise ConfigError("the jobs of an array have the same cluster and root; submit them one by one")
    for line in plan_lines(first, first.cluster.nodes * first.cluster.ranks_per_node):
        print(line)
    job = _job(flags, runs)
    if dry:
        files = job.files()
        print(f"{len(job.tasks)} jobs, as:" if len(job.tasks) > 1 else "the job:")
        print(files["job.sbatch"].decode(), end="")
        for _, words in job.tasks:
            print(f"# prorl_mega.train {shlex.join(words)}")
        print(shlex.join(job.command()))
        return
    _write(job, [config for _, config in runs])
    print(f"submitted as job {_sbatch(job)}; what runs is in {job.submission}, logs are in {_logs(job)}")


def _refuse_secrets(overrides: list[str]) -> None:
    """Raise ConfigError for the value of a secret: the job's command lines can be read by everyone on its nodes."""
    for override in overrides:
        if without_secret(override) != override:
            raise ConfigError(
                f"{override.partition('=')[0].lstrip('+~')}: a secret on a command line can be read by all users of "
                "the job's nodes; write it into a file of --config-dir, or let your code read an environment variable"
            )


def divided(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags, of which only the folder of configuration files makes sense here, and overrides."""
    words = flags_first(spelled_out([each for each in arguments if each not in ("-m", "--multirun")]))
    flags: list[str] = []
    while words and words[0].startswith("-"):
        flag = words.pop(0)
        name, sign, value = flag.partition("=")
        if name not in _CONFIG_DIR or not (sign or words):
            raise ConfigError(f"{flag}: no option of this program; --help lists them")
        flags = ["--config-dir", str(Path(value if sign else words.pop(0)).resolve())]
    return flags, words


def combinations(overrides: list[str], flags: list[str]) -> list[list[str]]:
    """The overrides of every job of a sweep: those with several values (`seed=1,2`), each with each, and a name."""
    choices: list[list[str]] = []
    swept = []
    try:
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.key_or_group == "hydra/sweeper" or override.is_interval_sweep():
                raise ConfigError(
                    f"{override.input_line}: an array has a run for each of several values (a=1,2). A search is one "
                    "process that starts a job for each run: python -m prorl_mega.train -m hydra/sweeper=optuna "
                    "hydra/launcher=slurm cluster=... on a login node"
                )
            if override.is_sweep_override():
                key = override.get_key_element()
                choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
                swept.append(len(choices) - 1)
            else:
                choices.append([str(override.input_line)])
    except HydraException as error:
        raise ConfigError(explain(error, RunConfig)) from None
    found = []
    for chosen in itertools.product(*choices):
        words = list(chosen)
        if swept:
            settings = _settings(flags, words)
            name = "" if OmegaConf.is_missing(settings, "name") else str(settings.name)
            words.append(f"name={sweep_name(name, [words[index].lstrip('+~') for index in swept])}")
        found.append(words)
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.submit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print the script and the call of sbatch")
    parser.add_argument("settings", nargs=argparse.REMAINDER, metavar="key=value", help="as of prorl_mega.train")
    options, rest = parser.parse_known_args([each for each in arguments if each != "--dry-run"])
    dry = "--dry-run" in arguments
    return exit_status(lambda: submit([*rest, *options.settings], dry=dry))


def _settings(flags: list[str], overrides: list[str]) -> DictConfig:
    register()
    refuse_odd_choices([*flags, *overrides], config_directory())
    extra = [f"hydra.searchpath=[file://{flags[1]}]"] if flags else []
    try:
        with initialize_config_dir(config_dir=str(config_directory()), version_base="1.3"):
            return compose(root_config(RunConfig), overrides=[*extra, *overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, RunConfig)) from None


def _composed(flags: list[str], overrides: list[str]) -> tuple[list[str], RunConfig]:
    settings = _settings(flags, overrides)
    cluster = to_objects(settings, RunConfig).cluster
    config = to_config(settings, RunConfig, cluster.nodes * cluster.ranks_per_node, with_benchmarks)
    return overrides, config


def _job(flags: list[str], runs: list[tuple[list[str], RunConfig]]) -> SlurmJob:
    config = runs[0][1]
    root = Path(config.root).resolve()
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = root / SUBMISSIONS / f"{config.name}-{stamp}-{os.getpid()}"
    own = ["--config-dir", str(folder / CONFIG_DIR)] if flags else []
    return SlurmJob(
        name=config.name,
        submission=folder,
        working_directory=Path.cwd(),
        python=sys.executable,
        cluster=config.cluster,
        config_dir=Path(flags[1]) if flags else None,
        tasks=[(root / config.name, [*own, *overrides]) for overrides, config in runs],
    )


def _write(job: SlurmJob, configs: list[RunConfig]) -> None:
    """The folder of the submission: readable by its owner alone, because settings may say what is nobody's business."""
    try:
        job.submission.mkdir(parents=True, mode=0o700)
        copy_code(job.submission / CODE)
        if job.config_dir is not None:
            shutil.copytree(job.config_dir, job.submission / CONFIG_DIR)
        for name, content in job.files().items():
            (job.submission / name).write_bytes(content)
        for index, config in enumerate(configs):
            write_settings(job.submission / f"config.{index}.yaml", config)
    except OSError as error:
        raise StorageError(f"{job.submission}: {error.strerror or error}") from None


def _sbatch(job: SlurmJob) -> str:
    try:
        done = subprocess.run(
            job.command(), cwd=job.working_directory, capture_output=True, text=True, timeout=_SBATCH_S, check=False
        )
    except FileNotFoundError:
        raise ConfigError(
            f"there is no sbatch on this machine; {job.submission}/submit.sh has the call for a login node"
        ) from None
    except subprocess.TimeoutExpired:
        raise StorageError(
            f"sbatch has not answered for {_SBATCH_S} s; look with squeue before submitting again"
        ) from None
    if done.returncode:
        raise ConfigError(f"sbatch: {' '.join(done.stderr.split())[:500]}")
    return done.stdout.strip().partition(";")[0]


def _logs(job: SlurmJob) -> str:
    return str(job.tasks[0][0] / "slurm") if len(job.tasks) == 1 else f"{job.tasks[0][0].parent}/NAME/slurm"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
