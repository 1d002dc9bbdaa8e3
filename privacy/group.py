"""Files that become durable together: one round of syncs for many, where `files.replace` takes two each.

The order is that of a single file, batched: all are written aside, then synced, then renamed into place, then their
folders are synced. Until `commit` has returned nothing may rest on any of them, and each path holds its old content
or its new one. When it has returned, all of them survive a power cut.

A sync that failed is never tried again on the same file: the kernel may have dropped what it could not write and
say yes the second time. Write the files anew.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from privacy import files, syncfs

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FEW = 8
"""Up to so many are synced one by one; for more, the whole file system once."""


_left: set[str] = set()
"""Temporary files that are of no use any more and that the disk has not let go yet."""


class Group:
    """What one document, say, wants written; nothing of it is there before `commit`."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str]] = []
        """Temporary files, and what they are to become."""
        self.folders: set[str] = set()
        """In which a folder was made."""
        self.begun = syncfs.failed_syncs()

    def write(self, path: str, parts: Iterable[bytes], mode: int = 0o600) -> None:
        """As `files.replace`, but that `path` changes at `commit`."""
        folder, name = os.path.split(path)
        temporary = f"{folder}/.{name[:40]}.{secrets.token_hex(8)}.part"
        fd = os.open(temporary, _NEW, mode)
        self.written.append((temporary, path))
        try:
            os.fchmod(fd, mode)
            for part in parts:
                with files.named(temporary):
                    rest = memoryview(part)
                    while rest:
                        rest = rest[os.write(fd, rest) :]
        finally:
            os.close(fd)

    def write_bytes(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        self.write(str(path), (data,), mode)

    def make_dir(self, path: str, mode: int = 0o700) -> None:
        """Creates a folder; its name is durable after `commit`. Raises `FileExistsError`."""
        os.mkdir(path, mode)
        self.folders.add(os.path.dirname(path))

    def abandon(self) -> None:
        """Removes what was written aside and is not in its place, now or with what is abandoned later."""
        for temporary, _ in self.written:
            _left.add(temporary)
        with suppress(OSError):  # the error that led here is the one to tell of
            settle()
        self.written.clear()
        self.folders.clear()


def settle() -> None:
    """Removes what was abandoned and the disk has kept until now.

    Raises:
        OSError: it still keeps some of it; the rest is gone.
    """
    refused = None
    for temporary in tuple(_left):
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        except OSError as error:
            refused = error
            continue
        _left.discard(temporary)
    if refused is not None:
        raise refused


def commit(groups: Sequence[Group]) -> int:
    """Puts the files of all groups in their places, durably; returns how many.

    Raises:
        OSError: some may be in their places; abandon the groups.
    """
    count = sum(len(group.written) for group in groups)
    sync_written(groups)
    sync(rename_written(groups))
    return count


def sync_written(groups: Sequence[Group]) -> None:
    """First step of `commit`: what was written aside is on the medium."""
    begun = min((group.begun for group in groups), default=None)
    sync((temporary for group in groups for temporary, _ in group.written), begun)


def rename_written(groups: Iterable[Group]) -> set[str]:
    """Second step: each file gets its name; returns the folders that are still to be synced."""
    folders = set()
    for group in groups:
        for temporary, path in group.written:
            os.rename(temporary, path)
            folders.add(os.path.dirname(path))
        folders |= group.folders
        group.written.clear()
        group.folders.clear()
    return folders


def sync(paths: Iterable[str], since: int | None = None) -> None:
    """Files and folders reach the medium: each by itself if they are few, else all of their file systems.

    `since` as in `syncfs.sync_file_system`.
    """
    each = list(paths)
    if len(each) <= FEW:
        for path in each:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                with files.named(path):
                    os.fsync(fd)
            finally:
                os.close(fd)
        return
    folders = {os.path.dirname(path) for path in each}
    for folder in {os.stat(folder).st_dev: folder for folder in folders}.values():
        syncfs.sync_file_system(Path(folder), since)
