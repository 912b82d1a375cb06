"""Finished parts of an evaluation: read when they are of the same problems, named when they are not."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest
from helpers.groups import scored_group

from prorl_mega.collect import Sampling
from prorl_mega.errors import DataError
from prorl_mega.resumable import FinishedPart, read_part
from prorl_mega.share import encode

SAMPLING = Sampling(samples=2, temperature=1.0, stream="evaluation")
GROUPS = [scored_group([1.0, 0.0], key="t/1"), scored_group([None, 0.5], key="t/2")]
PROBLEMS = [group.problem for group in GROUPS]
PROMPTS, SAMPLES = [group.prompt_tokens for group in GROUPS], [group.samples for group in GROUPS]


def test_a_part_is_read() -> None:
    part = read_part(encode(FinishedPart(PROMPTS, SAMPLES)), PROBLEMS, SAMPLING, Path("run"))
    assert [[sample.text for sample in each] for each in part.samples] == [["answer 0", "answer 1"]] * 2
    assert [list(each) for each in part.prompts] == [[100, 101]] * 2


@pytest.mark.parametrize(
    "record",
    [
        b"", b"\xc1", msgspec.msgpack.encode({}), msgspec.msgpack.encode([]), b"\x91" * 100_000,
        encode(FinishedPart(PROMPTS[:1], SAMPLES)), encode(FinishedPart(PROMPTS, SAMPLES[:1])),
        encode(FinishedPart(PROMPTS, [SAMPLES[0], SAMPLES[1][:1]])),
        msgspec.msgpack.encode({"prompts": [("O", b"12345678")] * 2, "samples": []}),
        msgspec.msgpack.encode({"prompts": [("nothing", b"")] * 2, "samples": []}),
        msgspec.msgpack.encode({"prompts": [("<i4", b"123")] * 2, "samples": []}),
        msgspec.msgpack.encode({"prompts": [7, 7], "samples": []}),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_a_part_that_no_evaluation_wrote(record: bytes) -> None:
    with pytest.raises(DataError, match=r"^run/evaluation: a \.part file .*; delete it, and go on"):
        read_part(record, PROBLEMS, SAMPLING, Path("run"))
