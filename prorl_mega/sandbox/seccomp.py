"""The system calls that an untrusted program may make, as a BPF program for the kernel.

An allow-list: a call that is not named here, now or in a future kernel, fails with EPERM. The list has what CPython
and a statically typed program without processes, sockets and namespaces need. There is no fork, so that one program is
one process, which can be killed as a whole.
"""

from __future__ import annotations

import os
import struct

OWN_PID = 0x5EC0_0001  # stands for the process id of the confined process, which is known only after the fork
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000
_EPERM, _ENOSYS = 1, 38
_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_NR, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_CLONE_THREAD = 0x0001_0000
_NEW_NAMESPACES = 0x7E02_0080
_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

# name: (x86_64, aarch64); -1 where the architecture does not have it
_PLAIN = {
    "read": (0, 63), "write": (1, 64), "open": (2, -1), "close": (3, 57), "stat": (4, -1), "fstat": (5, 80),
    "lstat": (6, -1), "poll": (7, -1), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215),
    "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "access": (21, -1),
    "pipe": (22, -1), "select": (23, -1), "sched_yield": (24, 124), "mremap": (25, 216), "msync": (26, 227),
    "mincore": (27, 232), "madvise": (28, 233), "dup": (32, 23), "dup2": (33, -1), "pause": (34, -1),
    "nanosleep": (35, 101), "getitimer": (36, 102), "alarm": (37, -1), "setitimer": (38, 103), "getpid": (39, 172),
    "sendfile": (40, 71), "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212),
    "shutdown": (48, 210), "getsockname": (51, 204), "getpeername": (52, 205), "setsockopt": (54, 208),
    "getsockopt": (55, 209), "execve": (59, 221), "exit": (60, 93), "uname": (63, 160),
    "flock": (73, 32), "fsync": (74, 82), "fdatasync": (75, 83), "ftruncate": (77, 46), "getdents": (78, -1),
    "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "rename": (82, -1), "mkdir": (83, -1), "rmdir": (84, -1),
    "creat": (85, -1), "link": (86, -1), "unlink": (87, -1), "symlink": (88, -1), "umask": (95, 166),
    "gettimeofday": (96, 169), "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179),
    "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177),
    "getppid": (110, 173), "sigaltstack": (131, 132), "arch_prctl": (158, -1), "gettid": (186, 178), "time": (201, -1),
    "futex": (202, 98), "sched_getaffinity": (204, 123), "epoll_create": (213, -1), "getdents64": (217, 61),
    "set_tid_address": (218, 96), "restart_syscall": (219, 128), "fadvise64": (221, 223), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94), "epoll_wait": (232, -1),
    "epoll_ctl": (233, 21), "openat": (257, 56), "mkdirat": (258, 34), "newfstatat": (262, 79), "unlinkat": (263, 35),
    "renameat": (264, 38), "linkat": (265, 37), "symlinkat": (266, 36), "faccessat": (269, 48), "pselect6": (270, 72),
    "ppoll": (271, 73), "set_robust_list": (273, 99), "get_robust_list": (274, 100), "epoll_pwait": (281, 22),
    "eventfd2": (290, 19), "epoll_create1": (291, 20), "dup3": (292, 24), "pipe2": (293, 59), "getcpu": (309, 168),
    "renameat2": (316, 276), "getrandom": (318, 278), "execveat": (322, 281), "membarrier": (324, 283),
    "copy_file_range": (326, 285), "statx": (332, 291), "rseq": (334, 293), "close_range": (436, 436),
    "faccessat2": (439, 439),
}  # fmt: skip

# What a compiler needs on top: it consists of several programs, and looks at the links of its own installation.
_COMPILER = {
    "fork": (57, -1), "vfork": (58, -1), "clone": (56, 220), "wait4": (61, 260), "waitid": (247, 95), "kill": (62, 129),
    "readlink": (89, -1), "readlinkat": (267, 78), "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53),
    "getpgrp": (111, -1), "prlimit64": (302, 261), "fallocate": (285, 47),
}  # fmt: skip

# Allowed when the (masked) argument is one of the values: (numbers, index of the argument, mask, values).
_Rules = tuple[tuple[tuple[int, int], int, int, tuple[int, ...]], ...]
_CHECKED: _Rules = (
    ((56, 220), 0, _CLONE_THREAD | _NEW_NAMESPACES, (_CLONE_THREAD,)),  # clone: threads only
    ((62, 129), 0, 0xFFFF_FFFF, (OWN_PID,)),  # kill
    ((234, 131), 0, 0xFFFF_FFFF, (OWN_PID,)),  # tgkill
    ((302, 261), 0, 0xFFFF_FFFF, (0,)),  # prlimit64, of itself
    ((53, 199), 0, 0xFFFF_FFFF, (1,)),  # socketpair, AF_UNIX: event loops wake themselves with one
    ((16, 29), 1, 0xFFFF_FFFF, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),  # ioctl: is it a terminal, FIONBIO
    ((72, 25), 1, 0xFFFF_FFFF, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034)),  # fcntl: no owner for signals
    ((157, 167), 0, 0xFFFF_FFFF, (15, 16)),  # prctl: names of threads
)
_CLONE3 = (435, 435)  # its flags are behind a pointer; ENOSYS makes the C library use clone


def supported() -> bool:
    """Whether there is a table of system calls for this machine."""
    return os.uname().machine in _ARCHITECTURES


def program_filter() -> bytes:
    """The filter for an untrusted program. Instructions whose operand is `OWN_PID` have to be patched before use."""
    return _assemble(list(_PLAIN.values()), _CHECKED)


def compiler_filter() -> bytes:
    """The filter for a compiler of untrusted programs, which may start processes, in a process namespace of its own."""
    replaced = set(_COMPILER.values())
    checked = tuple(rule for rule in _CHECKED if rule[0] not in replaced)
    return _assemble([*_PLAIN.values(), *_COMPILER.values()], checked)


def _assemble(plain: list[tuple[int, int]], checked: _Rules) -> bytes:
    machine = os.uname().machine
    which = list(_ARCHITECTURES).index(machine)
    code = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _instruction(_RETURN, _ERRNO | _EPERM),
        _instruction(_LOAD, _NR),
    ]
    for numbers in plain:
        if numbers[which] >= 0:
            code += [_instruction(_EQUAL, numbers[which], 0, 1), _instruction(_RETURN, _ALLOW)]
    for numbers, argument, mask, values in checked:
        tests = [_instruction(_LOAD, _ARGUMENTS + 8 * argument), _instruction(_AND, mask)]
        for value in values:
            tests += [_instruction(_EQUAL, value, 0, 1), _instruction(_RETURN, _ALLOW)]
        tests.append(_instruction(_RETURN, _ERRNO | _EPERM))
        code += [_instruction(_EQUAL, numbers[which], 0, len(tests)), *tests]
    code += [_instruction(_EQUAL, _CLONE3[which], 0, 1), _instruction(_RETURN, _ERRNO | _ENOSYS)]
    code.append(_instruction(_RETURN, _ERRNO | _EPERM))
    return b"".join(code)


def _instruction(operation: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", operation, if_true, if_false, operand)
