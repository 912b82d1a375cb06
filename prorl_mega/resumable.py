"""Evaluations that may outlast a job: collected in parts, and a part that is finished is never sampled again.

A part is what all engines decode at once. How sequences are batched changes the last bits of their log-probabilities;
parts are the same whoever finishes them, so that an interrupted evaluation equals an uninterrupted one bit for bit.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec
import numpy as np
from blake3 import blake3

import prorl_mega
from prorl_mega.collect import Collector, Sampling
from prorl_mega.config.schema import RunConfig
from prorl_mega.distributed.collectives import broadcast_bytes
from prorl_mega.errors import DataError
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.run.settings import to_plain
from prorl_mega.run.signals import Interrupted
from prorl_mega.share import decode, encode
from prorl_mega.tasks import extension
from prorl_mega.types import Group, Problem, Sample

SETTINGS = ("model", "rollout", "evaluation", "tasks", "seed")  # that results may depend on, beside policy and sampling


class FinishedPart(msgspec.Struct):
    """The groups of one part on disk; problems are drawn again at every start."""

    prompts: list[np.ndarray]  # [P] int32 each
    samples: list[list[Sample]]


def collect_in_parts(
    collector: Collector,
    problems: list[Problem],
    sampling: Sampling,
    *,
    policy: str,
    config: RunConfig,
    run: TrainingRun,
) -> list[Group]:
    """`Collector.collect` for many problems; `policy` is the checksum of the weights. Collective.

    Parts that an earlier job has finished, of the same policy under the same settings, are read from the run's
    directory. Raises Interrupted on all ranks after a request to stop; finished parts are then on disk.
    """
    size = collector.problems_at_once(sampling.samples)
    parts = [problems[start : start + size] for start in range(0, len(problems), size)]
    kept = run.evaluations.kept_parts(_identity(problems, sampling, policy, size, config))
    found = msgspec.msgpack.decode(broadcast_bytes(msgspec.msgpack.encode(kept.read())), type=list[bytes])
    groups: list[Group] = []
    for index, part in enumerate(parts):
        if index < len(found):
            groups += _groups(part, read_part(found[index], part, sampling, run.directory))
            continue
        try:
            fresh = collector.collect(part, sampling)
        except Interrupted:
            raise Interrupted(f"{len(groups)} of its {len(problems)} problems are done and kept") from None
        kept.append(encode(FinishedPart([group.prompt_tokens for group in fresh], [group.samples for group in fresh])))
        groups += fresh
    return groups


def read_part(record: bytes, problems: list[Problem], sampling: Sampling, run: Path) -> FinishedPart:
    """A part that an earlier job has finished. Raises DataError for one that is not of these problems."""
    try:
        part: FinishedPart = decode(record, FinishedPart)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{run}/evaluation: a .part file cannot be read ({error}); delete it, and go on") from None
    if len(part.prompts) != len(problems) or [len(each) for each in part.samples] != [sampling.samples] * len(problems):
        raise DataError(f"{run}/evaluation: a .part file is of other problems; delete it, and go on")
    return part


def _groups(problems: list[Problem], part: FinishedPart) -> list[Group]:
    return [
        Group(problem=problem, prompt_tokens=prompt, samples=samples)
        for problem, prompt, samples in zip(problems, part.prompts, part.samples, strict=True)
    ]


def _identity(problems: list[Problem], sampling: Sampling, policy: str, size: int, config: RunConfig) -> str:
    """A hash of everything that decides the results: the same only where they would be the same."""
    plain = to_plain(config)
    content = [
        prorl_mega.__version__,
        policy,
        size,
        dataclasses.asdict(sampling),
        {name: plain[name] for name in SETTINGS},
        extension.digests(config.tasks.modules),
        [[problem.key, problem.task, problem.prompt, problem.entry] for problem in problems],
    ]
    return blake3(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
