"""Do the learner's weights reach the engines, and how long does it take? Asked before a run, with its settings.

    python -m prorl_mega.doctor sync experiment=demo
    torchrun --nproc-per-node 4 -m prorl_mega.doctor sync experiment=demo parallel.tensor=2 parallel.pipeline=2

Builds the learner as `prorl_mega.train` does, then the engines of the settings' placement, and pushes all weights to
them; afterwards servers for every transport that can run here, one after the other. Nothing is sampled or trained.

    --pushes N     pushes by each way, of which the last is shown (default: 2; the first one allocates memory)

The table has a line for each way: tensors, their bytes, the seconds of a push, those of a plain copy of as many bytes
in memory, whether all engines hold what was sent (checksums of every tensor and of the whole), and the seconds in which
an engine could not sample. Where engines are in the learner's ranks (`in process`) that is the whole push.

Exit codes: 0 all engines hold what was sent; 24 they do not, or an engine failed; 20 settings are wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from omegaconf import DictConfig

from prorl_mega.config.compose import run_composed
from prorl_mega.config.schema import Placement, RunConfig
from prorl_mega.config.servers import ServersConfig, TransportName
from prorl_mega.distributed.launch import read_launch
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError, ExitCode, RolloutError, WeightSyncError
from prorl_mega.examination import examined_config, refuse_sweeps
from prorl_mega.run.unrecorded_run import UnrecordedRun

if TYPE_CHECKING:
    from prorl_mega.fleet_rollout import Stream
    from prorl_mega.huggingface.tokenizer import Tokenizer

PUSHES = 2
IN_PROCESS = "in process"
_PIECE = 64 << 20  # bytes at a time of the plain copy


@dataclasses.dataclass(kw_only=True, slots=True)
class PushTiming:
    """A push by one way. `fault` says why engines do not hold what was sent; empty if they do."""

    way: str
    tensors: int = 0
    nbytes: int = 0
    seconds: float = 0.0
    paused_s: float = 0.0
    fault: str = ""


def examine(arguments: list[str]) -> NoReturn:
    """The program, with the command line behind its name. Ends with an exit code."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--pushes", type=int, default=PUSHES)
    options, sys.argv[1:] = parser.parse_known_args(arguments)
    refuse_sweeps()

    def main(settings: DictConfig) -> ExitCode:
        launch = read_launch(os.environ)
        os.environ.update(launch.variables())
        if options.pushes < 1:
            raise ConfigError(f"--pushes {options.pushes}: at least 1 works")
        return run(examined_config(settings, launch.world_size), options.pushes)

    run_composed(main, RunConfig)


def run(config: RunConfig, pushes: int) -> ExitCode:
    """One rank of the job. Raises WeightSyncError, on every rank, where an engine does not hold what was sent."""
    from prorl_mega.build import build_learner  # seconds of imports, after the settings have been checked
    from prorl_mega.sampler import join_job, load_tokenizer
    from prorl_mega.weight_sync import policy_stream

    ranks = join_job(config)
    tokenizer = load_tokenizer(config.model)
    with UnrecordedRun(ranks) as run:
        with run.phase("building the learner"):
            learner = build_learner(
                config.model,
                config.parallel,
                config.optimizer,
                config.recipe,
                temperature=config.rollout.temperature,
                valid_vocab=len(tokenizer),
                seed=config.seed,
            )
        policy = partial(policy_stream, learner, bucket_mib=config.rollout.sync_bucket_mib)
        timings = []
        for way, settings in ways(config):
            measure = _in_process if way == IN_PROCESS else _to_servers
            try:
                with run.phase(f"pushing by {way}"):
                    timings.append(measure(settings, run, ranks, tokenizer, policy, pushes))
            except ConfigError as error:  # the same on all ranks
                if not timings:
                    raise
                run.message(f"{way} cannot run here: {error}")
        for line in table(timings, plain_copy_s(timings[0].nbytes)):
            run.message(line)
        if faults := [f"{timing.way}: {timing.fault}" for timing in timings if timing.fault]:
            raise WeightSyncError(f"engines do not hold what was sent: {'; '.join(faults)}")
        run.message("verdict: all engines hold what was sent")
    return ExitCode.FINISHED


