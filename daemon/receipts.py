"""Receipts: one JSON file a document in the outbox, written after its ending is committed.

A receipt is made from the database's row and the sealed text alone, so that one that was lost with
a crash is written again, the same, under the same name. A document has one receipt, of its latest
ending: when `ocrd retry` has been through with it, the new receipt takes the place of the old one,
which stays until then, and `tries` says how many there were.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from daemon.home import Home
from daemon.state import Database
from privacy import files, group
from privacy.group import Group

VERSION = 1
TEXT_BLOB = "text"
_FEW = 8


def write(home: Home, database: Database, *documents: str) -> None:
    """Writes the receipts of ended documents into the outbox, durably."""
    written = Group()
    try:
        for id in documents:
            receipt = json.dumps(compose(home, database, id), indent=1, ensure_ascii=False)
            written.write_bytes(home.settings.outbox_dir / f"{id}.json", receipt.encode(), mode=0o640)
        group.commit([written])
    finally:
        written.abandon()


def destroy(home: Home, documents: Sequence[str]) -> None:
    """Overwrites and removes receipts: they hold text. A missing one is fine.

    Each is first taken from under its name: whoever reads the outbox finds it whole, or not at all.
    """
    group.settle()  # one that was broken off while it was written holds text too
    outbox = home.settings.outbox_dir
    paths = [outbox / f".{id}.json.gone" for id in documents]
    for id, path in zip(documents, paths, strict=True):
        with suppress(FileNotFoundError):
            (outbox / f"{id}.json").replace(path)
    if len(paths) > _FEW:
        files.destroy_all(paths, outbox)
    else:
        for path in paths:
            files.destroy(path)


def compose(home: Home, database: Database, id: str) -> dict[str, Any]:
    """What the user is told about a document: how it ended, what was removed, and the text that is left."""
    row = database.row("SELECT * FROM documents WHERE id = ?", id)
    if row is None:
        raise LookupError(f"No document {id}.")
    receipt: dict[str, Any] = {
        "version": VERSION,
        "document": id,
        "state": row["state"],
        "received": _time(row["arrived"]),
        "ended": _time(row["ended"]),
    }
    if row["tries"] > 1:
        receipt["tries"] = row["tries"]
    for key in ("reason", "pages", "lines", "model"):
        if row[key] is not None:
            receipt[key] = row[key]
    if row["original_of"] is not None:
        receipt["duplicate_of"] = row["original_of"]
    if row["removed"] is not None:
        receipt["removed"] = json.loads(row["removed"])
    if row["original_until"] is not None:
        receipt["original_recoverable_until"] = _time(row["original_until"])
    if row["state"] == "done" and home.settings.outbox_text:
        receipt["text"] = json.loads(home.vault.get(id, TEXT_BLOB))
    return receipt


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
