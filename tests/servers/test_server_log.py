"""Logs of servers stay small and few, also while a server writes to one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from helpers.fleets import fake_fleet

from prorl_mega.servers import server_log
from prorl_mega.servers.server_log import MOST, remove_old_logs, shorten_log


def test_a_log_that_has_grown_is_cut_down_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_log, "LARGEST", 1000)
    monkeypatch.setattr(server_log, "KEPT", 100)
    log = tmp_path / "server-0.log"
    with log.open("ab", buffering=0) as writer:  # as a server has it open
        writer.write(b"x" * 999 + b"\n")
        shorten_log(log)
        assert log.stat().st_size == 1000, "not yet"
        writer.write(b"".join(b"line %d\n" % number for number in range(50)))
        shorten_log(log)
        writer.write(b"and on\n")
    lines = log.read_text().splitlines()
    assert lines[0] == "... what stood before is cut off"
    assert lines[-2:] == ["line 49", "and on"]
    assert all(line.startswith("line ") for line in lines[1:-1]), "whole lines"
    assert log.stat().st_size < 200
    shorten_log(tmp_path / "missing.log")


def test_logs_of_one_place_are_few(tmp_path: Path) -> None:
    names = ["server-1", *(f"server-1.{life}" for life in range(1, 10))]
    others = ["server-0.log", "server-10.log", "server-10.1.log", "notes.txt"]
    for age, name in enumerate([*others, *(f"{each}.log" for each in names)]):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time(), 1_000_000 + age))
    remove_old_logs(tmp_path, "server-1.10")
    (tmp_path / "server-1.10.log").write_text("")
    left = {each.name for each in tmp_path.iterdir()}
    assert left == {*others, "server-1.7.log", "server-1.8.log", "server-1.9.log", "server-1.10.log"}
    assert len(left - set(others)) == MOST


def test_a_fleet_looks_after_its_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_log, "LARGEST", 1000)
    monkeypatch.setattr(server_log, "KEPT", 100)
    with fake_fleet(tmp_path, replicas=1) as watched:
        watched.fleet.wait_for(1)
        log = tmp_path / "server-0.log"
        with log.open("ab") as writer:
            writer.write(b"line\n" * 1000)
        watched.until(lambda: log.stat().st_size < 1000)
