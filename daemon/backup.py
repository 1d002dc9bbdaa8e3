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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from daemon import config, workers
from daemon.budget import RETIRE
from daemon.erasure import forgotten_slots
from daemon.errors import OcrdError, Refused
from daemon.home import VAULTS, Home, check_owner, lock, open_home
from daemon.schema import COLUMNS
from daemon.state import Database
from privacy import files, ledger, mirror
from privacy.errors import Punctured, SealBroken
from privacy.keys import open_small, seal_small
from privacy.ledger import Head, Ledger, head_path
from privacy.puncture import Range
from privacy.shelf import PURPOSES, ROWS, Shelf

VERSION = 1
MANIFEST = "backup.json"
_COPIED = ("vault", "originals", "failed", "quarantine", "models")
_CLEAR = ("id", "slot", "unit", "pool", "state", "arrived", "ended", "tries")
_WITH_RECEIPT = ("done", "duplicate", "quarantined", "failed")


@dataclass(frozen=True)
class Written:
    """What `backup` did."""

    documents: int
    copied: int
    removed: int


@dataclass(frozen=True)
class Read:
    """What `restore` found. `lost`: rows whose content was not in the backup; `retired`: no unit may teach again."""

    documents: int
    forgotten: int
    lost: int
    retired: bool


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
        database.copy_into(part, (*_CLEAR, "sealed"), partial(_sealed, home.shelf))
    finally:
        database.close()
    copied = sum(mirror.mirror(home.settings.home / name, folder / name) for name in _COPIED)
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
    files.sync_file_system(folder)
    files.move(part, folder / "state.db")
    removed = sum(mirror.prune(folder / name, home.settings.home / name) for name in _COPIED)
    files.sync_file_system(folder)
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
    clear = [row[name] for name in _CLEAR]
    try:
        key = shelf.kek(ROWS, row["slot"], row["id"], shelf.generation)
    except Punctured:
        return [*clear, None]
    values = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in zip(row.keys(), row, strict=True)
        if value is not None and name not in _CLEAR
    }
    return [*clear, seal_small(key, json.dumps(values).encode(), row["id"].encode())]


def restore(home_dir: Path, folder: Path) -> Read:
    """Makes a state folder from a backup and the keys that were put back into `home_dir/keys`.

    Where the ledger is still there, it is kept: it knows what was spent and forgotten since.

    Raises:
        NotInitialised: there are no keys.
        Refused: there are documents already, the keys are of another generation, or the ledgers don't agree.
    """
    workers.harden_memory()
    manifest = _manifest(folder)
    if (home_dir / "state.db").exists():
        raise Refused(f"{home_dir} is in use. Move all but keys/ and ledger/ away; restore makes the rest anew.")
    if not (home_dir / config.FILE_NAME).exists():
        files.write_bytes(home_dir / config.FILE_NAME, (folder / config.FILE_NAME).read_bytes())
    settings = config.load(home_dir)
    check_owner(settings.home)
    for name in (*VAULTS, "ledger", "models", "run", "keys"):
        files.make_dir(settings.home / name)
    for place in (settings.claimed_dir, settings.outbox_dir):
        if not place.exists():
            files.make_dir(place, 0o700 if place == settings.claimed_dir else 0o2750)
    with lock(settings):
        home = open_home(home_dir)
        if home.shelf.generation != manifest["generation"]:
            raise Refused(
                f"The backup was made under keys of generation {manifest['generation']}, and those here are of "
                f"generation {home.shelf.generation}. Put the copy of the keys folder of that time back."
            )
        home.shelf.settle()
        return _restore(home, folder, manifest)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["version"] != VERSION:
            raise Refused(f"Expected a backup of version {VERSION}, got {manifest['version']}.")
        if "made" not in manifest or not (folder / "state.db").exists():
            raise ValueError("begun, not finished")
    except (OSError, ValueError) as error:
        raise Refused(f"{folder} is no backup of ocrd, or one that was never finished.") from error
    return dict(manifest)


