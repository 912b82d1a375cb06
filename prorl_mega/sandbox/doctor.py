"""Attacks on the sandbox of this machine, which test whether it holds.

The targets are canaries: a file, an environment variable, servers, another process. Every probe is told where its
canary is, tries the most direct way to it, and prints HELD when that fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prorl_mega.sandbox.isolation import IsolationTier, SandboxSpec
from prorl_mega.sandbox.job import Ending, Limits, ProgramResult, script
from prorl_mega.sandbox.pool import Sandbox, try_tier
from prorl_mega.sandbox.processor_time import descendants

_LIMITS = Limits(cpu_s=0.4, wall_s=0.5, memory=256 << 20, output=1 << 20)
_PRELUDE = """
import ctypes, json, os, socket, sys, threading, time
C = json.loads(sys.stdin.readline())
def goes(what):
    try: what()
    except OSError: return False
    return True
def say(fallen): print("FELL" if fallen else "HELD", flush=True)
"""


@dataclass(kw_only=True, slots=True, frozen=True)
class Probe:
    """One attack: `source` prints HELD when it fails; for limits, the run ends as `ending`."""

    what: str
    source: str
    ending: Ending = Ending.FINISHED

    def held(self, result: ProgramResult) -> bool:
        if self.ending is not Ending.FINISHED:
            return result.ending is self.ending
        return result.ending is Ending.FINISHED and result.stdout == b"HELD\n"


PROBES = (
    Probe(what="files outside cannot be read", source="say(goes(lambda: open(C['file'])))"),
    Probe(what="files outside cannot be changed", source="say(goes(lambda: open(C['file'], 'a')))"),
    Probe(what="the environment does not get in", source="say(C['name'] in os.environ)"),
    Probe(
        what="servers of this machine cannot be reached",
        source="say(goes(lambda: socket.create_connection(('127.0.0.1', C['port']), 1)))",
    ),
    Probe(what="no sockets at all", source="say(goes(lambda: socket.socket(socket.AF_UNIX)))"),
    Probe(
        what="no address of a socket gets out",
        source="def sends(kind, address):\n"
        "    one, other = socket.socketpair(socket.AF_UNIX, kind)\n"
        "    return goes(lambda: one.sendto(b'x', address)) or goes(lambda: one.sendmsg([b'x'], [], 0, address))\n"
        "tried = [(kind, each) for kind in (1, 2, 3, 5) for each in (C['named'], '\\0' + C['abstract'])]\n"
        "say(any(goes(lambda: sends(*each)) and sends(*each) for each in tried))",
    ),
    Probe(
        what="no descriptor is sent",
        source="one, other = socket.socketpair()\nsay(goes(lambda: socket.send_fds(one, [b'x'], [0])))",
    ),
    Probe(what="other processes cannot be seen", source="say(goes(lambda: os.listdir(f\"/proc/{C['pid']}\")))"),
    Probe(what="other processes get no signals", source="say(goes(lambda: os.kill(C['pid'], 9)))"),
    Probe(what="no process can be started", source="say(goes(os.fork))"),
    Probe(
        what="no name-space, no trace, no kernel interfaces",
        source="libc = ctypes.CDLL(None)\n"
        "say(any(libc.unshare(flag) == 0 for flag in (1 << 28, 1 << 29)) or libc.ptrace(0, 0, 0, 0) == 0)",
    ),
    Probe(
        what="what a program leaves behind is gone",
        source="say(os.path.exists(C['left']))\ntry: open(C['left'], 'w')\nexcept OSError: pass",
    ),
    Probe(what="processor time is limited", source="import signal\nwhile True: pass", ending=Ending.TIME_LIMIT),
    Probe(what="waiting is limited", source="time.sleep(60)", ending=Ending.TIME_LIMIT),
    Probe(
        what="waiting in the kernel is limited",
        source="libc = ctypes.CDLL(None)\nwhile True: libc.syscall(324, 1, 0, 0)",  # membarrier
        ending=Ending.TIME_LIMIT,
    ),
    Probe(
        what="memory of the kernel is limited",
        source="kept, held = [], 0\n"
        "def fill(one):\n"
        "    global held\n"
        "    goes(lambda: one.setsockopt(1, 7, 1 << 26))\n"
        "    one.setblocking(False)\n"
        "    while held < C['much']: held += one.send(bytes(65536))\n"
        "def make():\n"
        "    kept.append(socket.socketpair())\n"
        "    for one in kept[-1]: goes(lambda: fill(one))\n"
        "while held < C['much'] and goes(make): pass\n"
        "say(held >= C['much'])",
    ),
    Probe(what="memory is limited", source="x = bytearray(1 << 29)", ending=Ending.MEMORY_LIMIT),
    Probe(what="output is limited", source="while True: print('x' * 4096)", ending=Ending.OUTPUT_LIMIT),
)


def examine(spec: SandboxSpec) -> Iterator[tuple[str, bool]]:
    """Run every probe twice in the same sandbox, then look from outside. Yields what was tried and whether it held."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (directory / "canary").write_text("canary")
        bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        stack.callback(bystander.wait)
        stack.callback(bystander.kill)
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        name = f"CANARY_{secrets.token_hex(4)}"
        os.environ[name] = "canary"
        stack.callback(lambda: os.environ.pop(name))
        told = {"file": str(directory / "canary"), "name": name, "port": server.getsockname()[1], "pid": bystander.pid}
        told |= {"named": str(directory / "named"), "abstract": name, "much": _LIMITS.memory // 10}
        told["left"] = f"/tmp/{name}"  # in the program's own /tmp, if it has one
        stack.callback(Path(told["left"]).unlink, missing_ok=True)
        servers = [server, *(stack.enter_context(_bound(at)) for at in (told["named"], f"\0{name}"))]
        sandbox = stack.enter_context(Sandbox(spec))
        runs = [script(_PRELUDE + probe.source, json.dumps(told) + "\n", _LIMITS) for probe in PROBES]
        first, second = sandbox.run(runs), sandbox.run(runs)
        for probe, *results in zip(PROBES, first, second, strict=True):
            yield probe.what, all(probe.held(result) for result in results)
        yield "nobody called the servers", not select.select(servers, [], [], 0)[0]
        yield "the canary is what it was", (directory / "canary").read_text() == "canary"
        yield "the bystander is alive", bystander.poll() is None
        guests = 1 if spec.tier is IsolationTier.BUBBLEWRAP else 0
        yield "nothing runs that should not", all(len(descendants(pid)) <= guests for pid in sandbox.processes())


def _bound(address: str) -> socket.socket:
    """A socket that anybody on this machine may send datagrams to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(address)
    return listener


def report(write: Callable[[str], Any]) -> bool:
    """Write which tiers this machine has and which attacks each stops. True when programs may be run here."""
    chosen: IsolationTier | None = None
    holds = False
    for tier in (IsolationTier.BUBBLEWRAP, IsolationTier.LANDLOCK):
        spec, reason = try_tier(tier)
        if spec is None:
            write(f"{tier.value}: not available here ({reason})\n")
            continue
        write(f"{tier.value}: starts{_identity(spec)}\n")
        held = True
        for what, has_held in examine(spec):
            write(f"  {'held' if has_held else 'FELL'}  {what}\n")
            held = held and has_held
        if chosen is None:
            chosen, holds = tier, held
    if chosen is None:
        write("no sandbox: programs that a model wrote will be refused on this machine\n")
    else:
        write(f"programs are run in the tier {chosen.value!r}{'' if holds else ', WHICH DOES NOT HOLD'}\n")
    return holds


def _identity(spec: SandboxSpec) -> str:
    if os.geteuid() != 0:
        return ""
    if spec.as_nobody:
        return ", as nobody"
    if spec.tier is IsolationTier.LANDLOCK:
        return ", as the superuser without capabilities, each program counted as a user of its own"
    return ", as the superuser without capabilities: the number of threads of a program is limited by its memory only"
