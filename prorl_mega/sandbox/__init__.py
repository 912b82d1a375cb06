"""Running programs that a model wrote, none of which is trusted: they get an input and return plain data."""

from prorl_mega.sandbox.client import SandboxClient
from prorl_mega.sandbox.isolation import IsolationTier, SandboxSpec
from prorl_mega.sandbox.job import (
    Ending,
    Limits,
    ProgramKind,
    ProgramResult,
    ProgramRun,
    call,
    compilation,
    native,
    script,
)
from prorl_mega.sandbox.pool import Sandbox, find, try_tier

__all__ = [
    "Ending",
    "IsolationTier",
    "Limits",
    "ProgramKind",
    "ProgramResult",
    "ProgramRun",
    "Sandbox",
    "SandboxClient",
    "SandboxSpec",
    "call",
    "compilation",
    "find",
    "native",
    "script",
    "try_tier",
]
