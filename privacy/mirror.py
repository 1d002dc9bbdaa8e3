"""Bringing a copy of a folder up to date: what is new or changed first, what has gone last, and one sync by the caller.

For backups. Nothing here is durable by itself (`privacy.files` has what is): a copy that a crash cut short is brought
up to date by the next run, and files appear whole or not at all.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def mirror(source: Path, target: Path, skip: Callable[[Path], bool] = lambda path: False) -> int:
    """Brings `target` up to date with a folder that may change meanwhile: new and changed files, links as links.

    A file is taken for unchanged by size and modification time; each appears whole or not at all. Nothing is removed
    (`prune` does). The caller syncs. Returns how many files were copied.
    """
    copied = 0
    target.mkdir(mode=0o700, exist_ok=True)
    for name in sorted(os.listdir(source)):  # noqa: PTH208  a million documents: names, not paths
        path = source / name
        with suppress(FileNotFoundError):  # it went meanwhile
            if path.name.endswith(".part") or skip(path):
                continue
            if path.is_dir() and not path.is_symlink():
                copied += mirror(path, target / path.name, skip)
            elif not _same(path, target / path.name):
                temporary = target / f".{path.name[:40]}.{secrets.token_hex(8)}.part"
                if path.is_symlink():  # shutil takes a link that can't be looked at for what it leads to
                    temporary.symlink_to(path.readlink())
                else:
                    shutil.copy2(path, temporary, follow_symlinks=False)
                temporary.replace(target / path.name)
                copied += 1
    return copied


def sweep(target: Path) -> None:
    """Removes the temporary files that a `mirror` which was broken off left in a folder, and in those beneath it."""
    for folder, folders, names in os.walk(target):
        for name in (*names, *folders):
            if name.startswith(".") and name.endswith(".part"):
                Path(folder, name).unlink()


def _there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _same(one: Path, other: Path) -> bool:
    try:
        a, b = one.lstat(), other.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(a.st_mode) and stat.S_ISLNK(b.st_mode):
        return one.readlink() == other.readlink()
    return (a.st_size, a.st_mtime_ns, a.st_mode) == (b.st_size, b.st_mtime_ns, b.st_mode)


def prune(target: Path, source: Path) -> int:
    """Removes from `target` what is not in `source` any more; returns how many entries. The caller syncs.

    Raises:
        OSError: the disk does not say whether something is there: that must not be taken for its absence.
    """
    gone = 0
    for name in os.listdir(target):  # noqa: PTH208
        path = target / name
        folder = path.is_dir() and not path.is_symlink()
        if _there(source / name):
            gone += prune(path, source / name) if folder else 0
        else:
            shutil.rmtree(path) if folder else path.unlink(missing_ok=True)
            gone += 1
    return gone
