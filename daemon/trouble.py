"""What the machine refuses: where, what, and what to do about it; and trying again until it does no more.

A file that was dropped may bear a name that is private, so of what lies in the inbox or among the claims only the
folder is named.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from daemon.errors import DiskRefused, HeldByCommand, NotMounted

T = TypeVar("T")

FIRST_DELAY, MOST_DELAY = 1.0, 60.0
"""Seconds until the next try: 1, 2, 4 ... 60."""

_OURS = (NotMounted, HeldByCommand)
"""What a start waits for as well."""
_ROOM = "make room on that file system"
_RIGHTS = "give the service's user its rights back (`ocrd doctor` says which)"
_DISK = "the disk or its controller fails: look into the kernel's log, and bring the state folder to a sound one"
_MOUNT = "see whether it is mounted"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: "raise the quota of the service's user, or make room",
    errno.EIO: _DISK,
    errno.EROFS: "mount it writable; a disk that fails is made read-only by the kernel",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EBUSY: "end what holds it",
    errno.EMFILE: "raise the limit of open files",
    errno.ENFILE: "raise the limit of open files",
    errno.ESTALE: _MOUNT,
    errno.ENOTCONN: _MOUNT,
    errno.EHOSTDOWN: _MOUNT,
    errno.ETIMEDOUT: _MOUNT,
}
_SQLITE = (
    ("SQLITE_FULL", errno.ENOSPC),
    ("SQLITE_IOERR", errno.EIO),
    ("SQLITE_READONLY", errno.EACCES),
    ("SQLITE_CANTOPEN", errno.EACCES),
    ("SQLITE_PERM", errno.EACCES),
    ("SQLITE_BUSY", errno.EBUSY),
    ("SQLITE_LOCKED", errno.EBUSY),
)


def _number(error: BaseException) -> int | None:
    if isinstance(error, sqlite3.OperationalError):
        name = getattr(error, "sqlite_errorname", "") or ""
        return next((number for start, number in _SQLITE if name.startswith(start)), None)
    return error.errno if isinstance(error, OSError) and error.errno in _REMEDIES else None


def is_trouble(error: BaseException) -> bool:
    """Whether it is the machine's, and may end by itself or by somebody's hand."""
    return isinstance(error, _OURS) or _number(error) is not None


def cause(error: BaseException) -> str:
    """What is the matter, whichever file met it."""
    number = _number(error) or getattr(error, "errno", None)
    return os.strerror(number) if number else type(error).__name__


class Told:
    """Whose causes have been logged: a full disk is one line a minute, however many documents meet it.

    Safe from any thread. Times are seconds of one clock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._more: Counter[str] = Counter()

    def first(self, cause: str, now: float) -> bool:
        """Whether nobody told of it within the last minute; if somebody did, it is counted."""
        with self._lock:
            if now - self._since.get(cause, -math.inf) >= MOST_DELAY:
                self._since[cause] = now
                return True
            self._more[cause] += 1
            return False

    def others(self, now: float) -> list[tuple[str, int]]:
        """What was counted for a minute, and is now told of."""
        with self._lock:
            due = [cause for cause in self._more if now - self._since[cause] >= MOST_DELAY]
            self._since |= dict.fromkeys(due, now)
            return [(cause, self._more.pop(cause)) for cause in due]


def explain(error: BaseException, home: Path) -> str:
    """One sentence: where, what, what to do. Nothing private."""
    if isinstance(error, _OURS):
        return str(error)
    if isinstance(error, BlockingIOError):  # of a file that somebody writes, or that changed: our own words
        return str(error.strerror)
    number = _number(error) or getattr(error, "errno", None)
    if number is None:
        return type(error).__name__
    name = getattr(error, "filename", None)
    if isinstance(error, sqlite3.Error):
        where = f"{home / 'state.db'} ({error.sqlite_errorname})"
    elif isinstance(name, (str, bytes)) and Path(os.fsdecode(name)).is_absolute():
        where = str(_public(Path(os.fsdecode(name))))
    else:
        where = str(home)
    remedy = _MOUNT if number == errno.ENOENT else _REMEDIES.get(number)  # what is gone may be for good: no trouble
    return f"{where}: {os.strerror(number)}" + (f"; {remedy}" if remedy else "")


def _public(path: Path) -> Path:
    """The path without what may be private in it, or what nobody knows: a file's name of passing use."""
    for private in ("inbox", ".claimed", "claimed"):
        if private in path.parts:
            return Path(*path.parts[: path.parts.index(private) + 1])
    return path.parent if path.name.endswith(".part") else path


def refused(error: BaseException, home: Path) -> DiskRefused:
    return DiskRefused(f"{explain(error, home)}. Nothing was lost; then try again.")


def logged(
    work: Callable[[], object], home: Path, log: logging.Logger, again: str = "it is tried again within ten minutes"
) -> bool:
    """Whether `work` could be done; what the machine refuses is logged, and left for the next time."""
    try:
        work()
    except (OSError, sqlite3.OperationalError) as error:
        if not is_trouble(error):
            raise
        log.error("%s; %s", explain(error, home), again)
        return False
    return True


def patiently(
    work: Callable[[], T],
    home: Path,
    stopping: threading.Event,
    log: logging.Logger,
    waiting: Callable[[str, float], None] = lambda why, delay: None,
) -> T:
    """What `work` returns, tried again after 1, 2, 4 ... 60 seconds for as long as the machine refuses.

    Args:
        waiting: is told why and for how long before each wait.

    Raises:
        DiskRefused: `stopping` was set meanwhile.
    """
    delay = FIRST_DELAY
    while True:
        try:
            return work()
        except (OSError, sqlite3.OperationalError, *_OURS) as error:
            if not is_trouble(error):
                raise
            log.error("%s; again in %g s", explain(error, home), delay)
            waiting(explain(error, home), delay)
            if stopping.wait(delay):
                raise refused(error, home) from None
            delay = min(2 * delay, MOST_DELAY)
