"""The tables of `state.db`, their version, how a new file of them is made, and what a document's row is made of.

`daemon.database` opens it. `totals` is what `ocrd status` shows of the documents: triggers keep it in the
transaction that changes them, so that nobody has to count a million rows, and no writer can forget it.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from privacy import files

SCHEMA_VERSION = 4
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id TEXT PRIMARY KEY, slot INTEGER NOT NULL UNIQUE, unit INTEGER NOT NULL, pool TEXT NOT NULL, state TEXT NOT NULL,
    arrived REAL NOT NULL, ended REAL, digest BLOB, name_digest BLOB, source_digest BLOB, folder_digest BLOB,
    original_of TEXT, reason TEXT,
    pages INTEGER, lines INTEGER, taught INTEGER, labelled INTEGER, removed TEXT, confidence REAL, brightness REAL,
    contrast REAL, model TEXT, original_until REAL, receipt_pending INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 1, erasing INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX documents_by_digest ON documents (digest) WHERE digest IS NOT NULL;
CREATE INDEX documents_by_name ON documents (name_digest);
CREATE INDEX documents_by_source ON documents (source_digest) WHERE source_digest IS NOT NULL;
CREATE INDEX documents_by_folder ON documents (folder_digest) WHERE folder_digest IS NOT NULL;
CREATE INDEX documents_by_state ON documents (state, slot);
CREATE INDEX documents_by_arrival ON documents (arrived, slot);
CREATE INDEX documents_by_unit ON documents (pool, unit, slot);
CREATE INDEX documents_teaching ON documents (unit, state, taught, pool)
    WHERE state = 'done' AND taught > 0 AND pool = 'train';
CREATE INDEX documents_with_original ON documents (original_until) WHERE original_until IS NOT NULL;
CREATE INDEX documents_pending ON documents (slot) WHERE receipt_pending = 1;
CREATE INDEX documents_erasing ON documents (id) WHERE erasing = 1;
CREATE TABLE totals (
    kind TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TRIGGER documents_counted AFTER INSERT ON documents BEGIN
    INSERT INTO totals VALUES ('state', NEW.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO totals SELECT 'units', NEW.pool, 1 WHERE NEW.unit = NEW.slot ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO totals SELECT 'removed', key, value FROM json_each(NEW.removed) WHERE true
        ON CONFLICT DO UPDATE SET n = n + excluded.n; END;
CREATE TRIGGER documents_recounted AFTER UPDATE OF state ON documents WHEN OLD.state != NEW.state BEGIN
    UPDATE totals SET n = n - 1 WHERE kind = 'state' AND name = OLD.state;
    INSERT INTO totals VALUES ('state', NEW.state, 1) ON CONFLICT DO UPDATE SET n = n + 1; END;
CREATE TRIGGER documents_removed AFTER UPDATE OF removed ON documents WHEN OLD.removed IS NOT NEW.removed BEGIN
    UPDATE totals SET n = n - (SELECT value FROM json_each(OLD.removed) WHERE key = name)
        WHERE kind = 'removed' AND name IN (SELECT key FROM json_each(OLD.removed));
    INSERT INTO totals SELECT 'removed', key, value FROM json_each(NEW.removed) WHERE true
        ON CONFLICT DO UPDATE SET n = n + excluded.n; END;
CREATE TABLE rounds (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, state TEXT NOT NULL, cause TEXT NOT NULL,
    plan TEXT, report TEXT, version TEXT, reason TEXT
);
CREATE TABLE detectors (name TEXT PRIMARY KEY, state TEXT NOT NULL, seen_slot INTEGER NOT NULL,
    alarmed REAL, checked REAL NOT NULL) WITHOUT ROWID;
"""


COLUMNS = (
    *("id", "slot", "unit", "pool", "state", "arrived", "ended", "digest", "name_digest", "source_digest"),
    *("folder_digest", "original_of", "reason", "pages", "lines", "taught", "labelled", "removed", "confidence"),
    *("brightness", "contrast", "model", "original_until", "receipt_pending", "tries", "erasing"),
)
"""Of the documents."""


def durable(connection: sqlite3.Connection) -> None:
    """What a commit has returned from survives a power cut."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def create(path: Path) -> None:
    """A new database, which appears whole: whoever looks beside a first start, or after its end, finds none or this."""
    new = path.with_name(f".new-{path.name}")
    for suffix in ("", "-journal", "-wal", "-shm"):  # of a first start that was cut short
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        durable(connection)
        connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # closing would do it too, and not say if it could not
    finally:
        connection.close()
    new.chmod(0o600)
    files.move(new, path)


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
