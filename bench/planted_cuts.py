"""What only a cut of power shows, which bench/power_cuts.py must see (see bench/planted.py)."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from daemon import database, schema
from planted import Plant, unlink_before_commit
from privacy import files, group, syncfs
from privacy.group import Group


def synchronous_normal() -> None:
    """SQLite commits without a sync: kill -9 can't show it."""

    def normal(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    database.durable = schema.durable = normal


def _without_fsync(kind: Callable[[int], bool]) -> None:
    fsync = os.fsync
    os.fsync = lambda fd: None if kind(os.fstat(fd).st_mode) else fsync(fd)  # type: ignore[assignment]


def no_file_fsync() -> None:
    _without_fsync(stat.S_ISREG)


def no_directory_fsync() -> None:
    _without_fsync(stat.S_ISDIR)


def no_file_system_sync() -> None:
    """Where many files are written at once, nothing syncs them."""
    syncfs.sync_file_system = lambda path, since=None: None


def rename_before_fsync() -> None:
    """The name is there before the content: a journal that is written in between has an empty file under it."""

    @contextmanager
    def replace(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
        with files._temporary(path, mode) as (file, temporary):
            yield file
            file.flush()
            temporary.replace(path)
            os.fsync(file.fileno())
            files.sync_dir(path.parent)

    rename = group.rename_written

    def renamed(groups: Iterable[Group]) -> set[Path]:
        each = list(groups)
        paths = [path for one in each for _, path in one.written]
        folders = rename(each)
        group.sync(paths)
        return folders

    files.replace, group.rename_written, group.sync_written = replace, renamed, lambda groups: None


CUTS = (
    Plant("synchronous=NORMAL", synchronous_normal),
    Plant("no fsync of files", no_file_fsync),
    Plant("no fsync of directories", no_directory_fsync),
    Plant("no sync of many files at once", no_file_system_sync),
    Plant("claim removed before the commit", unlink_before_commit),
    Plant("rename before fsync", rename_before_fsync),
)
