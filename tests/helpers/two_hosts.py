"""Two hosts on this machine, network namespaces, and a wire between them that delays, loses and can be cut.

The wire is a thread that carries packets between two TUN devices: it needs root, iproute2 and /dev/net/tun, and no
kernel module (netem is not everywhere).
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_DEVICE = "wire"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _CLONE_NEWNET = 0x400454CA, 0x1, 0x1000, 0x40000000
_LARGEST = 1 << 16  # bytes of a packet
ADDRESSES = ("10.213.0.1", "10.213.0.2")
PORT = 29511  # that host 0 listens on; a namespace has all ports for itself


def missing() -> str:
    """The reason why there can be no two hosts here; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "`ip` is missing: apt-get install iproute2"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is missing: modprobe tun"
    made = subprocess.run(["ip", "netns", "add", "prorl-probe"], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", "prorl-probe"], check=False)
    return ""


class TwoHosts:
    """Host 0 and host 1. Leaving the block removes them; what runs there has to have ended."""

    def __init__(self, *, delay_s: float = 0.0, loss: float = 0.0) -> None:
        """`delay_s` of every packet, one way; `loss`: the share of packets that never arrive."""
        self._delay_s, self._loss, self._dice = delay_s, loss, random.Random(1)
        self._names = [f"prorl-{os.getpid()}-{host}" for host in (0, 1)]
        self._is_cut = threading.Event()
        self._over = threading.Event()
        self.carried = self.lost = 0  # packets
        self._devices: list[int] = []

    def __enter__(self) -> TwoHosts:
        for name, address in zip(self._names, ADDRESSES, strict=True):
            _ip("netns", "add", name)
            self._devices.append(_open_device(name))
            inside = ("netns", "exec", name, "ip")
            _ip(*inside, "link", "set", "lo", "up")
            _ip(*inside, "address", "add", f"{address}/24", "dev", _DEVICE)
            _ip(*inside, "link", "set", _DEVICE, "up")
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        for device in self._devices:
            os.close(device)
        for name in self._names:
            _ip("netns", "delete", name)

    def cut(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._is_cut.set()

    def mend(self) -> None:
        self._is_cut.clear()

    def start(self, host: int, command: list[str], cwd: Path, **variables: str) -> subprocess.Popen[str]:
        """A program on a host, with the rank of its number in a job of two."""
        place = {"MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": str(PORT), "GLOO_SOCKET_IFNAME": _DEVICE,
                 "OMP_NUM_THREADS": "1"}  # fmt: skip
        return subprocess.Popen(
            ["ip", "netns", "exec", self._names[host], sys.executable, *command],
            cwd=cwd, env=os.environ | place | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def _carry(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []  # when it arrives, number, at which device, packet
        while not self._over.is_set():
            pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.05
            for device in select.select(self._devices, [], [], min(pause, 0.05))[0]:
                packet = os.read(device, _LARGEST)
                other = self._devices[device == self._devices[0]]
                if self._is_cut.is_set() or self._dice.random() < self._loss:
                    self.lost += 1
                else:
                    self.carried += 1
                    heapq.heappush(waiting, (time.monotonic() + self._delay_s, self.carried, other, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, device, packet = heapq.heappop(waiting)
                os.write(device, packet)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _open_device(namespace: str) -> int:
    """A new TUN device in a namespace. In a thread of its own, which alone moves there."""
    found: list[Any] = []

    def work() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{namespace}") as place:
                if libc.setns(place.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
            device = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", _DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
            found.append(device)
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return int(found[0])
