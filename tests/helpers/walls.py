"""Which sandboxes this machine offers. Tests of what it lacks are skipped with the reason, which pytest reports."""

import functools
import shutil

import pytest

from prorl_mega.sandbox import Launch, Sandbox, Tier, try_tier


@functools.cache
def tier_here(tier: Tier) -> tuple[Launch | None, str]:
    return try_tier(tier)


def sandbox_of(tier: Tier, size: int) -> Sandbox:
    launch, reason = tier_here(tier)
    if launch is None:
        pytest.skip(f"NOT RUN: no {tier.value} sandbox on this machine ({reason})")
    return Sandbox(launch, size=size)


def needs(tier: Tier, *, compiler: bool = False) -> pytest.MarkDecorator:
    reasons = [] if tier_here(tier)[0] is not None else [f"no {tier.value} sandbox on this machine"]
    if compiler and shutil.which("g++") is None and shutil.which("clang++") is None:
        reasons.append("no C++ compiler")
    return pytest.mark.skipif(bool(reasons), reason=f"NOT RUN: {', '.join(reasons)}")
