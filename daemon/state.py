"""Where each document, round and model has got to: one SQLite database, opened here alone.

WAL with `synchronous=FULL`: what a method has returned from survives a power cut. The database
holds no content and no name in clear: a document is known by a random id, keyed digests and
numbers. Every arrival takes the next slot, for ever, duplicates and failures too; a slot number
therefore says nothing about anybody's content. Arrivals of one source share a unit, whose number is
its first slot's (docs/adr/0002-unit-of-privacy.md).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.errors import NotInitialised

SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id TEXT PRIMARY KEY, slot INTEGER NOT NULL UNIQUE, unit INTEGER NOT NULL, pool TEXT NOT NULL, state TEXT NOT NULL,
    arrived REAL NOT NULL, ended REAL, digest BLOB, name_digest BLOB, source_digest BLOB, original_of TEXT, reason TEXT,
    pages INTEGER, lines INTEGER, taught INTEGER, labelled INTEGER, removed TEXT, confidence REAL, brightness REAL,
    contrast REAL, model TEXT, original_until REAL, receipt_pending INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX documents_by_digest ON documents (digest) WHERE state = 'done';
CREATE INDEX documents_by_name ON documents (name_digest);
CREATE INDEX documents_by_source ON documents (source_digest) WHERE source_digest IS NOT NULL;
CREATE INDEX documents_by_state ON documents (state);
CREATE INDEX documents_with_original ON documents (original_until) WHERE original_until IS NOT NULL;
CREATE INDEX documents_pending ON documents (id) WHERE receipt_pending = 1;
CREATE TABLE rounds (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, state TEXT NOT NULL, cause TEXT NOT NULL,
    plan TEXT, report TEXT, version TEXT, reason TEXT
);
CREATE TABLE detectors (name TEXT PRIMARY KEY, state TEXT NOT NULL, seen_slot INTEGER NOT NULL,
    alarmed REAL, checked REAL NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Arrival:
    """A claimed document; its pool is its unit's."""

    id: str
    slot: int
    unit: int
    pool: str
    state: str


@dataclass(frozen=True)
class Ending:
    """How a document ended; the columns of its row that are set then."""

    state: str
    digest: bytes | None = None
    original_of: str | None = None
    reason: str | None = None
    pages: int | None = None
    lines: int | None = None
    taught: int | None = None
    labelled: bool | None = None
    removed: dict[str, int] | None = None
    confidence: float | None = None
    brightness: float | None = None
    contrast: float | None = None
    model: str | None = None
    original_until: float | None = None

    def __post_init__(self) -> None:
        if self.state not in ENDINGS:
            raise ValueError(f"Expected state to be one of {ENDINGS}, got {self.state!r}.")


ENDINGS = ("done", "duplicate", "quarantined", "failed")


class Database:
    """The connection, its transactions, and the schema."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None, timeout=10)
        self._connection.row_factory = sqlite3.Row
        self._lock = threading.RLock()
        if not read_only:
            path.chmod(0o600)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA secure_delete = ON")
            self._make()
        self._check()

    def _make(self) -> None:
        with self.transaction() as db:
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in _SCHEMA.split(";\n"):
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

    def close(self) -> None:
        with self._lock:
            self._connection.close()


_OWN = "JOIN documents AS own ON own.id = :id"
_COPIES = "documents.digest = :digest AND documents.state = 'done' AND documents.source_digest IS own.source_digest"
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
        self, id: str, now: float, name_digest: bytes, pool_of: Callable[[int], str], source_digest: bytes | None = None
    ) -> Arrival:
        """Gives the document the next slot, and its source's unit; calling again with the same id changes nothing.

        Args:
            id: the document's random id.
            now: seconds since the epoch.
            name_digest: keyed digest of the file's name, for `ocrd find`.
            pool_of: number of a new unit -> "train" or "holdout", the keyed coin. A unit keeps its pool.
            source_digest: keyed digest of the source's name; None for a document that is a unit of its own.
        """
        with self._db.transaction() as db:
            if not db.execute("SELECT 1 FROM documents WHERE id = ?", (id,)).fetchone():
                slot = db.execute("SELECT COALESCE(MAX(slot) + 1, 0) FROM documents").fetchone()[0]
                known = "SELECT unit, pool FROM documents WHERE source_digest = ? LIMIT 1"  # NULL equals nothing
                unit, pool = db.execute(known, (source_digest,)).fetchone() or (slot, pool_of(slot))
                db.execute(
                    "INSERT INTO documents (id, slot, unit, pool, state, arrived, name_digest, source_digest) "
                    "VALUES (?, ?, ?, ?, 'claimed', ?, ?, ?)",
                    (id, slot, unit, pool, now, name_digest, source_digest),
                )
        arrival = self.find(id)
        if arrival is None:
            raise RuntimeError(f"Document {id} vanished from the database between two statements.")
        return arrival

    def find(self, id: str) -> Arrival | None:
        row = self._db.row("SELECT id, slot, unit, pool, state FROM documents WHERE id = ?", id)
        return None if row is None else Arrival(**dict(row))

    def original_of(self, id: str, digest: bytes) -> str | None:
        """The finished document of which this one, with that content, is a copy: one source, a lower slot."""
        row = self._db.row(
            f"SELECT documents.id FROM documents {_OWN} WHERE {_COPIES} AND documents.slot < own.slot",  # noqa: S608
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

    def withdraw(self, id: str, now: float) -> None:
        """A slot whose file was never taken: the crash came before the claim. It stays empty."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE documents SET state = 'withdrawn', ended = ? WHERE id = ? AND state = 'claimed'",
                (now, id),
            )

    def originals_due(self, now: float) -> list[str]:
        rows = self._db.rows("SELECT id FROM documents WHERE original_until IS NOT NULL AND original_until <= ?", now)
        return [r["id"] for r in rows]

    def original_gone(self, id: str) -> None:
        with self._db.transaction() as db:
            db.execute("UPDATE documents SET original_until = NULL WHERE id = ?", (id,))


