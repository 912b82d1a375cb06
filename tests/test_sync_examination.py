"""Which ways of weights `doctor sync` tries, and what its table says."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.settings import model_directory, unchecked_config

from prorl_mega.config.placement_checks import placement_problems
from prorl_mega.config.schema import Placement
from prorl_mega.sync_examination import IN_PROCESS, PushTiming, plain_copy_s, table, ways


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], [IN_PROCESS, "shared_memory", "gloo"]),
        (["servers.transport=gloo", "servers.address=10.0.0.7"], [IN_PROCESS, "gloo", "shared_memory"]),
        (["placement=disaggregated", "servers.transport=gloo"], ["gloo", "shared_memory"]),
        (
            ["placement=disaggregated", "servers.transport=disk", "servers.directory=weights"],
            ["disk", "shared_memory", "gloo"],
        ),
    ],
)
def test_the_settings_own_way_comes_first_and_all_can_work(
    tmp_path: Path, overrides: list[str], expected: list[str]
) -> None:
    found = ways(unchecked_config(model_directory(tmp_path / "model"), *overrides))
    assert [name for name, _ in found] == expected
    for name, config in found:
        assert config.placement is (Placement.colocated if name == IN_PROCESS else Placement.disaggregated)
        assert placement_problems(config) == []


def test_the_table_says_what_did_not_arrive() -> None:
    timings = [
        PushTiming(way=IN_PROCESS, tensors=290, nbytes=3 << 30, seconds=1.5, paused_s=1.5),
        PushTiming(way="gloo", tensors=290, nbytes=3 << 30, seconds=12.25, paused_s=12.0, fault="server-0: verify"),
    ]
    heading, first, second = table(timings, 0.25)
    assert heading.split() == [
        "transport",
        "tensors",
        "MiB",
        "seconds",
        "plain",
        "copy",
        "digest",
        "equal",
        "paused",
        "seconds",
    ]
    assert first.split() == [*IN_PROCESS.split(), "290", "3,072.0", "1.500", "0.250", "yes", "1.500"]
    assert second.split() == ["gloo", "290", "3,072.0", "12.250", "0.250", "no", "12.000"]
    assert len({len(line) for line in (heading, first, second)}) == 1


def test_a_plain_copy_takes_time() -> None:
    assert plain_copy_s(0) >= 0
    assert plain_copy_s(200 << 20) > 0
