"""The system calls that an untrusted program may make, as a BPF program for the kernel.

An allow-list: a call that is not named here, now or in a future kernel, fails with EPERM. The list has what CPython
and a statically typed program without processes, sockets and namespaces need. There is no fork, so that one program is
one process, which can be killed as a whole.

No call that is left takes an address of a socket: the only sockets are connected pairs of streams, `sendto` takes no
address, and `sendmsg`, whose address and descriptors are behind a pointer that no filter can follow, is missing. So no
descriptor is ever on its way between sockets either, where no limit counts it. Memory of the kernel that a program can
fill is bounded by the number of its descriptors: all threads share one table of them, and neither buffers can be
enlarged nor pages of files be pinned in them.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

OWN_PID = 0x5EC0_0001  # stands for the process id of the confined process, which is known only after the fork
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000
_EPERM, _ENOSYS = 1, 38
_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_NR, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ALL = 0xFFFF_FFFF
_CLONE_FILES, _CLONE_THREAD = 0x0000_0400, 0x0001_0000
_NEW_NAMESPACES = 0x7E02_0080
_SOCKET_FLAGS = 0x0008_0800  # SOCK_CLOEXEC, SOCK_NONBLOCK
_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

# name: (x86_64, aarch64); -1 where the architecture does not have it
_PLAIN = {
    "read": (0, 63), "write": (1, 64), "open": (2, -1), "close": (3, 57), "stat": (4, -1), "fstat": (5, 80),
    "lstat": (6, -1), "poll": (7, -1), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215),
    "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "access": (21, -1),
    "pipe": (22, -1), "select": (23, -1), "sched_yield": (24, 124), "mremap": (25, 216), "mincore": (27, 232),
    "dup": (32, 23), "dup2": (33, -1), "pause": (34, -1), "nanosleep": (35, 101), "getitimer": (36, 102),
    "alarm": (37, -1), "setitimer": (38, 103), "getpid": (39, 172), "recvfrom": (45, 207), "recvmsg": (47, 212),
    "shutdown": (48, 210), "getsockname": (51, 204), "getpeername": (52, 205), "execve": (59, 221), "exit": (60, 93),
    "uname": (63, 160), "ftruncate": (77, 46), "getdents": (78, -1), "getcwd": (79, 17), "chdir": (80, 49),
    "fchdir": (81, 50), "rename": (82, -1), "mkdir": (83, -1), "rmdir": (84, -1), "creat": (85, -1), "link": (86, -1),
    "unlink": (87, -1), "symlink": (88, -1), "umask": (95, 166), "gettimeofday": (96, 169), "getrlimit": (97, 163),
    "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176),
    "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173), "sigaltstack": (131, 132),
    "arch_prctl": (158, -1), "gettid": (186, 178), "time": (201, -1), "futex": (202, 98),
    "sched_getaffinity": (204, 123), "epoll_create": (213, -1), "getdents64": (217, 61), "set_tid_address": (218, 96),
    "restart_syscall": (219, 128), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "epoll_wait": (232, -1), "epoll_ctl": (233, 21),
    "openat": (257, 56), "mkdirat": (258, 34), "newfstatat": (262, 79), "unlinkat": (263, 35), "renameat": (264, 38),
    "linkat": (265, 37), "symlinkat": (266, 36), "faccessat": (269, 48), "pselect6": (270, 72), "ppoll": (271, 73),
    "set_robust_list": (273, 99), "get_robust_list": (274, 100), "epoll_pwait": (281, 22), "eventfd2": (290, 19),
    "epoll_create1": (291, 20), "dup3": (292, 24), "pipe2": (293, 59), "getcpu": (309, 168), "renameat2": (316, 276),
    "getrandom": (318, 278), "execveat": (322, 281), "copy_file_range": (326, 285), "statx": (332, 291),
    "rseq": (334, 293), "faccessat2": (439, 439),
}  # fmt: skip

# What a compiler needs on top: it consists of several programs, and looks at the links of its own installation.
_COMPILER = {
    "fork": (57, -1), "vfork": (58, -1), "clone": (56, 220), "wait4": (61, 260), "waitid": (247, 95), "kill": (62, 129),
    "readlink": (89, -1), "readlinkat": (267, 78), "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53),
    "getpgrp": (111, -1), "prlimit64": (302, 261), "fallocate": (285, 47), "sendfile": (40, 71),
}  # fmt: skip


class _Condition(NamedTuple):
    """Holds when a half of an argument, masked, is one of the values."""

    half: int  # 2 × the index of the argument for its lower 32 bits, and 1 more for the upper ones
    values: tuple[int, ...]
    mask: int = _ALL


class _Rule(NamedTuple):
    """The answer to a call (its numbers as above) when all conditions hold; the first rule that fits counts."""

    numbers: tuple[int, int]
    conditions: tuple[_Condition, ...]
    answer: int = _ALLOW


_SUCCESS, _MISSING = _ERRNO, _ERRNO | _ENOSYS  # without doing anything; as on a kernel that lacks the call
_NULL = (0,)
_CHECKED = (
    # threads only, which share their descriptors
    _Rule((56, 220), (_Condition(0, (_CLONE_THREAD | _CLONE_FILES,), _CLONE_THREAD | _CLONE_FILES | _NEW_NAMESPACES),)),
    _Rule((436, 436), (_Condition(4, (0, 4)),)),  # close_range, without a table of descriptors of one's own
    _Rule((62, 129), (_Condition(0, (OWN_PID,)),)),  # kill
    _Rule((234, 131), (_Condition(0, (OWN_PID,)),)),  # tgkill
    _Rule((302, 261), (_Condition(0, (0,)),)),  # prlimit64, of itself
    # socketpair of AF_UNIX streams: event loops wake themselves with one, `multiprocessing.Pipe` is one
    _Rule((53, 199), (_Condition(0, (1,)), _Condition(2, (1,), _ALL ^ _SOCKET_FLAGS))),
    _Rule((44, 206), (_Condition(8, _NULL), _Condition(9, _NULL))),  # sendto, without an address: this is `send`
    # getsockopt of SOL_SOCKET: kind, error, sizes of buffers, whether it listens, protocol, domain
    _Rule((55, 209), (_Condition(2, (1,)), _Condition(4, (3, 4, 7, 8, 30, 38, 39)))),
    # ioctl: is it a terminal, FIONREAD, FIONBIO, close on exec
    _Rule((16, 29), (_Condition(2, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),)),
    _Rule((72, 25), (_Condition(2, (0, 1, 2, 3, 4, 5, 36, 1030, 1032, 1034)),)),  # fcntl: no signals, no larger pipes
    # Locks of files that nobody else has: granted, and the kernel keeps no list of a million of them.
    _Rule((72, 25), (_Condition(2, (6, 7, 37, 38)),), _SUCCESS),
    _Rule((73, 32), (), _SUCCESS),  # flock
    # Nothing that a program writes outlasts it, so nothing is written to a disk, which is slow for everybody.
    _Rule((74, 82), (), _SUCCESS),  # fsync
    _Rule((75, 83), (), _SUCCESS),  # fdatasync
    _Rule((26, 227), (), _SUCCESS),  # msync
    _Rule((221, 223), (), _SUCCESS),  # fadvise64
    # madvise about pages of its own: none that reclaims, shares or collapses pages
    _Rule((28, 233), (_Condition(4, (0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17)),)),
    _Rule((157, 167), (_Condition(0, (15, 16)),)),  # prctl: names of threads
    _Rule((435, 435), (), _MISSING),  # clone3, whose flags are behind a pointer; the C library uses clone then
    _Rule((324, 283), (), _MISSING),  # membarrier waits in the kernel, where no limit of processor time counts
    _Rule((40, 71), (), _MISSING),  # sendfile: a buffer of a socket would hold pages of files that are gone
)


def supported() -> bool:
    """Whether there is a table of system calls for this machine."""
    return os.uname().machine in _ARCHITECTURES


def program_filter() -> bytes:
    """The filter for an untrusted program. Instructions whose operand is `OWN_PID` have to be patched before use."""
    return _assemble(_PLAIN)


def compiler_filter() -> bytes:
    """The filter for a compiler of untrusted programs, which may start processes, in a process namespace of its own."""
    return _assemble(_PLAIN | _COMPILER)


def _assemble(plain: dict[str, tuple[int, int]]) -> bytes:
    machine = os.uname().machine
    which = list(_ARCHITECTURES).index(machine)
    code = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _instruction(_RETURN, _ERRNO | _EPERM),
        _instruction(_LOAD, _NR),
    ]
    for numbers in plain.values():
        if numbers[which] >= 0:
            code += [_instruction(_EQUAL, numbers[which], 0, 1), _instruction(_RETURN, _ALLOW)]
    for rule in _CHECKED:
        answered = [_instruction(_RETURN, rule.answer)]
        for condition in reversed(rule.conditions):
            answered = _tested(condition, len(answered)) + answered
        answered.append(_instruction(_LOAD, _NR))  # for the rules that follow
        code += [_instruction(_EQUAL, rule.numbers[which], 0, len(answered)), *answered]
    code.append(_instruction(_RETURN, _ERRNO | _EPERM))
    return b"".join(code)


def _tested(condition: _Condition, length: int) -> list[bytes]:
    """Go on behind this when the condition holds, else jump over the next `length` instructions."""
    code = [_instruction(_LOAD, _ARGUMENTS + 4 * condition.half), _instruction(_AND, condition.mask)]
    *others, last = condition.values
    code += [_instruction(_EQUAL, value, len(others) - index, 0) for index, value in enumerate(others)]
    return [*code, _instruction(_EQUAL, last, 0, length)]


def _instruction(operation: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", operation, if_true, if_false, operand)
