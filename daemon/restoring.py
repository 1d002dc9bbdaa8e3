"""From a backup and the keys that were put back to a state folder: what was forgotten meanwhile stays forgotten.

See `daemon.backup` for what is in one, and docs/adr/0011-forgetting-and-backups.md.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from daemon import config, workers
from daemon.backup import CLEAR, COPIED, MANIFEST, VERSION
from daemon.budget import RETIRE
from daemon.erasure import forgotten_slots
from daemon.errors import NotInitialised, Refused
from daemon.home import VAULTS, Home, lock, open_home
from daemon.schema import COLUMNS
from daemon.state import Database
from privacy import files, ledger, mirror, syncfs
from privacy.errors import SealBroken
from privacy.keys import open_small
from privacy.ledger import Head, Ledger, head_path
from privacy.odometer import within
from privacy.puncture import Range
from privacy.shelf import PURPOSES, ROWS

MARK = "restoring"
"""Lies in the state folder from before the database takes its place to the end, or to the next start."""
_WITH_RECEIPT = ("done", "duplicate", "quarantined", "failed")


@dataclass(frozen=True)
class Read:
    """What `restore` found. `lost`: rows whose content was not in the backup; `retired`: no unit may teach again."""

    documents: int
    forgotten: int
    lost: int
    retired: bool


def restore(home_dir: Path, folder: Path) -> Read:
    """Makes a state folder from a backup and the keys that were put back into `home_dir/keys`.

    Where the ledger is still there, it is kept: it knows what was spent and forgotten since.

    Raises:
        NotInitialised: there are no keys.
        Refused: there are documents already, the keys are of another generation, or the ledgers don't agree.
    """
    workers.harden_memory()
    manifest = _manifest(folder)
    if not home_dir.is_dir():
        raise NotInitialised(f"{home_dir} is not there. Make it, and put your copy of the keys folder into it.")
    if (home_dir / "state.db").exists():
        return _ended(home_dir)
    for name in (config.FILE_NAME, MARK):
        files.sweep(home_dir, f".{name}.")  # of a restore that was broken off
    if not (home_dir / config.FILE_NAME).exists():
        files.write_bytes(home_dir / config.FILE_NAME, (folder / config.FILE_NAME).read_bytes())
    settings = config.load(home_dir)
    config.check_owner(settings.home)
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


def settle(home_dir: Path) -> None:
    """At a start: the restore before it has ended, however it did."""
    if (home_dir / MARK).exists():
        files.remove_synced(home_dir / MARK)


def _ended(home_dir: Path) -> Read:
    """After a restore that the disk broke off at its last step: the database is in its place, whole."""
    if not (home_dir / MARK).exists():
        raise Refused(f"{home_dir} is in use. Move all but keys/ and ledger/ away; restore makes the rest anew.")
    settings = config.load(home_dir)
    with lock(settings):
        home = open_home(home_dir)
        files.sync_dir(home_dir)
        entries = ledger.verify(settings.ledger_path, home.signing.public).entries
        return _done(home, retired=bool(entries) and entries[-1].kind == RETIRE)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["version"] != VERSION:
            raise Refused(f"Expected a backup of version {VERSION}, got {manifest['version']}.")
        if "made" not in manifest or not (folder / "state.db").exists():
            raise ValueError("begun, not finished")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        raise Refused(f"{folder} is no backup of ocrd, or one that was never finished.") from error
    return dict(manifest)


def _restore(home: Home, folder: Path, manifest: dict[str, Any]) -> Read:
    retired = _restore_ledger(home, folder, manifest)
    entries = ledger.verify(home.settings.ledger_path, home.signing.public).entries
    cuts = sorted(forgotten_slots(entries))
    home.shelf.puncture(dict.fromkeys(PURPOSES, cuts))
    database = Database(folder / "state.db", read_only=True)
    part = home.settings.home / ".state.db.part"
    part.unlink(missing_ok=True)
    try:
        gone = database.ids(lambda slot: _is_gone(home, slot, cuts))
        unrecorded = database.ids(lambda slot: not home.shelf.holds(ROWS, slot) and not within(slot, cuts))
        for name in COPIED:
            mirror.sweep(home.settings.home / name)
            mirror.mirror(folder / name, home.settings.home / name, skip=lambda path: path.name in gone)
        database.copy_into(part, COLUMNS, partial(_unsealed, home, gone, unrecorded))
    finally:
        database.close()
    syncfs.sync_file_system(home.settings.home)
    files.write_bytes(home.settings.home / MARK, b"")
    files.move(part, home.settings.database_path)
    return _done(home, retired)


def _is_gone(home: Home, slot: int, cuts: Sequence[Range]) -> bool:
    return not home.shelf.holds(ROWS, slot) or within(slot, cuts)


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


def _unsealed(home: Home, gone: set[str], unrecorded: set[str], row: sqlite3.Row) -> list[Any]:
    """The row of a document that comes back from a backup; what was half destroyed then, the next start finishes."""
    values: dict[str, Any] = {"receipt_pending": 0, "erasing": 0, **{name: row[name] for name in CLEAR}}
    if row["id"] in gone:
        values |= {"state": "forgotten", "erasing": int(row["id"] in unrecorded)}
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
    return {"state": state, "receipt_pending": int(state in _WITH_RECEIPT)}


def _done(home: Home, retired: bool) -> Read:
    found = _count(home, retired)
    with suppress(OSError):  # the next start does
        files.remove_synced(home.settings.home / MARK)
    return found


def _count(home: Home, retired: bool) -> Read:
    database = Database(home.settings.database_path, read_only=True)
    try:
        counted = database.rows("SELECT state, COUNT(*) AS n FROM documents GROUP BY state")
    finally:
        database.close()
    states = {row["state"]: int(row["n"]) for row in counted}
    kept = sum(states.get(state, 0) for state in _WITH_RECEIPT)
    return Read(kept, states.get("forgotten", 0), states.get("evicted", 0) + states.get("withdrawn", 0), retired)
