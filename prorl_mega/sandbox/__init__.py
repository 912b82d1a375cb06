"""Running programs that a model wrote. Nothing is expected of them: they get an input and leave plain data behind."""

from prorl_mega.sandbox.client import Keeper
from prorl_mega.sandbox.isolation import Launch, Tier
from prorl_mega.sandbox.job import Ending, Kind, Limits, Result, Run, call, compilation, native, script
from prorl_mega.sandbox.pool import Sandbox, find, try_tier

__all__ = [
    "Ending",
    "Keeper",
    "Kind",
    "Launch",
    "Limits",
    "Result",
    "Run",
    "Sandbox",
    "Tier",
    "call",
    "compilation",
    "find",
    "native",
    "script",
    "try_tier",
]
