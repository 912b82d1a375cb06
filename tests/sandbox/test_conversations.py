"""Assertions about programs in another sandbox: honest forms of answers pass, and no form of talk replaces one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.conversations import HONEST, HOSTILE
from helpers.sandboxes import sandbox_of

from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.sandbox.job import Ending, Limits
from prorl_mega.sandbox.pool import Sandbox
from prorl_mega.tasks.code import cases

LIMITS = Limits(cpu_s=3.0, wall_s=6.0, memory=512 << 20)


@pytest.fixture(
    scope="module", params=[IsolationTier.LANDLOCK, pytest.param(IsolationTier.BUBBLEWRAP, marks=pytest.mark.faults)]
)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with sandbox_of(request.param, size=2) as sandbox:
        yield sandbox


def test_honest_programs_pass(sandbox: Sandbox) -> None:
    verdicts = [(source, code, _judge(sandbox, source, code)) for source, code in HONEST]
    assert not [each for each in verdicts if not each[2].passed]


def test_hostile_programs_fail(sandbox: Sandbox) -> None:
    verdicts = [(source, code, _judge(sandbox, source, code)) for source, code in HOSTILE]
    assert not [each for each in verdicts if each[2].passed or each[2].ending is Ending.INFRA_ERROR]


def _judge(sandbox: Sandbox, source: str, code: str) -> cases.Judgement:
    return cases.judge({"function": "f", "code": code}, source, sandbox, LIMITS, 1e-6)


def test_tests_that_never_ask_are_broken(sandbox: Sandbox) -> None:
    for code in ("assert 1 + 1 == 2", "assert callable(f)", "for x in []: assert f(x) == 2"):
        verdict = _judge(sandbox, "def f(x): return 2", code)
        assert (verdict.passed, verdict.ending) == (False, Ending.INFRA_ERROR)
        assert "never asks" in verdict.detail
