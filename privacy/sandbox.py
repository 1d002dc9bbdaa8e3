"""What each process that is not the service may do: Landlock for files, seccomp for calls, in two steps.

1. `before_loading`: the process opens only its libraries and weights. No byte of a document has come yet,
   and no thread runs yet: Landlock holds for threads that are started from here on.
2. `after_loading`: what loading needed is taken away again, before the first document.

| | files while loading | files afterwards | network | new processes | threads |
|---|---|---|---|---|---|
| decoder | libraries | none | none | none | none |
| reader | libraries, weights, the model in service | the same, to read | none | none | yes |
| round | libraries, weights, model; its scratch folder | the same | none | its Paddle twin | yes |
| Paddle twin | libraries, the twin's folder | the same | none | none | yes |

Decoder and reader see what came from outside, so their calls are a list of what is allowed. The round and
the twin see what the reader passed on and run torch, CUDA and Paddle: a list of what is forbidden.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from privacy import landlock, seccomp
from privacy.errors import SandboxFailed
from privacy.seccomp import Argument, Call, calls, only_reads

Policy = Literal["require", "warn"]
"""Without Landlock or seccomp: refuse to run, or run with what there is."""

_TCGETS, _FIONREAD, _FIOCLEX = 0x5401, 0x541B, 0x5451
_PR_SET_NAME, _PR_SET_NO_NEW_PRIVS, _PR_SET_VMA = 15, 38, 0x53564D41
_FCNTL = (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_DUPFD_CLOEXEC, fcntl.F_ADD_SEALS)
"""Not F_SETOWN: it lets a descriptor's events signal another process."""

_COMPUTING = (
    *calls("brk munmap mremap madvise membarrier futex rseq set_robust_list getrandom restart_syscall"),
    *calls("clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday sched_yield sched_getaffinity"),
    *calls("rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack exit exit_group"),
    *calls("getpid gettid getppid getuid geteuid getgid getegid getrusage sysinfo uname"),
    Call("prctl", (Argument(0, (_PR_SET_NAME, _PR_SET_VMA)),)),
)
_ON_DESCRIPTORS = (
    *calls("read readv write writev pread64 lseek close close_range fstat poll ppoll dup memfd_create"),
    Call("fcntl", (Argument(1, _FCNTL),)),
    Call("ioctl", (Argument(1, (_TCGETS, _FIONREAD, _FIOCLEX)),)),
)
_MESSAGES = calls("recvmsg sendmsg recvfrom")
_NETWORK = "socket connect bind listen accept accept4"
_INTO_OTHERS = (
    "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_open pidfd_getfd"
    " pidfd_send_signal migrate_pages move_pages"
)
_INTO_THE_KERNEL = (
    "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key"
    " init_module finit_module delete_module kexec_load kexec_file_load open_by_handle_at name_to_handle_at"
    " mount umount2 pivot_root chroot unshare setns fsopen fsmount fsconfig fspick move_mount open_tree mount_setattr"
    " swapon swapoff reboot acct quotactl settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname"
    " iopl ioperm modify_ldt personality uselib fanotify_init vmsplice"
    " setuid setgid setreuid setregid setresuid setresgid setgroups capset"
)
_THREAD = Call("clone", (Argument(0, (seccomp.CLONE_THREAD,), seccomp.CLONE_THREAD),))


@dataclass(frozen=True)
class Confinement:
    """Rights beneath paths while loading and afterwards (None: the same), and the calls allowed afterwards."""

    name: str
    loading: Mapping[Path, int] = field(repr=False)
    afterwards: Mapping[Path, int] | None = field(repr=False)
    calls: bytes = field(repr=False)
    threads: bool = True


def missing() -> list[str]:
    """What this kernel lacks of a sandbox, in words; empty where there is all that `require` asks for."""
    found = []
    if landlock.abi() < 1:
        found.append("Landlock (Linux 5.13 or newer, with landlock in the kernel's lsm= list)")
    if not seccomp.available():
        found.append("seccomp filters for this machine (x86_64 or aarch64)")
    return found