class Rounds:
    """Rounds: when, why, what was planned, and how it ended. What they were charged is in the ledger."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(self, cause: str, now: float) -> int:
        with self._db.transaction() as db:
            cursor = db.execute("INSERT INTO rounds (started, state, cause) VALUES (?, 'running', ?)", (now, cause))
            return int(cursor.lastrowid or 0)

    def end(self, id: int, state: str, now: float, **columns: str | None) -> None:
        """`columns`: any of plan, report, version, reason."""
        sets = "".join(f", {name} = :{name}" for name in columns)
        with self._db.transaction() as db:
            db.execute(
                f"UPDATE rounds SET state = :state, ended = :now{sets} WHERE id = :id",  # noqa: S608
                {**columns, "state": state, "now": now, "id": id},
            )

    def replace_live(self, state: str, version: str | None = None) -> None:
        """The round whose model serves is now `state`; with `version`, that version's round serves again."""
        with self._db.transaction() as db:
            db.execute("UPDATE rounds SET state = ? WHERE state = 'live'", (state,))
            db.execute("UPDATE rounds SET state = 'live' WHERE version = ? AND version IS NOT NULL", (version,))

    def interrupt_running(self, now: float) -> int:
        """After a crash: what was running is over; what it was charged stays charged."""
        with self._db.transaction() as db:
            sql = "UPDATE rounds SET state = 'interrupted', ended = ?, reason = ? WHERE state = 'running'"
            return db.execute(sql, (now, "the service stopped")).rowcount


class Detectors:
    """State of the drift detectors, and the numbers they have not seen yet."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def load(self, name: str) -> tuple[str | None, int]:
        """A detector's saved state and the last slot it has seen; (None, -1) for a new one."""
        row = self._db.row("SELECT state, seen_slot FROM detectors WHERE name = ?", name)
        return (None, -1) if row is None else (row["state"], row["seen_slot"])

    def fresh(self, column: str, seen_slot: int) -> list[tuple[int, float]]:
        """(slot, value) of finished documents after `seen_slot`, up to the first one still being processed."""
        sql = (
            f"SELECT slot, {column} AS value FROM documents WHERE state = 'done' AND slot > ? AND value IS NOT NULL "  # noqa: S608
            "AND slot < COALESCE((SELECT MIN(slot) FROM documents WHERE state = 'claimed'), slot + 1) ORDER BY slot"
        )
        return [(row["slot"], row["value"]) for row in self._db.rows(sql, seen_slot)]

    def save(self, name: str, state: str, seen_slot: int, alarmed: bool, now: float) -> None:
        """Keeps the detector's state; `alarmed` keeps the time of the latest alarm."""
        sql = (
            "INSERT INTO detectors VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state, "
            "seen_slot = excluded.seen_slot, alarmed = COALESCE(excluded.alarmed, alarmed), checked = excluded.checked"
        )
        with self._db.transaction() as db:
            db.execute(sql, (name, state, seen_slot, now if alarmed else None, now))
