"""Rollouts between ranks: arrays and JSON as bytes over the job's own process group, never pickled objects."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.types import Completion, FinishReason, Group, Outcome, Problem, Sample, Verdict

_LENGTH = struct.Struct("<Q")


def all_gather_bytes(payload: bytes) -> list[bytes]:
    """Every rank's `payload`, in rank order, on every rank, over the host's network. Lengths may differ or be 0."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [payload]
    world = dist.get_world_size()
    length = torch.tensor([len(payload)], dtype=torch.int64)
    lengths = [torch.empty_like(length) for _ in range(world)]
    dist.all_gather(lengths, length)
    longest = max(int(each) for each in lengths)
    sent = torch.zeros(longest, dtype=torch.uint8)
    if payload:
        sent[: len(payload)] = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    received = [torch.empty_like(sent) for _ in range(world)]
    dist.all_gather(received, sent)
    return [bytes(each[: int(size)].numpy()) for each, size in zip(received, lengths, strict=True)]


def broadcast_bytes(payload: bytes) -> bytes:
    """Rank 0's `payload` on every rank, over the host's network; what the others pass is ignored."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return payload
    length = torch.tensor([len(payload)], dtype=torch.int64)
    dist.broadcast(length, src=0)
    data = torch.empty(int(length), dtype=torch.uint8)
    if payload and dist.get_rank() == 0:
        data = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    dist.broadcast(data, src=0)
    return data.numpy().tobytes()


def job_ranks() -> Ranks:
    """This process among the ranks of the job, for everything small that they have to agree on."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return Ranks.alone()
    return Ranks(
        rank=dist.get_rank(),
        world_size=dist.get_world_size(),
        gather_texts=lambda text: [each.decode() for each in all_gather_bytes(text.encode())],
        broadcast_text=lambda text: broadcast_bytes(text.encode()).decode(),
    )


def encode_groups(groups: list[Group]) -> bytes:
    """Groups as one JSON header and the concatenated arrays (little-endian int32 and float32)."""
    arrays: list[np.ndarray] = []
    header = []
    for group in groups:
        arrays.append(group.prompt_tokens)
        samples = []
        for sample in group.samples:
            completion, verdict = sample.completion, sample.verdict
            arrays += [completion.tokens, completion.logprobs]
            samples.append(
                {
                    "length": len(completion.tokens),
                    "finish": completion.finish.value,
                    "version": completion.version,
                    "text": completion.text,
                    "verdict": verdict and [verdict.reward, verdict.outcome.value, verdict.detail],
                }
            )
        problem = group.problem
        header.append(
            {
                "problem": [problem.key, problem.task, problem.prompt, problem.entry, problem.solution],
                "prompt_length": len(group.prompt_tokens),
                "samples": samples,
            }
        )
    encoded = json.dumps(header).encode()
    return _LENGTH.pack(len(encoded)) + encoded + b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def decode_groups(payload: bytes) -> list[Group]:
    """The inverse of `encode_groups`."""
    if not payload:
        return []
    (length,) = _LENGTH.unpack_from(payload)
    offset = _LENGTH.size + length
    header: list[dict[str, Any]] = json.loads(payload[_LENGTH.size : offset])

    def take(count: int, dtype: str) -> np.ndarray:
        nonlocal offset
        array = np.frombuffer(payload, dtype=dtype, count=count, offset=offset).copy()
        offset += array.nbytes
        return array

    groups = []
    for row in header:
        key, task, prompt, entry, solution = row["problem"]
        prompt_tokens = take(row["prompt_length"], "<i4")
        samples = []
        for each in row["samples"]:
            completion = Completion(
                tokens=take(each["length"], "<i4"),
                logprobs=take(each["length"], "<f4"),
                finish=FinishReason(each["finish"]),
                version=each["version"],
                text=each["text"],
            )
            verdict = each["verdict"] and Verdict(
                reward=each["verdict"][0], outcome=Outcome(each["verdict"][1]), detail=each["verdict"][2]
            )
            samples.append(Sample(completion=completion, verdict=verdict))
        problem = Problem(key=key, task=task, prompt=prompt, entry=entry, solution=solution)
        groups.append(Group(problem=problem, prompt_tokens=prompt_tokens, samples=samples))
    return groups
