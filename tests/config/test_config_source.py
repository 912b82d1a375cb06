"""Experiment files that anybody may have written: composed in a moment, or refused in one."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.singleton import Singleton

from prorl_mega.config.compose import config_directory, register
from prorl_mega.config.config_source import FileConfigSource, bound_config_files
from prorl_mega.errors import ConfigError

HEAD = b"# @package _global_\n"
LAUGHS = b"a0: &a0 x\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)
)


def composed(directory: Path, content: bytes, *overrides: str) -> object:
    """The name in the settings with the experiment file `mine`."""
    (directory / "experiment").mkdir()
    (directory / "experiment" / "mine.yaml").write_bytes(HEAD + content)
    register()
    with initialize_config_dir(config_dir=str(config_directory()), version_base="1.3"):
        search = f"hydra.searchpath=[file://{directory}]"
        return compose("train", overrides=[search, "experiment=mine", "model.path=m", *overrides]).name


@pytest.mark.parametrize(
    "content",
    [b"name: mine\n", "name: mine # ünï\n".encode(), b"name: &x mine\nmodel: {path: *x}\n",
     b"defaults: [{override /rollout: tiny}]\nname: mine\n"],
    ids=itertools.count(),
)  # fmt: skip
def test_files_that_are_read(tmp_path: Path, content: bytes) -> None:
    assert composed(tmp_path, content) == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"name: mine\nx:\n" + b"".join(b"  " + line + b"\n" for line in LAUGHS.splitlines()),
            "more than 30000 values",
        ),
        (b"name: [" + b"[" * 100_000, "more than 64 objects and lists"),
        (b"name: &x [*x]\n", r"alias \*x stands for nothing"),
        (b"name: m\xfcnchen\n", r"not UTF-8 \(byte 28\); save it as UTF-8"),
        ("name: mine\n".encode("utf-16"), "not UTF-8"),
        (b"seed: 1" + b":1" * 100_000, "a number of 200001 characters"),
        (b"name: " + b"x" * (1 << 20), "bytes, more than the 1048576"),
        (b"name: [", "not valid YAML"),
    ],
    ids=itertools.count(),
)
def test_files_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    started = time.process_time()
    with pytest.raises(ConfigError, match=rf"experiment/mine\.yaml: .*{message}") as error:
        composed(tmp_path, content)
    assert time.process_time() - started < 10
    assert len(str(error.value)) < 1000


def test_files_behind_others_are_looked_at_as_well(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "bomb.yaml").write_bytes(LAUGHS)
    with pytest.raises(ConfigError, match=r"tasks/bomb\.yaml: more than 30000 values"):
        composed(tmp_path, b"defaults: [{override /tasks: bomb}]\n")


def test_the_jobs_of_a_sweep_keep_it() -> None:
    """A job takes over the registries of the process that submitted it, and then finds all plugins again."""
    bound_config_files()
    Singleton.set_state(Singleton.get_state())
    assert SourcesRegistry.instance().resolve("file") is FileConfigSource