def _restore(home: Home, folder: Path, manifest: dict[str, Any]) -> Read:
    retired = _restore_ledger(home, folder, manifest)
    entries = ledger.verify(home.settings.ledger_path, home.signing.public).entries
    cuts = forgotten_slots(entries)
    home.shelf.puncture(dict.fromkeys(PURPOSES, cuts))
    database = Database(folder / "state.db", read_only=True)
    part = home.settings.home / ".state.db.part"
    part.unlink(missing_ok=True)
    try:
        gone = database.ids(lambda slot: _is_gone(home, slot, cuts))
        for name in _COPIED:
            mirror.sweep(home.settings.home / name)
            mirror.mirror(folder / name, home.settings.home / name, skip=lambda path: path.name in gone)
        database.copy_into(part, COLUMNS, partial(_unsealed, home, gone))
    finally:
        database.close()
    files.sync_file_system(home.settings.home)
    files.move(part, home.settings.database_path)
    return _count(home, retired)


def _is_gone(home: Home, slot: int, cuts: Sequence[Range]) -> bool:
    return not home.shelf.holds(ROWS, slot) or any(first <= slot < after for first, after in cuts)


def _restore_ledger(home: Home, folder: Path, manifest: dict[str, Any]) -> bool:
    """Keeps the ledger that is there, if it goes on from the backup's; else takes the backup's. True for the latter.

    What was charged after the backup is then not known, so no unit of it may be charged again.
    """
    path, remembered = home.settings.ledger_path, manifest["ledger"]
    head = None if remembered is None else Head(**remembered)
    if path.exists() and path.stat().st_size:
        report = ledger.verify(path, home.signing.public, remembered=head)
        if not report.ok:
            raise Refused(f"The ledger here does not go on from the backup's: {report.problems[0]}.")
        return False
    if head is None:
        return False
    report = ledger.verify(folder / "ledger" / path.name, home.signing.public, remembered=head)
    if not report.ok:
        raise Refused(f"The backup's ledger does not check: {report.problems[0]}.")
    staged = home.settings.home / ".ledger.part"
    files.remove_tree(staged)
    files.make_dir(staged)
    for name in (path.name, head_path(path).name):
        files.write_bytes(staged / name, (folder / "ledger" / name).read_bytes())
    with Ledger(staged / path.name, home.signing) as book:
        book.append(RETIRE, {"before": _slots(folder)})
    files.move(staged, path.parent)  # in one step: a ledger without that entry is never there
    return True


def _slots(folder: Path) -> int:
    database = Database(folder / "state.db", read_only=True)
    try:
        row = database.row("SELECT COALESCE(MAX(slot) + 1, 0) AS n FROM documents")
        return 0 if row is None else int(row["n"])
    finally:
        database.close()


def _unsealed(home: Home, gone: set[str], row: sqlite3.Row) -> list[Any]:
    """The row of a document that comes back from a backup."""
    values: dict[str, Any] = {"receipt_pending": 0, "erasing": 0, **{name: row[name] for name in _CLEAR}}
    if row["id"] in gone:
        values["state"] = "forgotten"
    else:
        values |= _opened(home, row) | _as_restored(home, row)
        if not home.originals.exists(row["id"]):
            values["original_until"] = None
    return [values.get(name) for name in COLUMNS]


def _opened(home: Home, row: Any) -> dict[str, Any]:
    key = home.shelf.kek(ROWS, row["slot"], row["id"], home.shelf.generation)
    data = open_small(key, row["sealed"] or b"", row["id"].encode())
    if data is None:
        raise SealBroken(row["id"], "row", "authentication failed")
    values = json.loads(data)
    return {n: bytes.fromhex(v) if n.endswith("digest") else v for n, v in values.items()}


def _as_restored(home: Home, row: Any) -> dict[str, Any]:
    """Its state now that only what was in the backup is there, and whether its receipt is to be written anew."""
    vault = {"done": home.vault, "quarantined": home.quarantine, "failed": home.failed}.get(row["state"])
    state = "withdrawn" if row["state"] == "claimed" else row["state"]
    if vault is not None and not vault.exists(row["id"]):
        state = "evicted"
    return {"state": state, "receipt_pending": int(state in _WITH_RECEIPT), "erasing": 0}


def _count(home: Home, retired: bool) -> Read:
    database = Database(home.settings.database_path, read_only=True)
    try:
        counted = database.rows("SELECT state, COUNT(*) AS n FROM documents GROUP BY state")
    finally:
        database.close()
    states = {row["state"]: int(row["n"]) for row in counted}
    kept = sum(states.get(state, 0) for state in _WITH_RECEIPT)
    return Read(kept, states.get("forgotten", 0), states.get("evicted", 0) + states.get("withdrawn", 0), retired)
