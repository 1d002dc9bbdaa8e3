"""A dropped file as it was seen, and read whole: by way of no link, and only if nobody writes it meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from pathlib import Path

from daemon import wire
from daemon.errors import BadFile

FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Seen = tuple[int, int, int, int, int]
"""Device, inode, size, modification time, change time (nanoseconds): a rename leaves all but the last as they were."""


def seen(status: os.stat_result) -> Seen:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read(path: Path, max_bytes: int) -> bytes:
    """The file's bytes, read once and unchanged while they were read.

    Raises:
        BadFile: not a regular file with one link, or larger than `max_bytes`.
        BlockingIOError: it is still being written, or changed while it was read; try again.
    """
    try:
        fd = os.open(path, FILE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadFile("is a symbolic link") from error
        raise
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode) or before.st_nlink != 1:
            raise BadFile("is not a regular file with one link")
        if before.st_size > max_bytes:
            raise BadFile(f"has {before.st_size} bytes; at most {max_bytes} are taken (ingest.max_file_bytes)")
        if is_written(fd):
            raise BlockingIOError(errno.EAGAIN, "the file is still open for writing")
        data = wire.read_fd(fd, 2**62)
        if seen(before)[:4] != seen(os.fstat(fd))[:4] or len(data) != before.st_size:
            raise BlockingIOError(errno.EAGAIN, "the file changed while it was read")
        return data
    finally:
        os.close(fd)


def is_written(fd: int) -> bool:
    """Whether some process of this machine has the file open for writing, however long it has been silent.

    The kernel grants a read lease on no such file (fcntl(2), F_SETLEASE). It tells owners alone: of a file of another
    user nothing is known, nor on a file system without leases, and then holding still must do.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # should the lease be broken at once: a signal that is ignored
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
