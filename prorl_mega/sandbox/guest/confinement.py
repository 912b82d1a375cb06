"""The rights that a child gives up before it runs a program: files, limits, privileges, system calls."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
from typing import Any

_OWN_PID = 0x5EC0_0001  # in the filter: see seccomp.py
_NEW_MOUNTS = 0x0002_0000
_COUNTED = 1 << 30  # and a process id: a user of one program alone
libc = ctypes.CDLL(None, use_errno=True)


def confine(request: dict[str, Any]) -> None:
    """Confine scratch, limits, privileges, system calls: in this order, because each step removes rights."""
    if request["namespaces"]:
        check("unshare", libc.unshare(_NEW_MOUNTS))
        options = f"mode=1777,size={request['scratch']},nr_inodes=1024".encode()
        check("mount", libc.mount(b"scratch", b"/tmp", b"tmpfs", ctypes.c_ulong(6), options))  # nosuid, nodev
        os.chdir("/tmp")
    else:
        os.chdir("/")
        if os.geteuid() == 0:  # whose threads the kernel does not count; files still ask for the effective user
            with contextlib.suppress(OSError):  # a container without this user: its root is no superuser outside
                os.setresuid(_COUNTED + os.getpid(), -1, -1)
    check("prctl", libc.prctl(1, 9, 0, 0, 0))  # PR_SET_PDEATHSIG, SIGKILL
    for name, limit in request["limits"].items():
        which = getattr(resource, f"RLIMIT_{name}")
        ceiling = resource.getrlimit(which)[1]  # never above what the host itself is allowed
        limit = limit if ceiling == resource.RLIM_INFINITY else min(limit, ceiling)
        resource.setrlimit(which, (limit, limit))  # no soft one: a program may ignore the signal
    for capability in range(64):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; fails where the set is empty already
    libc.prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    header = ctypes.create_string_buffer(struct.pack("<II", 0x2008_0522, 0))
    check("capset", libc.capset(header, ctypes.create_string_buffer(24)))
    check("prctl", libc.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS
    check("prctl", libc.prctl(4, 0, 0, 0, 0))  # PR_SET_DUMPABLE off: nobody may attach
    if request["filter"] is not None:
        _seccomp(bytes.fromhex(request["filter" if request["kind"] != "compile" else "compiler_filter"]))


def _seccomp(filter_bytes: bytes) -> None:
    code = b"".join(
        struct.pack("<HBBI", operation, yes, no, os.getpid() if operand == _OWN_PID else operand)
        for operation, yes, no, operand in struct.iter_unpack("<HBBI", filter_bytes)
    )
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer)))
    check("seccomp", libc.prctl(22, 2, program, 0, 0))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def restrict_files(readable: list[str]) -> None:
    """Forbid everything that Landlock controls, except reading below these paths, and writing to nowhere."""
    version = libc.syscall(444, None, ctypes.c_size_t(0), 1)
    check("landlock", version)
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = struct.pack("<QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = libc.syscall(444, ctypes.create_string_buffer(attributes), ctypes.c_size_t(size), 0)
    check("landlock", rules)
    for path in readable:
        descriptor = os.open(path, os.O_PATH)
        access = 13 if os.path.isdir(path) else 5  # read files and directories, execute
        access |= 2 * (path == os.devnull)  # write
        rule = ctypes.create_string_buffer(struct.pack("<Qi", access, descriptor))
        check("landlock", libc.syscall(445, rules, 1, rule, 0))
        os.close(descriptor)
    check("landlock", libc.syscall(446, rules, 0))
    os.close(rules)


def check(what: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
