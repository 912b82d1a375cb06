"""Which sandboxes this machine offers. Tests of what it lacks are skipped with the reason, which pytest reports."""

import functools
import shutil

import pytest

from prorl_mega.sandbox.isolation import IsolationTier, SandboxSpec
from prorl_mega.sandbox.pool import Sandbox, try_tier


@functools.cache
def tier_here(tier: IsolationTier) -> tuple[SandboxSpec | None, str]:
    return try_tier(tier)


def sandbox_of(tier: IsolationTier, size: int) -> Sandbox:
    spec, reason = tier_here(tier)
    if spec is None:
        pytest.skip(f"NOT RUN: no {tier.value} sandbox on this machine ({reason})")
    return Sandbox(spec, size=size)


def needs(tier: IsolationTier, *, compiler: bool = False) -> pytest.MarkDecorator:
    reasons = [] if tier_here(tier)[0] is not None else [f"no {tier.value} sandbox on this machine"]
    if compiler and shutil.which("g++") is None and shutil.which("clang++") is None:
        reasons.append("no C++ compiler")
    return pytest.mark.skipif(bool(reasons), reason=f"NOT RUN: {', '.join(reasons)}")
