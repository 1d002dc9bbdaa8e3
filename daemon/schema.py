"""The tables of `state.db`, their version, and what a document's row is made of. `daemon.state` opens the database."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA_VERSION = 3
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
CREATE INDEX documents_by_state ON documents (state);
CREATE INDEX documents_with_original ON documents (original_until) WHERE original_until IS NOT NULL;
CREATE INDEX documents_pending ON documents (id) WHERE receipt_pending = 1;
CREATE INDEX documents_erasing ON documents (id) WHERE erasing = 1;
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
