"""Taking a failed document up again: from `failed/` back to where a claim stands, under its id and in its slot.

The order is the guarantee: its files are written into a folder beside the claims and synced, the folder becomes the
claim by one rename, and then its row is `claimed` again. A crash before the last step leaves a claim whose document
has ended, which the next start clears away; the sealed copy in `failed/` stays until the new ending is there.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from daemon.errors import Refused
from daemon.home import Home
from daemon.pipeline import NAME_BLOB, ORIGINAL_BLOB, SIDECAR_BLOB
from daemon.state import Database, Documents
from daemon.taking import Claim, is_sidecar
from privacy import files

_STAGED = ".again-"
_READY = "FROM documents WHERE state = 'failed' AND receipt_pending = 0"
_PENDING = "{}: its receipt is not written yet; try again in a moment."


def failed(database: Database) -> list[str]:
    """The documents that can be taken up again, by slot."""
    rows = database.rows(f"SELECT id {_READY} ORDER BY slot")
    return [row["id"] for row in rows]


def take_up(home: Home, database: Database, document: str) -> Claim:
    """Makes a failed document a claim again.

    Raises:
        Refused: it did not fail, or what is sealed of it is no image.
    """
    found = Documents(database).find(document)
    if found is None or found.state != "failed":
        raise Refused(f"{document}: expected a failed document, got {'none' if found is None else found.state}.")
    if database.row(f"SELECT 1 {_READY} AND id = ?", document) is None:
        raise Refused(_PENDING.format(document))
    if not home.failed.exists(document):
        raise Refused(f"{document}: nothing of it is in failed/ any more.")
    name = PurePosixPath(os.fsdecode(home.failed.get(document, NAME_BLOB)))
    if is_sidecar(Path(name)):
        raise Refused(f"{document} is a label file without an image: `ocrd recover` gives it back, to drop with one.")
    claimed = home.settings.claimed_dir
    staged, target = claimed / f"{_STAGED}{document}", claimed / document
    files.remove_tree(staged)
    file = _write(home, document, ORIGINAL_BLOB, staged / name)
    sidecar = None
    if SIDECAR_BLOB in home.failed.names(document):
        sidecar = _write(home, document, SIDECAR_BLOB, file.with_name("labels.txt"))  # an image is never called so
    for folder in {file.parent, staged}:
        files.sync_dir(folder)
    files.remove_tree(target)  # of an earlier try that the disk broke off
    files.move(staged, target)
    try:
        reopened = Documents(database).reopen(document)
    except Exception:
        with suppress(OSError, sqlite3.Error):  # no copy in clear is left, unless it is a claim after all
            database.settle()
            if Documents(database).find(document) == found:
                files.remove_tree(target)
        raise
    if not reopened:
        files.remove_tree(target)
        raise Refused(_PENDING.format(document))
    moved = [None if path is None else target / path.relative_to(staged) for path in (file, sidecar)]
    return Claim(document, target, moved[0], moved[1])


def _write(home: Home, document: str, blob: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with files.replace(path) as file:
        for chunk in home.failed.stream(document, blob):
            file.write(chunk)
    return path


def clear(home: Home, documents: Iterable[str]) -> None:
    """Removes what later tries that were broken off left in clear, of documents that have ended."""
    for document in documents:
        for name in (f"{_STAGED}{document}", document):
            if (folder := home.settings.claimed_dir / name).exists():
                files.remove_tree(folder)


def sweep(home: Home) -> None:
    """At start: removes what a crash left half staged."""
    for folder in home.settings.claimed_dir.glob(f"{_STAGED}*"):
        files.remove_tree(folder)
