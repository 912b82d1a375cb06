"""Secrets of the environment, of files and of settings are in nothing that a run leaves behind, says or shows."""

from __future__ import annotations

import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml
from helpers.programs import TASKS, Program, run_program, small_setup

from prorl_mega.report import main as report

ROOT = Path(__file__).resolve().parents[2]
IN_ENVIRONMENT = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY")
OWN_TASK = """
from dataclasses import replace

@dataclass(kw_only=True, slots=True)
class Keyed(ClockOptions):
    api_key: str = ""

@register("keyed")
class KeyedClock(Clock):
    options_type = Keyed

    def problem(self, index, seed):
        return replace(Clock.problem(self, index, seed), prompt=f"time {index}?")

    def score(self, problem, answer):
        assert self.options.api_key, "it has to reach the verifier"
        return Clock.score(self, problem, answer)
"""


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Name -> secret: those of the environment; that of a setting is `api_key`."""
    found = {name: f"canary-{secrets.token_hex(12)}" for name in (*IN_ENVIRONMENT, "api_key")}
    for name in IN_ENVIRONMENT:
        monkeypatch.setenv(name, found[name])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return found


@pytest.fixture
def own_setup(tmp_path: Path, known: dict[str, str]) -> Path:
    """With a task whose option is a secret, in a file of settings."""
    keyed = {"name": "keyed", "options": {"max_minutes": 9, "api_key": known["api_key"]}}
    setup = small_setup(tmp_path, TASKS | {"keyed": keyed})
    example = (ROOT / "examples" / "my_task.py").read_text()
    (setup / "own_task.py").write_text(example + OWN_TASK)
    tasks = setup / "configs" / "tasks" / "small.yaml"
    tasks.write_text(tasks.read_text() + yaml.safe_dump({"modules": [str(setup / "own_task.py")]}))
    return setup


class CommandLines:
    """What `ps` shows of programs while they run."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    @contextmanager
    def of(self, *programs: Program) -> Iterator[None]:
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.02):
                for program in programs:
                    for process in program.processes():
                        try:
                            self.seen.add("\0".join(process.cmdline()))
                        except psutil.Error:
                            continue

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def leaks(known: dict[str, str], places: dict[str, bytes]) -> list[str]:
    return [f"{name} in {place}" for place, content in places.items() for name, value in known.items()
            if value.encode() in content]  # fmt: skip


def files_below(*directories: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for each in directories for path in each.rglob("*") if path.is_file()}


def test_a_leak_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights.bin").write_bytes(b"\xff\x00canary-1\xff")
    assert leaks({"HF_TOKEN": "canary-1", "X": "canary-2"}, files_below(tmp_path)) == [
        f"HF_TOKEN in {tmp_path / 'deep' / 'weights.bin'}"
    ]


@pytest.mark.slow
def test_nothing_that_a_run_leaves_has_a_secret(
    own_setup: Path, known: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A run with servers beside it and a reward server, its page, an evaluation, and a job that is not sent."""
    token_file, shown = own_setup / "token", CommandLines()
    serve = ("experiment=small", f"tasks.token_file={token_file}", "tasks.serve.port=0")
    with Program("prorl_mega.serve", own_setup, *serve) as server:
        address = server.line().partition("reward server on ")[2].partition(": ")[0]
        assert address.startswith("127.0.0.1:")
        known["the token"] = token_file.read_text().strip()
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        arguments = ("experiment=small", "name=kept", "schedule.steps=2", "schedule.save_every=1",
                     "schedule.evaluate_every=2", "placement=disaggregated", f"tasks.token_file={token_file}",
                     f"tasks.servers=['{address}']", "loggers=[tensorboard]")  # fmt: skip
        with Program("prorl_mega.train", own_setup, *arguments) as run, shown.of(server, run):
            done = run.finish()
        assert done.code == 0, done.output
    directory = own_setup / "runs" / "kept"
    assert report([str(directory)]) == 0
    evaluated = run_program("prorl_mega.evaluate", own_setup, "run=kept", "tasks.servers=[]")
    assert evaluated.code == 0, evaluated.output
    dry = run_program("prorl_mega.submit", own_setup, "--dry-run", *arguments)
    assert dry.code == 0, dry.output
    said = {"output of train": done.output, "of evaluate": evaluated.output, "of submit": dry.output,
            "of report": "".join(capsys.readouterr())}  # fmt: skip
    places = files_below(directory) | {name: text.encode() for name, text in said.items()}
    places |= {f"command line {line[:80]}": line.encode() for line in shown.seen}
    assert len(places) > 40
    assert any("prorl_mega.rollout.server" in line for line in shown.seen)
    assert leaks(known, places) == []
    assert "(hidden)" in (directory / "config.yaml").read_text()


def test_a_secret_on_the_command_line_of_a_job_is_refused(own_setup: Path, known: dict[str, str]) -> None:
    for override in ("+tasks.mixture.keyed.options.api_key={}", "tasks.mixture.keyed.options={{api_key: '{}'}}"):
        override = override.format(known["api_key"])
        done = run_program("prorl_mega.submit", own_setup, "--dry-run", "experiment=small", override)
        assert done.code == 20, done.output
        assert "can be read by all users of the job's nodes" in done.output
        assert known["api_key"] not in done.output
