"""Where each document has got to, in the database that `daemon.database` opens.

It holds no content and no name in clear: a document is known by a random id, keyed digests and numbers. Every arrival
takes the next slot, for ever, duplicates and failures too; a slot number therefore says nothing about anybody's
content. Arrivals of one source share a unit, whose number is its first slot's (docs/adr/0002-unit-of-privacy.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from daemon.database import Database
from daemon.schema import ENDINGS, SCHEMA_VERSION, Arrival, Ending

__all__ = ["ENDINGS", "SCHEMA_VERSION", "Arrival", "Database", "Documents", "Ending"]

_UNFINISHED = ("state = 'claimed'", "receipt_pending = 1")
_OWN = "JOIN documents AS own ON own.id = :id"
_DONE = "(+documents.state = 'done' OR +documents.state = 'evicted' AND documents.lines IS NOT NULL)"
_COPIES = f"documents.digest = :digest AND {_DONE} AND documents.source_digest IS own.source_digest"
"""Finished copies of a content: among the documents of one source, or among those that are units of their own."""
_LATER_TEACH_NOTHING = (
    "UPDATE documents SET taught = 0, labelled = 0 WHERE id IN "  # noqa: S608
    f"(SELECT documents.id FROM documents {_OWN} WHERE {_COPIES} "
    "AND +documents.slot > own.slot AND own.state = 'claimed')"
)
"""A plus keeps SQLite from going by state, which is through all documents, for a handful of copies."""


class Documents:
    """Arrivals and how they ended."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def arrive(
        self,
        id: str,
        now: float,
        name_digest: bytes,
        pool_of: Callable[[int], str],
        source_digest: bytes | None = None,
        folder_digest: bytes | None = None,
    ) -> Arrival:
        """Gives the document the next slot, and its source's unit; calling again with the same id changes nothing.

        One that was withdrawn because its claim was not to be found is taken up again, as its next try: the claim
        folder may have lain on a disk that was not mounted.

        Args:
            id: the document's random id.
            now: seconds since the epoch.
            name_digest: keyed digest of the file's name, for `ocrd find`.
            pool_of: number of a new unit -> "train" or "holdout", the keyed coin. A unit keeps its pool.
            source_digest: keyed digest of the source's name; None for a document that is a unit of its own.
            folder_digest: keyed digest of its top folder's name, whatever the unit, for `ocrd forget --source`.
        """
        with self._db.transaction() as db:
            known = self.find(id)
            if known is not None and known.state == "withdrawn":
                sql = "UPDATE documents SET state = 'claimed', ended = NULL, tries = tries + 1 WHERE id = ?"
                db.execute(sql, (id,))
                known = self.find(id)
            if known is not None:
                return known
            slot = db.execute("SELECT COALESCE(MAX(slot) + 1, 0) FROM documents").fetchone()[0]
            source = None
            if source_digest is not None:
                by_source = "SELECT unit, pool FROM documents WHERE source_digest = ? LIMIT 1"
                source = db.execute(by_source, (source_digest,)).fetchone()
            unit, pool = source or (slot, pool_of(slot))
            db.execute(
                "INSERT INTO documents (id, slot, unit, pool, state, arrived, name_digest, source_digest, "
                "folder_digest) VALUES (?, ?, ?, ?, 'claimed', ?, ?, ?, ?)",
                (id, slot, unit, pool, now, name_digest, source_digest, folder_digest),
            )
            return Arrival(id, slot, unit, pool, "claimed")

    def find(self, id: str) -> Arrival | None:
        row = self._db.row("SELECT id, slot, unit, pool, state FROM documents WHERE id = ?", id)
        return None if row is None else Arrival(*row)

    def original_of(self, id: str, digest: bytes) -> str | None:
        """The finished document of which this one, with that content, is a copy: one source, a lower slot.

        On a later try any slot will do: rounds may have learned from the copy since, and a content teaches once.
        """
        earlier = "(+documents.slot < own.slot OR own.tries > 1 AND documents.id != own.id)"
        row = self._db.row(
            f"SELECT documents.id FROM documents {_OWN} WHERE {_COPIES} AND {earlier}",  # noqa: S608
            id=id,
            digest=digest,
        )
        return None if row is None else str(row["id"])

    def end(self, id: str, ending: Ending, now: float) -> Ending:
        """Records the ending, with a receipt still to be written; returns the ending that holds.

        Of copies of one content the one in the lowest slot teaches, in whatever order they are read: that must not
        hang on how long other documents take. A round waits for all slots before it, so none has learned from a
        later copy before. An ended document keeps its first ending.
        """
        with self._db.transaction() as db:
            if ending.state == "done" and ending.digest is not None:
                if (twin := self.original_of(id, ending.digest)) is not None:
                    ending = Ending("duplicate", digest=ending.digest, original_of=twin)
                else:
                    db.execute(_LATER_TEACH_NOTHING, {"id": id, "digest": ending.digest})
            values = dict(ending.__dict__)
            values["removed"] = None if ending.removed is None else json.dumps(ending.removed, sort_keys=True)
            names = ", ".join(f"{name} = :{name}" for name in values)
            db.execute(
                f"UPDATE documents SET {names}, ended = :now, receipt_pending = 1 WHERE id = :id AND state = 'claimed'",  # noqa: S608
                {**values, "id": id, "now": now},
            )
        return ending

    def receipt_written(self, *ids: str) -> None:
        with self._db.transaction() as db:
            db.executemany("UPDATE documents SET receipt_pending = 0 WHERE id = ?", [(id,) for id in ids])

    def closed(self, id: str, reason: str) -> None:
        """A quarantined document whose case an operator closed; its slot stays what it is. Its receipt is anew."""
        with self._db.transaction() as db:
            db.execute("UPDATE documents SET reason = ?, receipt_pending = 1 WHERE id = ?", (reason, id))

    def unfinished(self) -> tuple[list[str], list[str]]:
        """Ids that are claimed but not ended, and ids that ended without a receipt yet."""
        claimed = self._db.rows("SELECT id FROM documents WHERE state = 'claimed'")
        pending = self._db.rows("SELECT id FROM documents WHERE receipt_pending = 1")
        return [r["id"] for r in claimed], [r["id"] for r in pending]

    def waiting(self, most: int) -> list[str]:
        """Ids of documents that are not ended, or have no receipt yet; the lowest slots, in their order."""
        sql = "SELECT slot, id FROM documents WHERE {} ORDER BY slot LIMIT ?"
        found = [self._db.rows(sql.format(each), most) for each in _UNFINISHED]  # each by its index
        return [id for _, id in sorted({(row["slot"], row["id"]) for rows in found for row in rows})[:most]]

    def waits(self, id: str) -> bool:
        """Whether it is not ended, or has no receipt yet."""
        return self._db.row(f"SELECT 1 FROM documents WHERE id = ? AND ({' OR '.join(_UNFINISHED)})", id) is not None  # noqa: S608

    def first_unfinished(self) -> int | None:
        """The lowest slot whose document is not ended, or has no receipt yet."""
        slots = [self._db.row(f"SELECT MIN(slot) AS slot FROM documents WHERE {each}") for each in _UNFINISHED]  # noqa: S608
        return min((row["slot"] for row in slots if row is not None and row["slot"] is not None), default=None)

    def withdraw(self, id: str, now: float) -> None:
        """A slot whose file was never taken: the crash came before the claim. It stays empty."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE documents SET state = 'withdrawn', ended = ? WHERE id = ? AND state = 'claimed'",
                (now, id),
            )

    def reopen(self, id: str) -> bool:
        """A failed document is taken up again, in its old slot, as its next try; False if it is in another state."""
        sql = (
            "UPDATE documents SET state = 'claimed', tries = tries + 1, ended = NULL, reason = NULL, digest = NULL, "
            "pages = NULL WHERE id = ? AND state = 'failed' AND receipt_pending = 0"
        )
        with self._db.transaction() as db:
            return db.execute(sql, (id,)).rowcount == 1

    def originals_due(self, now: float) -> list[str]:
        rows = self._db.rows("SELECT id FROM documents WHERE original_until IS NOT NULL AND original_until <= ?", now)
        return [r["id"] for r in rows]

    def originals_gone(self, ids: Sequence[str]) -> None:
        with self._db.transaction() as db:
            db.executemany("UPDATE documents SET original_until = NULL WHERE id = ?", [(id,) for id in ids])
