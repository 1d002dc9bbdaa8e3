"""Forgetting, eviction, and the end of originals: what is destroyed, in an order that a crash can't undo.

Forgetting a document, on request:

1. its row becomes a tombstone (id, slot, unit, times, `forgotten`), marked as `erasing`;
2. its slot's keys are destroyed in the key shelf: from here on no copy of its blobs opens, wherever it is;
3. what there is of it in clear goes: its receipt in the outbox, and what a retry that was broken off left;
4. an entry in the ledger says which slots were forgotten, and when;
5. the database's files are cleared of what the row held;
6. its folder in every vault, which nothing opens any more, is removed, the wrapped data key overwritten; then the mark
   is taken off.

A crash anywhere leaves the mark, and `finish` does the rest again at the next start. The slot stays where it is, for
ever, as one without a document: it is charged like the others and never filled again (docs/adr/0002, 0011).

Eviction destroys the oldest slots' keys and blobs, by slot number and clock alone, and keeps the row's digests: a copy
that comes later is still known as one, and teaches nothing a second time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from daemon import drift, receipts, retry
from daemon.errors import OcrdError, Refused
from daemon.home import Home
from daemon.state import Database, Documents
from privacy.ledger import Ledger
from privacy.odometer import ranges, within
from privacy.puncture import Range
from privacy.shelf import ROWS, VAULTS

log = logging.getLogger("ocrd.erasure")

FORGET = "forget"
BUSY_SECONDS = 10.0
_MOST_VALUES = 500
"""Ids in one statement."""
_MOST_RANGES = 50_000
"""Of slots in one entry: a ledger's entry has at most 4 MiB."""
_TOMBSTONE = (
    "UPDATE documents SET state = 'forgotten', erasing = 1, ended = :now, digest = NULL, name_digest = NULL, "
    "source_digest = NULL, folder_digest = NULL, original_of = NULL, reason = NULL, pages = NULL, lines = NULL, "
    "taught = NULL, labelled = NULL, removed = NULL, confidence = NULL, brightness = NULL, contrast = NULL, "
    "model = NULL, original_until = NULL, receipt_pending = 0, tries = 1 WHERE id = :id"
)
_DIGESTS = ("digest", "name_digest", "folder_digest")
_EVICTABLE = "('done', 'duplicate', 'quarantined', 'failed')"


class Erasure:
    """What destroys documents in one state folder; the caller is its one writer.

    Attributes:
        lock: held while anything is destroyed, and by whoever takes a document up again meanwhile.
    """

    def __init__(self, home: Home, database: Database, ledger: Ledger) -> None:
        self._home, self._database, self._ledger = home, database, ledger
        self.lock = threading.RLock()

    def forget(self, documents: Iterable[str]) -> list[Any]:
        """Forgets the documents and all copies of their contents; returns their rows as they were before.

        Those that are forgotten already are passed over.

        Raises:
            OcrdError: there is no such document.
            Refused: one is still being processed; nothing was done.
        """
        ids = [row["id"] for row in with_copies(self._database, documents)]
        with self.lock:
            while (rows := self._buried(ids)) is None:
                self._wait_until_ended(ids)
                ids = [row["id"] for row in with_copies(self._database, ids)]
            needles = {row[column] for row in rows for column in _DIGESTS if row[column] is not None}
            self._finish(rows, list(needles - self._still_used(rows)))
        return rows

    def _buried(self, ids: Sequence[str]) -> list[Any] | None:
        """Step 1; the rows as they were, or None if one has not ended: a copy can come at any moment before."""
        with self._database.transaction() as db:
            found, now = with_copies(self._database, ids), time.time()
            if any(_busy(row) for row in found):
                return None
            rows = [row for row in found if row["state"] != "forgotten"]
            drift.forget(self._database, rows)
            db.executemany(_TOMBSTONE, [{"id": row["id"], "now": now} for row in rows])
        return rows

    def finish(self) -> int:
        """Finishes what a crash or a reader of the database left half done; returns how many documents."""
        with self.lock:
            rows = self._database.rows("SELECT id, slot, state FROM documents WHERE erasing = 1")
            if rows:
                self._finish(rows, [])
        return len(rows)

    def pending(self) -> int:
        """Documents whose forgetting waits for a reader of the database: their keys are gone, old pages are not."""
        return _first(self._database, "SELECT COUNT(*) FROM documents WHERE erasing = ?", 1)

    def evict(self, now: float) -> int:
        """Evicts the slots beyond `retain_documents` and `retain_days`, the oldest first; returns how many.

        The rule reads slot numbers and the clock. A slot that is being processed, and those after it, wait.
        """
        with self.lock:
            horizon = self._horizon(now)
            sql = f"SELECT id, slot, state FROM documents WHERE slot < ? AND state IN {_EVICTABLE}"  # noqa: S608
            rows = self._database.rows(sql, horizon)
            if rows:
                self._home.shelf.puncture(_of(VAULTS, [(0, horizon)]))
                with self._database.transaction() as db:
                    update = "UPDATE documents SET state = 'evicted', erasing = 1, original_until = NULL WHERE id = ?"
                    db.executemany(update, [(row["id"],) for row in rows])
                self._finish([{**dict(row), "state": "evicted"} for row in rows], [])
                log.info("evicted %d documents: those before slot %d", len(rows), horizon)
        return len(rows)

    def _horizon(self, now: float) -> int:
        """The first slot that is kept."""
        ingest = self._home.settings.ingest
        by_count = by_age = 0
        if ingest.retain_documents:
            by_count = _first(self._database, "SELECT MAX(slot) + 1 - ? FROM documents", ingest.retain_documents)
        if ingest.retain_days:
            oldest = now - ingest.retain_days * 86400
            by_age = _first(self._database, "SELECT MAX(slot) + 1 FROM documents WHERE arrived < ?", oldest)
        busy = Documents(self._database).first_unfinished()
        wanted = max(by_count, by_age, 0)
        return wanted if busy is None else min(wanted, busy)

    def _finish(self, rows: Sequence[Any], needles: Sequence[bytes]) -> None:
        """Steps 2 to 6; repeating any of them is harmless."""
        home, ids = self._home, [row["id"] for row in rows]
        forgotten = [row for row in rows if row["state"] != "evicted"]
        if not rows:
            return
        cuts: list[Range] = [(first, after) for first, after in ranges(row["slot"] for row in rows)]
        rows_too: list[Range] = [(row["slot"], row["slot"] + 1) for row in forgotten]
        home.shelf.puncture({**_of(VAULTS, cuts), ROWS: rows_too})
        retry.clear(home, ids)
        receipts.destroy(home, [row["id"] for row in forgotten])
        cleared = True
        try:
            if forgotten:
                self._record([row["slot"] for row in forgotten])
                cleared = self._database.scrub(needles)
        finally:  # on a full disk this makes the room that those need
            for vault in home.vaults:
                vault.shred_all(ids)
        if not cleared:
            log.warning("a reader holds old pages of the database; they are cleared at the next look")
            return
        with self._database.transaction() as db:
            db.executemany("UPDATE documents SET erasing = 0 WHERE id = ?", [(id,) for id in ids])

    def _record(self, slots: Sequence[int]) -> None:
        """The entry in the ledger, for those that have none yet: numbers of slots, and its time. Nothing else."""
        known = sorted(forgotten_slots(self._ledger.entries))  # no slot is in two of them
        new = ranges(slot for slot in slots if not within(slot, known))
        for start in range(0, len(new), _MOST_RANGES):
            self._ledger.append(FORGET, {"slots": new[start : start + _MOST_RANGES]})

    def _wait_until_ended(self, ids: Sequence[str]) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while busy := [row["id"] for row in _rows(self._database, "id IN", ids) if _busy(row)]:
            if time.monotonic() > deadline:
                raise Refused(
                    f"{', '.join(busy[:5])}: still being processed, or without a receipt yet; nothing was forgotten. "
                    "Try again when `ocrd status` shows no claimed documents."
                )
            time.sleep(0.05)

    def _still_used(self, rows: Sequence[Any]) -> set[bytes]:
        """Digests of the forgotten that other documents bear of their own: a name that came again, say."""
        found: set[bytes] = set()
        for column in _DIGESTS:
            values = [row[column] for row in rows if row[column] is not None]
            found.update(row[column] for row in _rows(self._database, f"{column} IN", values))
        return found


