"""Messages between the service and its worker processes: a JSON header and blobs, all in memory.

A message is one datagram that carries file descriptors only: the first is a memfd with the JSON
header, the others are the blobs. Nothing touches a disk, a header may be as long as it likes, and
a worker needs no file of its own to hand a page back.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_BLOBS = 250
"""Descriptors that Linux carries in one message (SCM_MAX_FD is 253)."""
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Closed(Exception):
    """The other side has gone."""


def memfd(data: bytes | memoryview) -> int:
    """A sealed in-memory file that holds `data`: whoever receives it knows that it will not change."""
    return memfd_of([data])


def memfd_of(parts: Iterable[bytes | memoryview]) -> int:
    """`memfd` of parts end to end, each written before the next is asked for."""
    fd = os.memfd_create("ocrd", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:
            view = memoryview(part).cast("B") if len(part) else memoryview(b"")
            while len(view):
                view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_fd(fd: int, limit: int) -> bytes:
    """Everything in the file behind `fd`, from its start.

    Raises:
        ValueError: it holds more than `limit` bytes.
    """
    size = os.lseek(fd, 0, os.SEEK_END)  # not fstat: libc asks by path, which no worker may
    if size > limit:
        raise ValueError(f"Expected at most {limit} bytes in a message, got {size}.")
    chunks, offset = [], 0
    while offset < size:
        chunk = os.pread(fd, size - offset, offset)
        if not chunk:
            break
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


@dataclass
class Message:
    """A header and its blobs; closes the descriptors when it is done with."""

    header: dict[str, Any]
    fds: list[int] = field(default_factory=list)

    def blob(self, index: int, limit: int = 2**31) -> bytes:
        return read_fd(self.fds[index], limit)

    def close(self) -> None:
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.fds = []

    def __enter__(self) -> Message:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def send(sock: socket.socket, header: dict[str, Any], blobs: Sequence[bytes | int] = ()) -> None:
    """Sends a header and blobs; a blob is bytes, or a descriptor that stays the caller's.

    Raises:
        Closed: the other side has gone.
    """
    if len(blobs) > MAX_BLOBS:
        raise ValueError(f"Expected at most {MAX_BLOBS} blobs in a message, got {len(blobs)}.")
    made: list[int] = []
    try:
        made.append(memfd(json.dumps(header).encode()))
        fds = [made[0]]
        for blob in blobs:
            if isinstance(blob, int):
                fds.append(blob)
            else:
                made.append(memfd(blob))
                fds.append(made[-1])
        socket.send_fds(sock, [b"m"], fds)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed from error
    finally:
        for fd in made:
            os.close(fd)


def receive(sock: socket.socket, header_limit: int = 2**28) -> Message:
    """The next message; its descriptors are the caller's to close.

    Raises:
        Closed: the other side has gone.
        TimeoutError: nothing came within the socket's timeout.
        ValueError, OSError: what came is no message, or its header is over `header_limit` bytes.
    """
    try:
        data, fds, _flags, _address = socket.recv_fds(sock, 1, MAX_BLOBS + 1)
    except ConnectionResetError as error:
        raise Closed from error
    if not data or not fds:
        for fd in fds:
            os.close(fd)
        raise Closed
    for fd in fds:
        os.set_inheritable(fd, False)
    try:
        header = _header(read_fd(fds[0], header_limit))
    except (ValueError, OSError):
        for fd in fds:
            os.close(fd)
        raise
    os.close(fds[0])
    return Message(header, fds[1:])


def _header(data: bytes) -> dict[str, Any]:
    try:
        header = json.loads(data)
    except RecursionError as error:
        raise ValueError("Expected a header of few levels.") from error
    if not isinstance(header, dict):
        raise ValueError(f"Expected an object as a header, got {type(header).__name__}.")
    return header


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends that keep message boundaries."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
