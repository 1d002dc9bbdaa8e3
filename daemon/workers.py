"""Worker processes: exec'd, never forked with the keys; given descriptors; killed at a bound; replaced.

`Worker` is the service's side, and believes nothing that a worker says: answers are short, of a known
shape, and their texts are plain. `serve` is the child's side: it drops what it does not need before the
first byte of a document reaches it (no core dump, bounded memory and file size, first to go when memory
runs out, dead when the service dies; then `privacy/sandbox.py`), and answers one message after the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon import escapes, wire
from daemon.errors import BadFile, WorkerDied
from privacy import sandbox

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4

Reply = tuple[dict[str, Any], Sequence[bytes | int]]

REPLY_BYTES = 2**24
"""Of an answer's header: JSON of this size cannot fill the service's memory."""
REASON_LENGTH = 300


@dataclass(frozen=True)
class Limits:
    """What a worker may take: address space and largest file in bytes, open files."""

    memory: int
    file_size: int = 2**31
    open_files: int = 512


class Worker:
    """One child process that runs `python -m MODULE`, started when first needed.

    Args:
        module: the child's module; its `main` calls `serve`.
        config: sent to the child once, before anything else. Never holds a key.
        limits: rlimits the child sets on itself.
        recycle_after: calls after which a fresh process takes over; None for a conversation, which only one
            process can hold: when that has gone, calls raise WorkerDied.
        policy: "require" runs nothing on a kernel without a sandbox; "warn" runs with what there is.
        started: called with the pid of each process, which has not been told anything yet.
    """

    def __init__(
        self,
        module: str,
        config: dict[str, Any],
        limits: Limits,
        recycle_after: int | None = 200,
        policy: sandbox.Policy = "require",
        started: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        self._module, self._config, self._limits = module, config, limits
        self._recycle_after, self._policy, self._on_start = recycle_after, policy, started
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._calls = 0
        self._closed = False
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def call(self, header: dict[str, Any], blobs: Sequence[bytes | int], seconds: float) -> wire.Message:
        """Asks the worker and waits for its answer; the message's descriptors are the caller's.

        Raises:
            BadFile: the worker says that the input is at fault.
            WorkerDied: it was killed, broke off, failed, or took more than `seconds`.
        """
        if self._recycle_after is not None and self._calls >= self._recycle_after:
            self.stop()
        sock = self._started()
        self._calls += 1
        sock.settimeout(seconds)
        try:
            wire.send(sock, header, blobs)
            reply = wire.receive(sock, REPLY_BYTES)
        except TimeoutError as error:
            self.stop()
            raise WorkerDied(f"{self._module} took more than {seconds:g} s and was killed") from error
        except (wire.Closed, OSError, ValueError) as error:
            raise WorkerDied(f"{self._module} {self._buried()}") from error
        if "bad" in reply.header:
            reply.close()
            if reply.header.get("spent"):
                self.stop()  # the next document must not pay for this one's memory
            raise BadFile(_plain(reply.header["bad"]))
        if "error" in reply.header:
            reply.close()
            self.stop()
            raise WorkerDied(f"{self._module} failed: {_plain(reply.header['error'])}")
        return reply

    def _started(self) -> socket.socket:
        with self._lock:
            if self._sock is None:
                if self._closed:
                    raise WorkerDied(f"{self._module} was stopped")
                self._closed = self._recycle_after is None
                ours, theirs = wire.pair()
                with theirs:
                    self._process = subprocess.Popen(
                        [*self._command(), str(theirs.fileno())],
                        pass_fds=[theirs.fileno()],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=None if os.environ.get("OCRD_DEBUG") else subprocess.DEVNULL,
                        env=_child_environment(),
                        start_new_session=True,
                    )
                self._on_start(self._process.pid)
                opening = {"config": self._config, "limits": self._limits.__dict__, "policy": self._policy}
                with contextlib.suppress(wire.Closed):  # it has ended: the call finds that too, and says how
                    wire.send(ours, opening | {"parent": os.getpid()})
                self._sock, self._calls = ours, 0
            return self._sock

    def _command(self) -> list[str]:
        return [sys.executable, "-I", "-m", self._module]

    def close(self) -> None:
        """Kills the process and starts no other. Safe from any thread."""
        self._closed = True
        self.stop()

    def stop(self) -> None:
        """Kills the process, if there is one; the next call starts another. Safe from any thread."""
        with self._lock:
            process, sock = self._process, self._sock
            self._process = self._sock = None
        if process is not None:
            process.kill()
            process.wait()
        if sock is not None:
            sock.close()

    def _buried(self) -> str:
        process = self._process
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)  # its own end says more than our kill
        self.stop()
        code = None if process is None else process.wait()
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"broke off (exit code {code})"


def _plain(text: object) -> str:
    """A worker's words if they are short and plain; one that was taken over may say anything."""
    if isinstance(text, str) and len(text) <= REASON_LENGTH and text.isascii() and text.isprintable():
        return text
    return "gave a reason that is not repeated"


def _child_environment() -> dict[str, str]:
    """Only what a worker needs; a credential or a proxy in the service's environment stays there."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "CUDA_VISIBLE_DEVICES") if name in os.environ}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime 1.32 would report to its maker
        "HOME": "/nonexistent",
        "TMPDIR": "/nonexistent",
    }


def serve(
    prepare: Callable[[dict[str, Any]], Callable[[wire.Message], Reply]],
    confinement: Callable[[dict[str, Any]], sandbox.Confinement],
) -> None:
    """The child's main loop: `prepare(config)` once, confined while it loads and more so afterwards, then its
    answer to every message, until the end.

    A `BadFile` becomes a reply that blames the input; any other exception is reported by its type
    alone (its text may quote the document), and the service replaces the process.
    """
    sock = socket.socket(fileno=int(sys.argv[1]))
    with wire.receive(sock) as first:
        config = first.header["config"]
        _confine(Limits(**first.header["limits"]), int(first.header["parent"]))
        walls = confinement(config)
        sandbox.before_loading(walls, first.header["policy"])
        answer = prepare(config)
        sandbox.after_loading(walls)
    while True:
        try:
            message = wire.receive(sock)
        except wire.Closed:
            return
        header: dict[str, Any]
        blobs: Sequence[bytes | int] = ()
        with message:
            try:
                if escapes.KEY in message.header:  # `ocrd doctor` tries the walls from within
                    header = dict(escapes.attempt(message.header[escapes.KEY]))
                else:
                    header, blobs = answer(message)
            except BadFile as error:
                header = {"bad": str(error)}
            except MemoryError:
                header = {"bad": "needs more memory than a worker may have", "spent": True}
            except Exception as error:
                if os.environ.get("OCRD_DEBUG"):
                    raise
                header = {"error": where(error)}
        wire.send(sock, header, blobs)
        for blob in blobs:
            if isinstance(blob, int):
                os.close(blob)


def where(error: Exception) -> str:
    """The exception's type and the line that raised it, never its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    return type(error).__name__ + place


def _confine(limits: Limits, parent: int) -> None:
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # before the process stops being its user's in /proc
    sandbox.no_new_privileges()
    harden_memory()
    socket.has_ipv6 = False  # or urllib3, which a library loads, binds a socket to see whether there is IPv6
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_size, limits.file_size))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits.open_files, limits.open_files))


def harden_memory() -> None:
    """No core dump of this process, and no other process of its user may read its memory."""
    prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")
