"""Work in a process of its own, under strace: killed as it enters a chosen system call, or that call made to fail.

A process is forked from the caller, which has imported everything, so that a try costs tenths of a second; strace is
attached before it begins, so that only calls of the work itself are counted. What the work tells goes over a socket:
no `write` that could be mistaken for one of its own.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import socket
import subprocess
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALLS = {
    "rename": ("rename", "renameat", "renameat2"),
    "fsync": ("fsync",),
    "fdatasync": ("fdatasync",),
    "syncfs": ("syncfs",),
    "pwrite64": ("pwrite64",),
    "write": ("write",),
    "unlink": ("unlink", "unlinkat", "rmdir"),
    "link": ("link", "linkat", "symlink", "symlinkat"),
    "mkdir": ("mkdir", "mkdirat"),
    "truncate": ("ftruncate",),
}
"""Every call by which the daemon or SQLite changes the disk, under the name it has in the table."""

Tell = Callable[[str], None]


class Unavailable(RuntimeError):
    """strace is not here, or may not attach to a process."""


@dataclass(frozen=True)
class Ended:
    """How the work ended: killed, by an exception (its type and text), or well; and what it told before."""

    killed: bool
    told: tuple[str, ...]
    error: str = ""
    value: Any = None
    injected: int = 0
    """At how many calls something was put in, where the calls were written down."""


def apart(work: Callable[[], Any]) -> Any:
    """What `work` returns in a forked process: no handle, key or cache of it stays here.

    Raises:
        RuntimeError: it raised; the text is its traceback.
    """
    ended = run(lambda tell: work())
    if ended.error or ended.killed:
        raise RuntimeError(ended.error or "killed by itself")
    return ended.value


def run(work: Callable[[Tell], Any], inject: Sequence[str] = (), calls: Path | None = None) -> Ended:
    """Runs `work(tell)` in a forked process.

    Args:
        inject: what strace puts in, as `-e inject=` takes it; without, it is not traced.
        calls: a file to write the traced calls to.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _child(work, theirs)
    theirs.close()
    strace = None
    try:
        if inject:
            strace = _attached(pid, inject, calls)
        ours.sendall(b"x")
        messages = list(_messages(ours))
        status = os.waitpid(pid, 0)[1]
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        raise
    finally:
        ours.close()
        if strace is not None:
            strace.wait()
            strace.stderr.close()  # type: ignore[union-attr]
    told = tuple(value for kind, value in messages if kind == "told")
    error = next((value for kind, value in messages if kind == "error"), "")
    value = next((value for kind, value in messages if kind == "value"), None)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        error = error or f"died of signal {os.WTERMSIG(status)}"
    injected = calls.read_text().count("(INJECTED)") if calls is not None else 0
    return Ended(os.WIFSIGNALED(status), told, error, value, injected)


def side_by_side(work: Callable[[int], list[Any]], count: int) -> list[Any]:
    """What `work(0)`, `work(1)` ... return, joined: each in a process of its own, all at once.

    A try waits for the scheduler far longer than it computes.
    """
    pipes = []
    for number in range(count):
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            try:
                with os.fdopen(write, "wb") as file:
                    pickle.dump(work(number), file)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(3)
        os.close(write)
        pipes.append(read)
    found: list[Any] = []
    for read in pipes:
        with os.fdopen(read, "rb") as file:
            found += pickle.load(file)
    for _ in pipes:
        os.wait()
    return found


def _child(work: Callable[[Tell], Any], sock: socket.socket) -> None:
    def send(kind: str, value: Any) -> None:
        data = pickle.dumps((kind, value))
        sock.sendall(len(data).to_bytes(4, "big") + data)

    try:
        sock.recv(1)
        send("value", work(lambda text: send("told", text)))
        os._exit(0)
    except BaseException as error:
        send("error", "".join(traceback.format_exception(error)))
        os._exit(3)


def _messages(sock: socket.socket) -> Iterator[tuple[str, Any]]:
    with sock.makefile("rb") as stream:
        while len(size := stream.read(4)) == 4:
            data = stream.read(int.from_bytes(size, "big"))
            yield pickle.loads(data)


def _attached(pid: int, inject: Sequence[str], calls: Path | None) -> subprocess.Popen[str]:
    if shutil.which("strace") is None:
        raise Unavailable("strace is not here")
    names = ",".join(dict.fromkeys(part.partition(":")[0] for part in inject))
    parts = [argument for part in inject if ":" in part for argument in ("-e", f"inject={part}")]
    strace = subprocess.Popen(
        ["strace", "-f", "-y", "-o", calls or "/dev/null", "-e", f"trace={names}", *parts, "-p", str(pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    line = strace.stderr.readline()  # type: ignore[union-attr]
    if "attached" not in line:
        strace.kill()
        strace.wait()
        raise Unavailable(f"strace may not attach here: {line.strip()}")
    return strace


def killed_at(work: Callable[[Tell], Any], call: str, number: int) -> Ended:
    """Runs `work`, and kills it as it enters the `number`-th of this system call: the call is not made."""
    return run(work, [f"?{call}:signal=SIGKILL:when={number}"])
