"""The user at the other end of a connection on this machine, as the kernel knows it.

The loopback address of a login node is everybody's: without this, whoever is logged in could read runs that file
permissions keep from them. A tunnel of SSH counts as the user who has logged in through it.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
Address = tuple[str, int]


def may_read(peer: Address, here: Address) -> bool:
    """Whether a connection comes from this user or from root. True also where no kernel can be asked."""
    try:
        table = _TABLE.read_text(encoding="ascii")
    except OSError:
        return True
    ends = f" {_spelled(peer)} {_spelled(here)} "
    for line in table.splitlines():
        if ends in line:
            return int(line.split()[7]) in (0, os.getuid())
    return False  # it is closed already


def _spelled(address: Address) -> str:
    """An address as the kernel prints it: the address as a number of this machine's byte order."""
    (packed,) = struct.unpack("<I" if sys.byteorder == "little" else ">I", socket.inet_aton(address[0]))
    return f"{packed:08X}:{address[1]:04X}"
