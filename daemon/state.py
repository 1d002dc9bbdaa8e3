"""Where each document, round and model has got to: one SQLite database, opened here alone.

WAL with `synchronous=FULL`: what a method has returned from survives a power cut. The database
holds no content and no name in clear: a document is known by a random id, keyed digests and
numbers. Every arrival takes the next slot, for ever, duplicates and failures too; a slot number
therefore says nothing about anybody's content. Arrivals of one source share a unit, whose number is
its first slot's (docs/adr/0002-unit-of-privacy.md).
"""

from __future__ import annotations

import json
import mmap
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.errors import NotInitialised
from daemon.schema import ENDINGS, SCHEMA, SCHEMA_VERSION, Arrival, Ending

__all__ = ["ENDINGS", "SCHEMA_VERSION", "Arrival", "Database", "Documents", "Ending"]

BUSY_SECONDS, SCRUB_SECONDS = 10.0, 5.0
"""How long a statement waits for another process, and `scrub` for readers."""
_MOST_NEEDLES = 64
"""A rebuild takes about as long as so many searches."""


class Database:
    """The connection, its transactions, and the schema."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._connection = sqlite3.connect(
            uri, uri=True, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS
        )
        self._connection.row_factory = sqlite3.Row
        self._path = path
        self._lock = threading.RLock()
        if not read_only:
            path.chmod(0o600)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute("PRAGMA temp_store = MEMORY")
            self._make()
        self._check()

    def _make(self) -> None:
        with self.transaction() as db:
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in SCHEMA.split(";\n"):
                    if statement.strip():
                        db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _check(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            self._connection.close()
            raise NotInitialised(
                f"Expected state.db of version {SCHEMA_VERSION}, got version {version}, of another release of ocrd. "
                "Use that release, or make a new state folder with `ocrd init`."
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commits on leaving (fsync), rolls back on an exception; one at a time among threads."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any, **named: Any) -> sqlite3.Row | None:
        with self._lock:
            row: sqlite3.Row | None = self._connection.execute(sql, named or values).fetchone()
            return row

    def get(self, key: str) -> str | None:
        row = self.row("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row["value"])

    def set(self, key: str, value: str) -> None:
        with self.transaction() as db:
            db.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )

    def scrub(self, needles: Sequence[bytes] | None = None, seconds: float | None = None) -> bool:
        """Leaves nothing in the database's files of what was deleted or overwritten; False if that could not be yet.

        Freed bytes are overwritten by `secure_delete`; the log, which holds pages as they were, is emptied. The
        files are then searched for the needles, and rebuilt if one is found or there are too many to search for.

        Args:
            needles: bytes that must be gone; None: whatever they were, rebuild.
            seconds: how long to wait for readers, which keep the log from being emptied; None: SCRUB_SECONDS.
        """
        rebuild = needles is None or len(needles) > _MOST_NEEDLES
        deadline = time.monotonic() + (SCRUB_SECONDS if seconds is None else seconds)
        while True:
            with self._lock:
                if rebuild:
                    self._connection.execute("VACUUM")
                emptied = self._empty_log()
            if emptied and not self._found(needles or ()):
                return True
            if time.monotonic() > deadline:
                return False
            rebuild = emptied and not rebuild
            time.sleep(0.02)

    def _empty_log(self) -> bool:
        """False if a reader holds it; that is not waited for here, under the lock."""
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            return bool(self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
        except sqlite3.OperationalError:  # locked by a writer of another process
            return False
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    def _found(self, needles: Sequence[bytes]) -> bool:
        for path in (self._path, self._path.with_name(self._path.name + "-wal")):
            if needles and path.exists() and path.stat().st_size:
                with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    if any(content.find(needle) >= 0 for needle in needles):
                        return True
        return False

    def copy_into(self, path: Path, edit: Callable[[sqlite3.Connection], None]) -> None:
        """A snapshot of this moment as a new database file, edited before any byte of it is on disk.

        Works beside a running service (SQLite's backup API). The copy is edited in memory.
        """
        copy = sqlite3.connect(":memory:", isolation_level=None)
        try:
            copy.row_factory = sqlite3.Row
            with self._lock:
                self._connection.backup(copy)
            edit(copy)
            copy.execute("VACUUM INTO ?", (str(path),))
        finally:
            copy.close()
        path.chmod(0o600)

    def close(self) -> None:
        with self._lock:
            self._connection.close()


_OWN = "JOIN documents AS own ON own.id = :id"
_DONE = "(documents.state = 'done' OR documents.state = 'evicted' AND documents.lines IS NOT NULL)"
_COPIES = f"documents.digest = :digest AND {_DONE} AND documents.source_digest IS own.source_digest"
"""Finished copies of a content: among the documents of one source, or among those that are units of their own."""
_LATER_TEACH_NOTHING = (
    "UPDATE documents SET taught = 0, labelled = 0 WHERE id IN "  # noqa: S608
    f"(SELECT documents.id FROM documents {_OWN} WHERE {_COPIES} "
    "AND documents.slot > own.slot AND own.state = 'claimed')"
)


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

        Args:
            id: the document's random id.
            now: seconds since the epoch.
            name_digest: keyed digest of the file's name, for `ocrd find`.
            pool_of: number of a new unit -> "train" or "holdout", the keyed coin. A unit keeps its pool.
            source_digest: keyed digest of the source's name; None for a document that is a unit of its own.
            folder_digest: keyed digest of its top folder's name, whatever the unit, for `ocrd forget --source`.
        """
        with self._db.transaction() as db:
            if not db.execute("SELECT 1 FROM documents WHERE id = ?", (id,)).fetchone():
                slot = db.execute("SELECT COALESCE(MAX(slot) + 1, 0) FROM documents").fetchone()[0]
                known = "SELECT unit, pool FROM documents WHERE source_digest = ? LIMIT 1"  # NULL equals nothing
                unit, pool = db.execute(known, (source_digest,)).fetchone() or (slot, pool_of(slot))
                db.execute(
                    "INSERT INTO documents (id, slot, unit, pool, state, arrived, name_digest, source_digest, "
                    "folder_digest) VALUES (?, ?, ?, ?, 'claimed', ?, ?, ?, ?)",
                    (id, slot, unit, pool, now, name_digest, source_digest, folder_digest),
                )
        arrival = self.find(id)
        if arrival is None:
            raise RuntimeError(f"Document {id} vanished from the database between two statements.")
        return arrival

    def find(self, id: str) -> Arrival | None:
        row = self._db.row("SELECT id, slot, unit, pool, state FROM documents WHERE id = ?", id)
        return None if row is None else Arrival(**dict(row))

    def original_of(self, id: str, digest: bytes) -> str | None:
        """The finished document of which this one, with that content, is a copy: one source, a lower slot.

        On a later try any slot will do: rounds may have learned from the copy since, and a content teaches once.
        """
        earlier = "(documents.slot < own.slot OR own.tries > 1 AND documents.id != own.id)"
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

    def receipt_written(self, id: str) -> None:
        with self._db.transaction() as db:
            db.execute("UPDATE documents SET receipt_pending = 0 WHERE id = ?", (id,))

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
        sql = "SELECT id FROM documents WHERE state = 'claimed' OR receipt_pending = 1 ORDER BY slot LIMIT ?"
        return [r["id"] for r in self._db.rows(sql, most)]

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

    def original_gone(self, id: str) -> None:
        with self._db.transaction() as db:
            db.execute("UPDATE documents SET original_until = NULL WHERE id = ?", (id,))
