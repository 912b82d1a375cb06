"""Faults on purpose: they happen where, when and as often as the settings say, and leave a witness first."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prorl_mega import faults
from prorl_mega.config.faults import AT_DATA, SITES, FaultAction, FaultConfig, fault_problems


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    faults.arm([], 0, Path())


def witnesses(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "faults").glob("*"))


def test_it_happens_in_its_step_on_its_rank_and_once(tmp_path: Path) -> None:
    plan = [
        FaultConfig(site="save", action=FaultAction.full, step=2),
        FaultConfig(site="save", action=FaultAction.error, step=3, rank=1),
    ]
    faults.arm(plan, 0, tmp_path)
    for step in (0, 1, 3):
        faults.begin_step(step)
        assert faults.reach("save") is None
    assert witnesses(tmp_path) == []
    faults.begin_step(2)
    assert faults.reach("load") is None
    with pytest.raises(OSError, match=r"No space left on device.*injected at save") as error:
        faults.reach("save")
    assert error.value.errno == errno.ENOSPC
    assert witnesses(tmp_path) == ["00-save-1.json"]
    assert json.loads((tmp_path / "faults" / "00-save-1.json").read_text())["step"] == 2
    assert faults.reach("save") is None
    faults.arm(plan, 0, tmp_path)  # the next start of the run
    faults.begin_step(2)
    assert faults.reach("save") is None


def test_it_happens_in_so_many_starts(tmp_path: Path) -> None:
    for start in range(4):
        faults.arm([FaultConfig(site="open", action=FaultAction.error, step=0, times=2)], 0, tmp_path)
        if start < 2:
            with pytest.raises(faults.InjectedError, match="injected at open, step 0, rank 0"):
                faults.reach("open")
        else:
            assert faults.reach("open") is None
    assert witnesses(tmp_path) == ["00-open-1.json", "00-open-2.json"]


def test_numbers_are_left_to_who_has_them(tmp_path: Path) -> None:
    faults.arm([FaultConfig(site="gradients", action=FaultAction.poison, step=1)], 0, tmp_path)
    faults.begin_step(1)
    assert faults.reach("gradients") is FaultAction.poison
    assert faults.reach("gradients") is None


@pytest.mark.parametrize(
    ("action", "code"),
    [(FaultAction.kill, -signal.SIGKILL), (FaultAction.exit, 0), (FaultAction.terminate, -signal.SIGTERM)],
)
def test_it_ends_the_process(action: FaultAction, code: int, tmp_path: Path) -> None:
    text = (
        "import sys, pathlib\nfrom prorl_mega import faults\nfrom prorl_mega.config.faults import *\n"
        f"faults.arm([FaultConfig(site='open', action=FaultAction({action.value!r}), step=0)], 0, "
        f"pathlib.Path({str(tmp_path)!r}))\nfaults.reach('open')\nsys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == code
    assert witnesses(tmp_path) == ["00-open-1.json"]


def test_what_can_never_happen_is_refused() -> None:
    plan = [
        FaultConfig(site="save/manifset"),
        FaultConfig(site="save", action=FaultAction.poison),
        FaultConfig(site="gradients", action=FaultAction.flip),
        FaultConfig(site="save", rank=2),
        FaultConfig(site="save", rank=1),
    ]
    problems = fault_problems(plan, 2)
    assert [problem.partition(" ")[0] for problem in problems] == [
        "faults[0].site='save/manifset'",
        "faults[1].action=poison",
        "faults[2].action=flip",
        "faults[3].rank=2:",
    ]
    assert "save/manifest" in problems[0]
    assert "ranks 0 to 1" in problems[3]


def test_every_site_is_reached_somewhere_and_no_other() -> None:
    """By its text in the code: the phases by the one place where phases begin."""
    package = Path(faults.__file__).parent
    code = "".join(path.read_text() for path in package.rglob("*.py") if "assets" not in path.parts)
    phases = {name for name in SITES if f"{name}/done" in SITES} | {name for name in SITES if name.endswith("/done")}
    for site in SITES:
        called = f'reach("{site}")' in code or f'harm("{site}"' in code
        assert called or (site in phases and f'phase("{site.removesuffix("/done")}")' in code), site
    assert {site for sites in AT_DATA.values() for site in sites} <= SITES.keys()