def _busy(row: Any) -> bool:
    return bool(row["state"] == "claimed" or row["receipt_pending"])


def _of(purposes: Sequence[str], cuts: Sequence[Range]) -> dict[str, Sequence[Range]]:
    return {purpose: cuts for purpose in purposes}  # noqa: C420  shared, and never changed


def with_copies(database: Database, documents: Iterable[str]) -> list[Any]:
    """The documents' rows and those of every copy of their contents in the same source, by slot.

    Raises:
        OcrdError: there is no such document.
    """
    ids = list(dict.fromkeys(documents))
    rows = {row["id"]: row for row in _rows(database, "id IN", ids)}
    if missing := [id for id in ids if id not in rows]:
        raise OcrdError(f"There is no document {missing[0]}. Ids are in the receipts; `ocrd find NAME` looks one up.")
    contents = {(row["digest"], row["source_digest"]) for row in rows.values() if row["digest"] is not None}
    copies = _rows(database, "digest IN", [digest for digest, _ in contents])
    rows |= {row["id"]: row for row in copies if (row["digest"], row["source_digest"]) in contents}
    return sorted(rows.values(), key=lambda row: int(row["slot"]))


def _rows(database: Database, condition: str, values: Sequence[Any]) -> list[Any]:
    """The documents for which `condition` (a column and IN) holds with the values."""
    found: list[Any] = []
    for start in range(0, len(values), _MOST_VALUES):
        some = values[start : start + _MOST_VALUES]
        marks = ", ".join("?" * len(some))
        found += database.rows(f"SELECT * FROM documents WHERE {condition} ({marks})", *some)  # noqa: S608
    return found


def _first(database: Database, sql: str, value: float) -> int:
    row = database.row(sql, value)
    return 0 if row is None or row[0] is None else int(row[0])


def forgotten_slots(entries: Iterable[Any]) -> list[Range]:
    """The slots that a ledger's entries say were forgotten."""
    return [(first, after) for entry in entries if entry.kind == FORGET for first, after in entry.body["slots"]]


def shred_originals(home: Home, database: Database) -> int:
    """Destroys the sealed originals whose time has come, in backups too; returns how many."""
    documents, now = Documents(database), time.time()
    due = documents.originals_due(now)
    if due:
        slots = [row["slot"] for row in _rows(database, "id IN", due)]
        kept = (
            "SELECT COALESCE(MIN(slot), -1) FROM documents "
            "WHERE original_until > ? OR state IN ('claimed', 'failed', 'quarantined')"
        )
        first = _first(database, kept, now)
        before = max(slots) + 1 if first < 0 else first  # no slot before it has an original, or will get one
        home.shelf.puncture({"originals": [*[(a, b) for a, b in ranges(slots)], (0, before)]})
        home.originals.shred_all(due)
        documents.originals_gone(due)
        log.info("shredded %d originals", len(due))
    return len(due)