def ways(config: RunConfig) -> list[tuple[str, RunConfig]]:
    """The ways of weights to engines by name, that of the settings first, each with settings that use it.

    Files need a directory: without `servers.directory` they are left out; so are ways that need a GPU where there is
    none.
    """
    from prorl_mega.transfer.transport import usable_transports

    found = []
    if config.placement is Placement.colocated:
        found.append((IN_PROCESS, config))
    first = config.servers.transport
    usable = {first, *map(TransportName, usable_transports())}
    for transport in sorted(usable, key=lambda each: (each is not first, list(TransportName).index(each))):
        directory = config.servers.directory if transport is TransportName.disk else None
        if transport is TransportName.disk and directory is None:
            continue
        changes: dict[str, Any] = {"transport": transport, "directory": directory}
        if transport is TransportName.cuda_ipc:
            if config.rollout.tensor > 1:
                continue
            changes["replicas"] = 1
        if transport in (TransportName.shared_memory, TransportName.cuda_ipc):
            changes["address"] = ServersConfig().address if ":" not in config.servers.address else "::1"
        servers = dataclasses.replace(config.servers, **changes)
        found.append((transport.value, dataclasses.replace(config, placement=Placement.disaggregated, servers=servers)))
    return found


def table(timings: list[PushTiming], copy_s: float) -> list[str]:
    """Lines for people; `copy_s` are the seconds of a plain copy of the same bytes."""
    heading = ("transport", "tensors", "MiB", "seconds", "plain copy", "digest equal", "paused seconds")
    rows = [
        (
            timing.way, f"{timing.tensors:,}", f"{timing.nbytes / 2**20:,.1f}", f"{timing.seconds:.3f}",
            f"{copy_s:.3f}", "no" if timing.fault else "yes", f"{timing.paused_s:.3f}",
        )
        for timing in timings
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
    return [
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in cells)
        for cells in (list(enumerate(zip(row, widths, strict=True))) for row in (heading, *rows))
    ]


def plain_copy_s(nbytes: int) -> float:
    """Seconds of a copy of `nbytes` in this process' memory, piece by piece."""
    import torch

    source = torch.ones(min(nbytes, _PIECE), dtype=torch.uint8)
    target = torch.empty_like(source).copy_(source)  # its pages are there before the clock starts
    began = time.monotonic()
    for start in range(0, nbytes, _PIECE):
        size = min(_PIECE, nbytes - start)
        target[:size].copy_(source[:size])
    return time.monotonic() - began


class _Counted:
    """A stream that counts what goes by."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.tensors = self.nbytes = 0

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for name, tensor in self._stream:
            self.tensors += 1
            self.nbytes += tensor.numel() * tensor.element_size()
            yield name, tensor
            del tensor


def _in_process(
    config: RunConfig, run: UnrecordedRun, ranks: Ranks, tokenizer: Tokenizer, policy: Callable[[], Stream], pushes: int
) -> PushTiming:
    from prorl_mega.placement import start_rollout
    from prorl_mega.weight_sync import WeightSync

    most = config.rollout.max_response_tokens
    rollout = start_rollout(config, tokenizer, ranks, None, policy, max_response_tokens=most)
    timing = PushTiming(way=IN_PROCESS)
    for version in range(pushes):
        counted = _Counted(policy())
        began = time.monotonic()
        try:
            WeightSync(stream=partial(iter, counted), rollout=rollout, ranks=ranks).update_weights(version)
        except WeightSyncError as error:  # the same on all ranks, but for an engine of its own
            timing.fault = str(error)
        timing.seconds = timing.paused_s = time.monotonic() - began
        timing.tensors, timing.nbytes = counted.tensors, counted.nbytes
        if timing.fault:
            break
    return timing


def _to_servers(
    config: RunConfig, run: UnrecordedRun, ranks: Ranks, tokenizer: Tokenizer, policy: Callable[[], Stream], pushes: int
) -> PushTiming:
    from prorl_mega.placement import starting_servers
    from prorl_mega.servers.push import WeightPush

    timing = PushTiming(way=config.servers.transport.value)
    most = config.rollout.max_response_tokens
    with starting_servers(config, ranks, tokenizer, run.directory, run.message, max_response_tokens=most) as fleet:
        with ranks.raise_on_all_ranks("waiting for servers"):
            if fleet is not None:
                fleet.wait_for(config.servers.replicas)
        for version in range(pushes):
            counted = _Counted(policy())
            if fleet is None:
                deque(counted, maxlen=0)
            else:
                try:
                    report = WeightPush(fleet).push(iter(counted), version)
                except RolloutError as error:
                    timing.fault = str(error)
                else:
                    timing.seconds, timing.paused_s = report.total_s, report.paused_s
                    timing.fault = "; ".join(report.failures.values())
            timing.tensors, timing.nbytes = counted.tensors, counted.nbytes
            timing.fault = ranks.broadcast(timing.fault)
            if timing.fault:
                break
    return timing


if __name__ == "__main__":
    examine(sys.argv[1:])
