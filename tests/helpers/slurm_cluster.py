"""A private Slurm on this machine: two virtual nodes, own keys, ports and directories, no system service.

Needs root and Debian's slurm-wlm and munge. Nothing outside `directory` is written, and `stop` ends only the processes
that `start` began.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "squeue", "scancel")
NODES = ("n1", "n2")
STARTED_WITHIN_S = 120


def missing() -> str:
    """What has to be installed before a cluster can start; empty when nothing."""
    absent = [program for program in PROGRAMS if find(program) is None]
    if absent:
        return f"{', '.join(absent)} not found; install with: apt-get update && apt-get install -y slurm-wlm munge"
    return "" if os.geteuid() == 0 else "a private Slurm has to be started as root"


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class SlurmCluster:
    """`with SlurmCluster(directory) as cluster: cluster.run("sinfo")`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}  # by node
        self.environ = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SRUN_", "SBATCH_"))
            },
            "SLURM_CONF": str(directory / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        }

    def __enter__(self) -> SlurmCluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start munged, slurmctld and one slurmd per virtual node; returns when both nodes are idle."""
        for folder in ("state", "spool", "log", "munge"):
            (self.directory / folder).mkdir(parents=True)
        self.directory.chmod(0o755)
        (self.directory / "munge").chmod(0o700)
        key = self.directory / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        munge_socket = self.directory / "munge.socket"
        (self.directory / "slurm.conf").write_text(self._configuration(munge_socket))
        self._daemon(
            "munged",
            "--foreground",
            "--force",  # the directories above a temporary directory belong to others
            f"--socket={munge_socket}",
            f"--key-file={key}",
            f"--pid-file={self.directory / 'munge' / 'pid'}",
            f"--log-file={self.directory / 'log' / 'munged'}",
            f"--seed-file={self.directory / 'munge' / 'seed'}",
        )
        self._wait("munged", munge_socket.exists)
        self._daemon("slurmctld", "-D", "-i")
        for node in NODES:
            self._daemons[node] = self._daemon("slurmd", "-D", "-N", node)
        self._wait(
            "idle nodes",
            lambda: self.run("sinfo", "-h", "-N", "-p", "all", "-o", "%t", check=False).stdout.split() == ["idle"] * 2,
        )

    def stop(self) -> None:
        """End the jobs, then the daemons, last started first."""
        if len(self.processes) > 1:
            self.run("scancel", "--user=root", check=False)
            self._settle()
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def run(
        self, *command: str, check: bool = True, timeout: float = 60, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a Slurm command, or any program, against this cluster."""
        return subprocess.run(
            command, env=self.environ, check=check, timeout=timeout, cwd=cwd, capture_output=True, text=True
        )

    def submit(self, *arguments: str, cwd: Path, timeout: float) -> str:
        """`sbatch --parsable`, wait for the job's end, and return its final state (COMPLETED, FAILED, ...)."""
        return self.wait(self.run("sbatch", "--parsable", *arguments, cwd=cwd).stdout.strip(), timeout)

    def wait(self, job: str, timeout: float) -> str:
        """The state of a job after its end."""
        ends = time.monotonic() + timeout
        while time.monotonic() < ends:
            if (state := self.state(job)) not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED"):
                return state
            time.sleep(0.5)
        self.run("scancel", job, check=False)
        raise TimeoutError(f"job {job} did not end within {timeout:.0f} s")

    def state(self, job: str) -> str:
        return self.job_field(job, "JobState")

    def job_field(self, job: str, field: str) -> str:
        """One value of `scontrol show job`; jobs stay visible for some minutes after their end."""
        words = self.run("scontrol", "show", "job", "-o", job).stdout.split()
        return next(word.partition("=")[2] for word in words if word.startswith(f"{field}="))

    def fail_node(self, node: str, job: str) -> None:
        """A power cut: the node's daemon, and everything of `job`, which runs on no other node, is gone at once."""
        daemon = self._daemons[node]
        steps = [pid for pid, line in _processes() if line.startswith(f"slurmstepd: [{job}.")]
        for pid in [daemon.pid, *_descendants(steps), *steps]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()
        self.processes.remove(daemon)
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def restore_node(self, node: str) -> None:
        self._daemons[node] = self._daemon("slurmd", "-D", "-N", node)
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)

    def logs(self) -> str:
        """Ends of the daemons' logs, for the message of a failed start."""
        files = sorted((self.directory / "log").iterdir())
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in files)

    def _settle(self) -> None:
        ends = time.monotonic() + 30
        while time.monotonic() < ends and self.run("squeue", "-h", check=False).stdout.strip():
            time.sleep(0.5)

    def _daemon(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        path = find(program)
        assert path is not None, program
        output = (self.directory / "log" / f"{program}-{len(self.processes)}.out").open("wb")
        self.processes.append(
            subprocess.Popen([path, *arguments], env=self.environ, stdout=output, stderr=subprocess.STDOUT)
        )
        output.close()
        return self.processes[-1]

    def _wait(self, what: str, ready: object) -> None:
        assert callable(ready)
        ends = time.monotonic() + STARTED_WITHIN_S
        while not ready():
            dead = [process.args for process in self.processes if process.poll() is not None]
            if dead or time.monotonic() > ends:
                raise RuntimeError(f"waiting for {what}; ended: {dead}\n{self.logs()}")
            time.sleep(0.2)

    def _configuration(self, munge_socket: Path) -> str:
        host = socket.gethostname().split(".")[0]
        controller, first, second = free_ports(3)
        directory = self.directory
        return f"""\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={munge_socket}
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/log/slurmctld
SlurmdLogFile={directory}/log/slurmd-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=600
NodeName={NODES[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 State=UNKNOWN
NodeName={NODES[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes={",".join(NODES)} Default=YES MaxTime=60 State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes={",".join(NODES)} MaxTime=60 State=UP PriorityTier=9
"""


def _processes() -> list[tuple[int, str]]:
    """Number and command line of every process."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append(
                (int(path.name), (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            )
    return found


def _descendants(ancestors: list[int]) -> list[int]:
    parents: dict[int, int] = {}
    for pid, _ in _processes():
        with contextlib.suppress(OSError):
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    found, new = set[int](), set(ancestors)
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return list(found)


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
