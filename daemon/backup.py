"""Backups that can't bring back what was forgotten, and the way from one to a state folder.

    FOLDER/state.db          rows: id, slot, unit, pool, state, times in clear, the rest sealed under the slot's key
    FOLDER/vault, originals, quarantine, failed     wrapped data keys and blobs, as they are
    FOLDER/ledger, models, ocrd.toml, backup.json

Keys are never in it: neither the master key nor the key shelf. What opens a document is the *present* shelf, in which
a forgotten slot's key can't be computed any more, so no backup, however old, opens it; `restore` finds its row sealed
for good and leaves a tombstone. If an older copy of the keys folder was put back, its shelf could: so `restore` also
goes by the ledger, and punctures what that says was forgotten (docs/adr/0011-forgetting-and-backups.md).

What is not in it: the inbox, claims that were being processed, and receipts, which are written anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from daemon import config, workers
from daemon.errors import OcrdError, Refused
from daemon.home import Home, open_home
from daemon.state import Database
from privacy import files, ledger, mirror, syncfs
from privacy.errors import Punctured
from privacy.keys import seal_small
from privacy.ledger import Head, head_path
from privacy.shelf import ROWS, Shelf

VERSION = 1
MANIFEST = "backup.json"
COPIED = ("vault", "originals", "failed", "quarantine", "models")
CLEAR = ("id", "slot", "unit", "pool", "state", "arrived", "ended", "tries")


@dataclass(frozen=True)
class Written:
    """What `backup` did."""

    documents: int
    copied: int
    removed: int


def backup(home_dir: Path, folder: Path) -> Written:
    """Brings the backup in `folder` up to date. Reads only; the service may run.

    Raises:
        OcrdError: the folder holds something else, or lies in the state folder.
    """
    workers.harden_memory()
    home = open_home(home_dir)
    if home.shelf.rotating:
        raise Refused("the master key is being replaced: finish that with `ocrd key rotate`, then make the backup")
    if not home.settings.database_path.exists():
        raise OcrdError("There are no documents yet.")
    folder = folder.resolve()
    if folder.is_relative_to(home.settings.home):
        raise OcrdError(f"Expected a folder outside {home.settings.home}, got {folder}.")
    _begin(folder)
    with _alone(folder):
        return _backup(home, folder)


def _backup(home: Home, folder: Path) -> Written:
    _clear(folder)
    part = folder / ".state.db.part"
    database = Database(home.settings.database_path, read_only=True)
    try:
        database.copy_into(part, (*CLEAR, "sealed"), partial(_sealed, home.shelf))
    finally:
        database.close()
    copied = sum(mirror.mirror(home.settings.home / name, folder / name) for name in COPIED)
    head = _copy_ledger(home.settings.ledger_path, folder / "ledger")
    files.write_bytes(folder / config.FILE_NAME, (home.settings.home / config.FILE_NAME).read_bytes())
    if open_home(home.settings.home).shelf.generation != home.shelf.generation:
        raise Refused("the master key was replaced meanwhile: make the backup again")
    manifest = {
        "version": VERSION,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "generation": home.shelf.generation,
        "ledger": None if head is None else asdict(head),
    }
    files.write_bytes(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    syncfs.sync_file_system(folder)
    files.move(part, folder / "state.db")
    removed = sum(mirror.prune(folder / name, home.settings.home / name) for name in COPIED)
    syncfs.sync_file_system(folder)
    return Written(len(home.vault.ids()), copied, removed)


def _begin(folder: Path) -> None:
    """Raises OcrdError for a folder that holds something else."""
    begun = (folder / MANIFEST).exists()
    if not begun and folder.exists() and any(not path.name.endswith(".part") for path in folder.iterdir()):
        raise OcrdError(f"{folder} is not empty, and no backup of ocrd.")
    files.make_dir(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Held while a backup is written: two into one folder would clear away each other's files.

    Raises:
        Refused: another one holds it.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"Another backup into {folder} is being made.") from None
        except OSError:  # a file system without such locks
            pass
        yield
    finally:
        os.close(fd)


def _clear(folder: Path) -> None:
    """Makes the folder ours before anything is in it, and removes what a backup that was broken off left aside."""
    for place in (folder, folder / "ledger"):
        if place.exists():
            files.sweep(place)
    if not (folder / MANIFEST).exists():
        files.write_bytes(folder / MANIFEST, json.dumps({"version": VERSION}).encode())


def _copy_ledger(path: Path, folder: Path) -> Head | None:
    """The ledger and a head that covers it, or less than it; None where there is no ledger yet."""
    files.make_dir(folder)
    head = ledger.read_head(path)  # first: an entry that is appended meanwhile is one beyond it
    if head is None:
        return None
    entries = path.read_bytes().splitlines(keepends=True)[: head.size]
    files.write_bytes(folder / path.name, b"".join(entries))
    files.write_bytes(head_path(folder / path.name), head_path(path).read_bytes())
    return ledger.read_head(folder / path.name)


def _sealed(shelf: Shelf, row: sqlite3.Row) -> list[Any]:
    """A document's row in a backup: what tells of it is under a key that is destroyed when it is forgotten."""
    clear = [row[name] for name in CLEAR]
    try:
        key = shelf.kek(ROWS, row["slot"], row["id"], shelf.generation)
    except Punctured:
        return [*clear, None]
    values = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in zip(row.keys(), row, strict=True)
        if value is not None and name not in CLEAR
    }
    return [*clear, seal_small(key, json.dumps(values).encode(), row["id"].encode())]
