"""The tables of `state.db`, and their version. `daemon.state` opens the database and says what they mean."""

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