def no_new_privileges() -> None:
    """What both walls ask for first: nothing this process runs gains a right, by set-user-id or otherwise."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise SandboxFailed(f"no_new_privs: {os.strerror(ctypes.get_errno())}")


def before_loading(confinement: Confinement, policy: Policy = "require") -> None:
    """Step 1. Raises SandboxFailed where the policy is "require" and something is missing."""
    lacking = missing()
    if lacking and policy == "require":
        raise SandboxFailed(f"{confinement.name}: this kernel has no {' and no '.join(lacking)}")
    if landlock.abi() >= 1:
        landlock.restrict(confinement.loading)


def after_loading(confinement: Confinement) -> None:
    """Step 2; the filter holds for every thread.

    Raises:
        SandboxFailed: the kernel refused, or threads run where none may: Landlock would not hold for them.
    """
    if not confinement.threads and (running := len(list(Path("/proc/self/task").iterdir()))) > 1:
        raise SandboxFailed(f"{confinement.name}: expected one thread after loading, found {running}.")
    if confinement.afterwards is not None and landlock.abi() >= 1:
        landlock.restrict(confinement.afterwards)
    if seccomp.available():
        seccomp.install(confinement.calls)


def decoder(threads: bool = False) -> Confinement:
    """Bytes in, pixels out: no file, no new code, nothing but its socket and memory files, no thread unless asked for.

    Threads that start behind the walls stand behind them too.
    """
    no_code = Argument(2, (0,), seccomp.PROT_EXEC)
    allowed = (*_COMPUTING, *_ON_DESCRIPTORS, *_MESSAGES, *_only_itself())
    allowed += (Call("mmap", (no_code,)), Call("mprotect", (no_code,)))
    allowed += (_THREAD,) if threads else ()
    return Confinement("decoder", libraries(), {}, seccomp.allow_only(allowed), threads=False)


def reader(folders: Sequence[Path]) -> Confinement:
    """Pixels in, text out: reads weights in `folders` and what its libraries load late; starts threads only."""
    allowed = (*_COMPUTING, *_ON_DESCRIPTORS, *_MESSAGES, *_only_itself())
    allowed += (*calls("mmap mprotect newfstatat statx stat fstatfs getdents64 readlink readlinkat getcwd"),)
    allowed += (only_reads("open", 1), only_reads("openat", 2), _THREAD)
    rights = libraries() | dict.fromkeys((folder.resolve() for folder in folders), landlock.READ)
    return Confinement("reader", rights, None, seccomp.allow_only(allowed))


def round_process(folders: Sequence[Path], scratch: Path) -> Confinement:
    """Trains on the unsealed lines it was handed: no network, no key file; writes to `scratch`, may use a GPU."""
    rights = libraries(landlock.EXECUTE) | dict.fromkeys((folder.resolve() for folder in folders), landlock.READ)
    rights |= {scratch.resolve(): landlock.WRITE, Path("/dev"): landlock.DEVICES}
    return Confinement("round", rights, None, _no_way_out())


def twin(folder: Path) -> Confinement:
    """PaddlePaddle reads a model folder and generated lines."""
    rights = libraries(landlock.EXECUTE) | {folder.resolve(): landlock.READ, Path("/dev"): landlock.DEVICES}
    return Confinement("paddle twin", rights, None, _no_way_out())


def libraries(right: int = landlock.READ) -> dict[Path, int]:
    """Where Python, its packages and the system's libraries lie, and what the system tells of itself."""
    roots = [sys.base_prefix, sys.base_exec_prefix, sys.prefix, "/usr", "/lib", "/lib64"]
    here = Path(__file__).resolve().parents[1]
    roots += [entry for entry in sys.path if Path(entry).resolve() != here]
    roots += [str(here / name) for name in ("daemon", "learners", "models", "privacy")]
    told = ["/proc", "/sys", "/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/localtime", "/dev/null", "/dev/urandom"]
    found = {Path(root).resolve(): right for root in roots if root}
    # An editable installation lies in a checkout, which may hold state folders too: only its names are shown.
    return {here: landlock.LIST} | found | dict.fromkeys(map(Path, told), landlock.READ)


def _only_itself() -> tuple[Call, ...]:
    """Signals and limits of the process itself: abort() must work, and nobody else's may be touched."""
    myself = (os.getpid(),)
    return Call("tgkill", (Argument(0, myself),)), Call("prlimit64", (Argument(0, (0, *myself)), *seccomp.null(2)))


def _no_way_out() -> bytes:
    return seccomp.deny(f"{_NETWORK} {_INTO_OTHERS} {_INTO_THE_KERNEL}".split())
