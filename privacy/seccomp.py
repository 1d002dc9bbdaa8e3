"""Which system calls a process may still make: filters for the kernel's seccomp, assembled here.

A filter is a classic BPF program over (architecture, call number, six arguments). Pointers can't be followed,
so a filter never judges a path: what may be opened is Landlock's part (`privacy/landlock.py`).

- Another architecture's calls (i386 or x32 on x86_64) kill the process: their numbers mean other calls.
- A call that is not allowed fails with EPERM. It does not kill, so that a library that tries something
  needless costs nothing, and `ocrd doctor` can try every denial in one living worker (docs/adr/0010).
- A call newer than this table fails with ENOSYS, which is what libc expects before it falls back.

Sources: seccomp(2), linux/filter.h, linux/audit.h; the numbers are those of asm/unistd_64.h (x86_64) and
asm-generic/unistd.h (aarch64), and `tests/test_sandbox.py` compares them where those headers are installed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from privacy.errors import SandboxFailed

_TABLE = """
accept 43 202|accept4 288 242|acct 163 89|add_key 248 217|adjtimex 159 171|bind 49 200|bpf 321 280|brk 12 214
capset 126 91|chdir 80 49|chroot 161 51|clock_adjtime 305 266|clock_getres 229 114|clock_gettime 228 113
clock_nanosleep 230 115|clock_settime 227 112|clone 56 220|clone3 435 435|close 3 57|close_range 436 436
connect 42 203|delete_module 176 106|dup 32 23|execve 59 221|execveat 322 281|exit 60 93|exit_group 231 94
fanotify_init 300 262|fcntl 72 25|finit_module 313 273|fork 57 -|fsconfig 431 431|fsmount 432 432|fsopen 430 430
fspick 433 433|fstat 5 80|fstatfs 138 44|futex 202 98|getcwd 79 17|getdents64 217 61|getegid 108 177|geteuid 107 175
getgid 104 176|getitimer 36 102|getpid 39 172|getppid 110 173|getrandom 318 278|getrusage 98 165|gettid 186 178
gettimeofday 96 169|getuid 102 174|init_module 175 105|ioctl 16 29|io_uring_enter 426 426|io_uring_register 427 427
io_uring_setup 425 425|ioperm 173 -|iopl 172 -|kcmp 312 272|kexec_file_load 320 294|kexec_load 246 104
keyctl 250 219|kill 62 129|landlock_add_rule 445 445|landlock_create_ruleset 444 444|landlock_restrict_self 446 446
listen 50 201|lseek 8 62|madvise 28 233|membarrier 324 283|memfd_create 319 279|migrate_pages 256 238
mmap 9 222|modify_ldt 154 -|mount 165 40|mount_setattr 442 442|move_mount 429 429|move_pages 279 239
mprotect 10 226|mremap 25 216|munmap 11 215|name_to_handle_at 303 264|nanosleep 35 101|newfstatat 262 79
open 2 -|open_by_handle_at 304 265|open_tree 428 428|openat 257 56|openat2 437 437|perf_event_open 298 241
personality 135 92|pidfd_getfd 438 438|pidfd_open 434 434|pidfd_send_signal 424 424|pivot_root 155 41
poll 7 -|ppoll 271 73|prctl 157 167|pread64 17 67|prlimit64 302 261|process_madvise 440 440|process_mrelease 448 448
process_vm_readv 310 270|process_vm_writev 311 271|ptrace 101 117|quotactl 179 60|read 0 63|readlink 89 -
readlinkat 267 78|readv 19 65|reboot 169 142|recvfrom 45 207|recvmsg 47 212|request_key 249 218
restart_syscall 219 128|rseq 334 293|rt_sigaction 13 134|rt_sigprocmask 14 135|rt_sigqueueinfo 129 138
rt_sigreturn 15 139|rt_tgsigqueueinfo 297 240|sched_getaffinity 204 123|sched_yield 24 124|seccomp 317 277
sendmsg 46 211|sendto 44 206|set_robust_list 273 99|set_tid_address 218 96|setdomainname 171 162|setgid 106 144
setgroups 116 159|sethostname 170 161|setns 308 268|setregid 114 143|setresgid 119 149|setresuid 117 147
setreuid 113 145|settimeofday 164 170|setuid 105 146|sigaltstack 131 132|socket 41 198|socketpair 53 199|stat 4 -
statx 332 291|swapoff 168 225|swapon 167 224|sysinfo 99 179|tgkill 234 131|tkill 200 130|umount2 166 39
uname 63 160|unshare 272 97|uselib 134 -|userfaultfd 323 282|vfork 58 -|vmsplice 278 75|wait4 61 260|write 1 64
writev 20 66
"""
NEWEST = 462
"""mseal, the last call of Linux 6.10; what came later is answered with ENOSYS."""

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32 = 0x40000000
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_SET_MODE_FILTER, _GET_ACTION_AVAIL, _TSYNC = 1, 2, 1

PROT_EXEC, CLONE_THREAD = 4, 0x10000
_OPEN_WRITES = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | (os.O_TMPFILE & ~os.O_DIRECTORY)


@dataclass(frozen=True)
class Argument:
    """One half of argument `index`, the low 32 bits unless `high`, after `mask`, must be one of `values`."""

    index: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    high: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.index < 6 or not self.values:
            raise ValueError(f"Expected an argument 0 to 5 and some values, got {self.index} and {self.values}.")


@dataclass(frozen=True)
class Call:
    """A system call by name, allowed if all of its arguments pass."""

    name: str
    where: tuple[Argument, ...] = ()


def calls(names: str) -> tuple[Call, ...]:
    return tuple(Call(name) for name in names.split())


def only_reads(call: str, flags: int) -> Call:
    """An `open` that neither writes nor creates; `flags` is the position of its flags."""
    return Call(call, (Argument(flags, (os.O_RDONLY,), _OPEN_WRITES),))


def null(index: int) -> tuple[Argument, Argument]:
    """A pointer that is not given."""
    return Argument(index, (0,)), Argument(index, (0,), high=True)


def numbers(machine: str) -> dict[str, int]:
    """The table of one machine by name; calls that it never had are left out.

    Raises:
        SandboxFailed: no table for this machine.
    """
    if machine not in _MACHINES:
        raise SandboxFailed(f"No table of system calls for {machine}; there are {', '.join(_MACHINES)}.")
    column = 1 + _MACHINES[machine][0]
    rows = (entry.split() for line in _TABLE.strip().splitlines() for entry in line.split("|"))
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def allow_only(allowed: Sequence[Call], machine: str = "") -> bytes:
    """A program that allows these calls and fails all others with EPERM.

    `clone3` fails with ENOSYS unless it is allowed: its flags lie behind a pointer, and libc then uses `clone`.
    """
    machine = machine or platform.machine()
    table = numbers(machine)
    program = _preamble(machine)
    for call in allowed:
        if call.name in table:
            program += _block(table[call.name], call.where)
        elif not any(call.name in numbers(other) for other in _MACHINES):
            raise SandboxFailed(f"Unknown system call {call.name!r}.")
    if all(call.name != "clone3" for call in allowed):
        program += [(_JUMP_EQUAL, 0, 1, table["clone3"]), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    return _assembled([*program, (_RETURN, 0, 0, _ERRNO | errno.EPERM)])


def deny(names: Iterable[str], machine: str = "") -> bytes:
    """A program that fails these calls with EPERM and allows all others: for trusted code that needs many calls."""
    machine = machine or platform.machine()
    table = numbers(machine)
    program = _preamble(machine)
    for name in names:
        if name in table:
            program += [(_JUMP_EQUAL, 0, 1, table[name]), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
        elif not any(name in numbers(other) for other in _MACHINES):
            raise SandboxFailed(f"Unknown system call {name!r}.")
    return _assembled([*program, (_RETURN, 0, 0, _ALLOW)])


_Instruction = tuple[int, int, int, int]
"""Code, how many to skip if true, how many if false, constant."""


def _preamble(machine: str) -> list[_Instruction]:
    program = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, _MACHINES[machine][1]), (_RETURN, 0, 0, _KILL)]
    program.append((_LOAD, 0, 0, _NUMBER))
    if machine == "x86_64":
        program += [(_JUMP_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    return [*program, (_JUMP_AT_LEAST, 0, 1, NEWEST + 1), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]


def _block(number: int, where: Sequence[Argument]) -> list[_Instruction]:
    """Ends the program for this call; goes on behind it, with the number still loaded, for any other."""
    inner: list[_Instruction] = []
    for argument in where:
        half = 4 if argument.high == (sys.byteorder == "little") else 0
        inner += [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument.index + half), (_AND, 0, 0, argument.mask)]
        left = len(argument.values)
        inner += [(_JUMP_EQUAL, left - k, 0, value) for k, value in enumerate(argument.values)]
        inner.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    inner.append((_RETURN, 0, 0, _ALLOW))
    return [(_JUMP_EQUAL, 0, len(inner), number), *inner]


def _assembled(program: Sequence[_Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(program: bytes) -> None:
    """Puts the filter on every thread of this process, for good, and on what it starts.

    Raises:
        SandboxFailed: the kernel refused it. The process must have no_new_privs set.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    handed = _Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    result = _seccomp(_SET_MODE_FILTER, _TSYNC, ctypes.byref(handed))
    if result != 0:
        raise SandboxFailed(f"seccomp refused the filter: {os.strerror(ctypes.get_errno())} ({result})")


def available() -> bool:
    """Whether this kernel filters calls and this module knows the machine's numbers."""
    if platform.machine() not in _MACHINES:
        return False
    action = ctypes.c_uint32(_ERRNO)
    return _seccomp(_GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0


def _seccomp(operation: int, flags: int, argument: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    number = numbers(platform.machine())["seccomp"]
    return int(libc.syscall(ctypes.c_long(number), ctypes.c_uint(operation), ctypes.c_uint(flags), argument))
