"""One sync for all that was written on a file system, and what the kernel tells of what it lost."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_syncing, _failed = threading.Lock(), [0]
_hearing: dict[int, list[int]] = {}
"""Descriptors that hear of what their file system loses, by its device."""


@contextmanager
def hearing(path: Path) -> Iterator[None]:
    """While it is entered, `sync_file_system` hears of all that the file system of `path` loses.

    Without, it does not hear what another process's sync has heard before: the kernel tells that each descriptor that
    was open when it happened, and of those that come later the first. It can't be unmounted meanwhile.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    heard = _hearing.setdefault(os.fstat(fd).st_dev, [])
    heard.append(fd)
    try:
        yield
    finally:
        with _syncing:
            heard.remove(fd)
        os.close(fd)


def failed_syncs() -> int:
    """How many times `sync_file_system` has failed in this process."""
    return _failed[0]


def sync_file_system(path: Path, since: int | None = None) -> None:
    """Everything written so far on the file system that holds `path` is on the medium: one sync for many files.

    Args:
        since: `failed_syncs` before the first of the writes. The kernel tells once that it lost something, the first
            who asks, and that may be another thread: all who wrote before it hear of it here.

    Raises:
        OSError: the medium failed.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _syncing:
            hears = next(iter(_hearing.get(os.fstat(fd).st_dev, ())), fd)
            number = ctypes.get_errno() or errno.EIO if _LIBC.syncfs(hears) != 0 else 0
            _failed[0] += number != 0
            if number == 0 and since not in (None, _failed[0]):
                number = errno.EIO
        if number != 0:
            raise OSError(number, os.strerror(number), os.fspath(path))
    finally:
        os.close(fd)
