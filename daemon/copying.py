"""A database written anew from another, document by document: for backups, and for the way back from one.

The rows are never all in memory, and nothing of a row is on disk that was not meant to be.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from daemon.schema import SCHEMA, SCHEMA_VERSION

_OTHER_TABLES = ("meta", "rounds", "detectors")
"""Besides the documents, and what triggers count of them."""
_FAST = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;"


def write(
    source: sqlite3.Connection, path: Path, columns: Sequence[str], document: Callable[[sqlite3.Row], Sequence[Any]]
) -> None:
    """A new database file at `path`, which must not exist; not synced. The source's rows are read in one pass.

    Args:
        source: in a transaction, so that it is of one moment.
        columns: of the documents there. One that the schema lacks becomes a column; those that are not named are empty.
        document: a row's values for the columns.
    """
    copy = sqlite3.connect(path, isolation_level=None)
    try:
        path.chmod(0o600)
        copy.executescript(_FAST + SCHEMA)
        known = {row[1] for row in copy.execute("PRAGMA table_info(documents)")}
        for name in [name for name in columns if name not in known]:
            copy.execute(f"ALTER TABLE documents ADD COLUMN {name} BLOB")
        indices = copy.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        copy.execute("BEGIN")
        for name, _ in indices:  # made at the end, each in one go
            copy.execute(f"DROP INDEX {name}")
        rows = source.execute("SELECT * FROM documents ORDER BY id")
        _insert(copy, f"documents ({', '.join(columns)})", len(columns), map(document, rows))
        for table in _OTHER_TABLES:
            found = source.execute(f"SELECT * FROM {table}")  # noqa: S608
            _insert(copy, table, len(found.description), map(tuple, found))
        for _, sql in indices:
            copy.execute(sql)
        copy.execute("COMMIT")
        copy.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    finally:
        copy.close()


def _insert(copy: sqlite3.Connection, into: str, count: int, rows: Iterable[Sequence[Any]]) -> None:
    copy.executemany(f"INSERT INTO {into} VALUES ({', '.join('?' * count)})", rows)  # noqa: S608
