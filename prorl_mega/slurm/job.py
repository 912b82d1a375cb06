"""A job as Slurm gets it: options for sbatch, and a script without a word of the user's in it.

Names, paths and overrides are arguments of programs or lines of files that no shell reads: whatever characters they
have, they stay what they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prorl_mega.config.schema import ClusterConfig
from prorl_mega.errors import ConfigError

SCRIPT, ARGUMENTS, OPTIONS, COMMAND = "job.sbatch", "arguments", "step-options", "submit.sh"
"""Files of a submission's folder: the script, arguments of the program by task of the array, options of srun."""
CODE, CONFIG_DIR = "code", "config-dir"
"""Its folders: copies of the packages and of `--config-dir`."""
CONTAINERS = ("pyxis", "apptainer")

_SCRIPT = r"""#!/usr/bin/env bash
# One attempt of a job: the ranks of prorl_mega.train under srun, and what follows from how they end. Written by
# prorl_mega.submit; the files beside it are the rest of what was submitted. Do not edit them while the job waits.
set -euo pipefail

submission=$1 python=$2 most=$3
task=${SLURM_ARRAY_TASK_ID:-0}
mapfile -d '' -t arguments <"$submission/arguments.$task"
mapfile -d '' -t options <"$submission/step-options"
run=${arguments[0]} arguments=("${arguments[@]:1}")
number=$((${SLURM_RESTART_COUNT:-0} + 1))

mkdir -p "$run/slurm"
log=$run/slurm/$SLURM_JOB_ID-$number.log
exec >>"$log" 2>&1
ln -sfn "${log##*/}" "$run/slurm/latest.log"

if [[ -r $submission/code/slurm/env.sh ]]; then
    # shellcheck disable=SC1091
    source "$submission/code/slurm/env.sh"
fi
export PYTHONPATH=$submission/code${PYTHONPATH:+:$PYTHONPATH}

"$python" -P -m prorl_mega.attempt begin "$run" --most "$most"

# A signal to this shell is the step's to act on; it gets it from Slurm by itself, and this shell outlives it.
trap : TERM INT USR1 USR2
srun --kill-on-bad-exit=1 ${SLURM_HET_SIZE:+--het-group=0} "${options[@]}" -P -m prorl_mega.train "${arguments[@]}" &
step=$!
while true; do
    wait "$step" && code=0 || code=$?
    kill -0 "$step" 2>/dev/null || break
done
exec "$python" -P -m prorl_mega.attempt end "$run" "$code"
"""


@dataclass(kw_only=True, slots=True)
class SlurmJob:
    """One call of sbatch. `tasks` are the arguments of `prorl_mega.train` by run directory; several are an array."""

    name: str
    submission: Path  # its folder, absolute, which all nodes see
    working_directory: Path
    python: str
    cluster: ClusterConfig
    config_dir: Path | None = None  # of the user; copied
    tasks: list[tuple[Path, list[str]]] = field(default_factory=list)

    def files(self) -> dict[str, bytes]:
        """Name and content of the files of the submission's folder, but for its code."""
        found = {
            SCRIPT: _SCRIPT.encode(),
            OPTIONS: _separated(self.step_options()),
            COMMAND: f"cd {shlex.quote(str(self.working_directory))} && {shlex.join(self.command())}\n".encode(),
        }
        for index, (run, arguments) in enumerate(self.tasks):
            found[f"{ARGUMENTS}.{index}"] = _separated([str(run), *arguments])
        return found

    def command(self) -> list[str]:
        """The call of sbatch. `%` in a path would be one of Slurm's patterns, and is doubled."""
        cluster = self.cluster
        output = str(self.submission).replace("%", "%%")
        options = [
            f"--job-name=prorl-{self.name}",
            f"--nodes={cluster.nodes}",
            f"--ntasks-per-node={cluster.ranks_per_node}",
            f"--cpus-per-task={cluster.cpus_per_rank}",
            f"--time={cluster.time_minutes}",
            f"--output={output}/slurm-%A_%a.out" if len(self.tasks) > 1 else f"--output={output}/slurm-%j.out",
            "--open-mode=append",
            "--requeue",
            f"--signal=TERM@{max(cluster.stop_before_end_s, 60)}",  # Slurm may send it a minute early
        ]
        optional = {"partition": cluster.partition, "account": cluster.account}
        options += [f"--{name}={value}" for name, value in optional.items() if value is not None]
        if cluster.gpus_per_node:
            options.append(f"--gpus-per-node={cluster.gpus_per_node}")
        if len(self.tasks) > 1:
            options.append(f"--array=0-{len(self.tasks) - 1}")
        options += [f"--{name}={value}" if value else f"--{name}" for name, value in cluster.sbatch.items()]
        if cluster.server_nodes:  # a second component, in the same queue, with nodes of the same kind
            options += [":", f"--nodes={cluster.server_nodes}", "--ntasks-per-node=1"]
            options += [f"--cpus-per-task={cluster.cpus_per_rank * cluster.ranks_per_node}"]
            options += [f"--{name}={value}" for name, value in optional.items() if value is not None]
            options += [f"--gpus-per-node={cluster.gpus_per_node}"] if cluster.gpus_per_node else []
        most = str(cluster.max_attempts_without_progress)
        script = str(self.submission / SCRIPT)
        return ["sbatch", "--parsable", *options, script, str(self.submission), self.python, most]

    def step_options(self) -> list[str]:
        """The words between srun's own options and the interpreter's. Raises ConfigError for an odd container."""
        cluster, folder = self.cluster, str(self.working_directory)
        if cluster.container is None:
            return [self.python]
        kind, _, image = cluster.container.partition(":")
        if kind not in CONTAINERS or not image:
            raise ConfigError(
                f"cluster.container={cluster.container!r}: pyxis:IMAGE and apptainer:IMAGE work, with the image as "
                "`srun --container-image` or `apptainer exec` take it"
            )
        mounts = [*cluster.mounts, folder, str(self.submission)]
        if kind == "pyxis":
            listed = ",".join(mount if ":" in mount else f"{mount}:{mount}" for mount in mounts)
            options = [f"--container-image={image}", f"--container-mounts={listed}", "--no-container-mount-home"]
            return [*options, f"--container-workdir={folder}", cluster.container_python]
        binds = [part for mount in mounts for part in ("--bind", mount)]
        gpu = ["--nv"] if cluster.gpus_per_node else []
        return ["apptainer", "exec", *gpu, *binds, "--pwd", folder, image, cluster.container_python]


def _separated(words: Sequence[str]) -> bytes:
    return b"".join(word.encode() + b"\0" for word in words)
