"""Tries, from inside a worker, what a worker may not do: the proof that each wall stands.

The service names targets that are really there (a key file, listening sockets, itself), so an attempt that
fails was stopped and did not merely miss. Each attempt undoes what it managed to do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from privacy import seccomp

KEY = "escape"
DENIED, OPEN = "denied", "open"
_STOPPED = (errno.EPERM, errno.EACCES, errno.ENOSYS)
_ATTACH, _DETACH = 16, 17


def attempt(targets: dict[str, Any]) -> dict[str, str]:
    """Each attempt's outcome: "denied", "open" if it went through, or the name of an errno that proves nothing."""
    return {name: _outcome(work, targets) for name, work in ATTEMPTS.items()}


def _outcome(work: Callable[[dict[str, Any]], None], targets: dict[str, Any]) -> str:
    try:
        work(targets)
    except OSError as error:
        return DENIED if error.errno in _STOPPED else errno.errorcode.get(error.errno or 0, "unknown")
    except RuntimeError:  # threading's "can't start new thread" has no errno
        return DENIED
    return OPEN


def _open_key(targets: dict[str, Any]) -> None:
    os.close(os.open(targets["key"], os.O_RDONLY))


def _list_keys(targets: dict[str, Any]) -> None:
    list(Path(targets["key"]).parent.iterdir())


def _create(targets: dict[str, Any]) -> None:
    path = f"{targets['folder']}/escaped-{os.getpid()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    Path(path).unlink()


def _connect_tcp(targets: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        sock.connect(("127.0.0.1", targets["tcp"]))


def _send_udp(targets: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"escaped", ("127.0.0.1", targets["udp"]))


def _connect_unix(targets: dict[str, Any]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(targets["unix"])


def _connect_abstract(targets: dict[str, Any]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect("\0" + targets["abstract"])


def _netlink(_targets: dict[str, Any]) -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()


def _trace(targets: dict[str, Any]) -> None:
    _call("ptrace", _ATTACH, targets["pid"], 0, 0)
    os.waitpid(targets["pid"], 0x40000000)  # __WALL: the tracee stops before it can be let go
    _call("ptrace", _DETACH, targets["pid"], 0, 0)


def _read_memory(targets: dict[str, Any]) -> None:
    """One byte of the target at the address of one of ours: readable or not, EFAULT is not a denial."""

    class Span(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    ours = ctypes.create_string_buffer(1)
    local = Span(ctypes.addressof(ours), 1)
    remote = Span(targets["address"], 1)
    _call("process_vm_readv", targets["pid"], ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)


def _open_memory(targets: dict[str, Any]) -> None:
    os.close(os.open(f"/proc/{targets['pid']}/mem", os.O_RDONLY))


def _signal(targets: dict[str, Any]) -> None:
    os.kill(targets["pid"], signal.SIGCONT)


def _signal_thread(targets: dict[str, Any]) -> None:
    _call("tgkill", targets["pid"], targets["pid"], signal.SIGCONT)


def _fork(_targets: dict[str, Any]) -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _execute(_targets: dict[str, Any]) -> None:
    """In place: with a program that is not there, so that success would be ENOENT; the worker goes on."""
    try:
        os.execv("/nonexistent/program", ["program"])  # noqa: S606 - there is no such program
    except FileNotFoundError:
        return


def _io_uring(_targets: dict[str, Any]) -> None:
    os.close(_call("io_uring_setup", 1, ctypes.byref(ctypes.create_string_buffer(120))))


def _new_namespace(_targets: dict[str, Any]) -> None:
    _call("unshare", 0x00000400)  # CLONE_FILES: needs no privilege and harms nothing


def _outlive(_targets: dict[str, Any]) -> None:
    """Lets go of the wish to die with the service, and takes it back."""
    _call("prctl", 1, 0, 0, 0, 0)
    _call("prctl", 1, signal.SIGKILL, 0, 0, 0)


def _executable_memory(_targets: dict[str, Any]) -> None:
    import mmap

    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _call(name: str, *arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    number = seccomp.numbers(os.uname().machine)[name]
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


ATTEMPTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "open the key file": _open_key,
    "list the key folder": _list_keys,
    "create a file": _create,
    "connect by TCP": _connect_tcp,
    "send by UDP": _send_udp,
    "connect to a socket file": _connect_unix,
    "connect to an abstract socket": _connect_abstract,
    "open a netlink socket": _netlink,
    "trace the service": _trace,
    "read the service's memory": _read_memory,
    "open the service's memory": _open_memory,
    "signal the service": _signal,
    "signal a thread of the service": _signal_thread,
    "fork": _fork,
    "run a program": _execute,
    "use io_uring": _io_uring,
    "leave its namespaces": _new_namespace,
    "outlive the service": _outlive,
    "make memory executable": _executable_memory,
}
"""What doctor says was tried."""
