"""The state's database: one SQLite file, opened here alone.

WAL with `synchronous=FULL`: what a transaction has committed survives a power cut.
"""

from __future__ import annotations

import os
import random
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon import copying, scrubbing
from daemon.errors import NotInitialised
from daemon.schema import SCHEMA_VERSION, create, durable

_SETTLED = "settled"
BUSY_SECONDS, SCRUB_SECONDS = 10.0, 5.0
"""How long a statement waits for another process, and `scrub` for readers."""
_SEARCHED_BYTES, _SEARCHED_NEEDLES = 2**27, 1
"""How much is searched after a scrubbing: the whole file for each of as many needles as this allows, and of so many."""


class Database:
    """The connection, its transactions, and the schema."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        if not read_only and not path.exists():
            create(path)
        self._path = path
        mode = "ro" if read_only else "rwc"
        if read_only and not self._log.exists() and not os.access(path.parent, os.W_OK):
            mode += "&immutable=1"  # nobody serves it, and beside a log SQLite would have to make a file
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        self._connection = sqlite3.connect(
            uri, uri=True, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS
        )
        self._connection.row_factory = sqlite3.Row
        self._lock = threading.RLock()
        self._bytes: int | None = None
        """The file itself, for `scrub`; open for as long as the connection (see `daemon.scrubbing`)."""
        if not read_only:
            path.chmod(0o600)
            durable(self._connection)
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute("PRAGMA temp_store = MEMORY")
            with self.transaction() as db:  # SQLite opens for reading what it may not write, and says so at a change
                db.execute("DELETE FROM meta WHERE 0")
        self._check()

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
        """Commits on leaving (fsync), rolls back on an exception; one at a time among threads.

        Inside another one of the same thread it is a part of that.
        """
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
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

    def ids(self, wanted: Callable[[int], bool]) -> set[str]:
        """Ids of the documents whose slot is wanted."""
        with self._lock:
            rows = self._connection.execute("SELECT id, slot FROM documents")
            return {id for id, slot in rows if wanted(slot)}

    def get(self, key: str) -> str | None:
        row = self.row("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row["value"])

    def set(self, key: str, value: str) -> None:
        with self.transaction() as db:
            db.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )

    def settle(self) -> None:
        """After a commit that the disk refused: what is read from here on is what a stop would leave too.

        Until another commit has succeeded, the refused one may be in the log, and count at the next opening.
        """
        self.set(_SETTLED, secrets.token_hex(8))

    def scrub(self, needles: Sequence[bytes] = (), seconds: float | None = None) -> bool:
        """Leaves nothing in the database's files of what was deleted or overwritten; False if that could not be yet.

        Freed bytes are overwritten by `secure_delete`; the log, which holds pages as they were, is emptied; the space
        that pages do not use is wiped (`daemon.scrubbing`). As a check the files are then searched for some of the
        needles, and rebuilt if one is found.

        Args:
            needles: bytes that must be gone.
            seconds: how long to wait for readers, which keep the log from being emptied; None: SCRUB_SECONDS.
        """
        rebuild = False
        deadline = time.monotonic() + (SCRUB_SECONDS if seconds is None else seconds)
        while True:
            with self._lock:
                if rebuild:
                    self._connection.execute("VACUUM")
                emptied = self._empty_log() and self._wipe()
            if emptied and not self._found(needles):
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

    def _wipe(self) -> bool:
        """Overwrites the space that pages don't use, as the only writer; False if another process wrote meanwhile."""
        try:
            with self.transaction():
                if self._log.exists() and self._log.stat().st_size:
                    return False
                scrubbing.wipe(self._descriptor())
        except sqlite3.OperationalError:  # another process is writing
            return False
        self._connection.execute("PRAGMA shrink_memory")  # drops pages that are as they were before
        return True

    @property
    def _log(self) -> Path:
        return self._path.with_name(self._path.name + "-wal")

    def _descriptor(self) -> int:
        if self._bytes is None:
            self._bytes = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        return self._bytes

    def _found(self, needles: Sequence[bytes]) -> bool:
        most = max(_SEARCHED_NEEDLES, _SEARCHED_BYTES // max(1, self._path.stat().st_size))
        chosen = needles if len(needles) <= most else random.sample(needles, most)
        if scrubbing.found(self._descriptor(), chosen):
            return True
        return self._log.exists() and any(needle in self._log.read_bytes() for needle in chosen)

    def copy_into(self, path: Path, columns: Sequence[str], document: Callable[[sqlite3.Row], Sequence[Any]]) -> None:
        """A snapshot of this moment as a new database file; works beside a running service.

        The documents' rows pass one by one, and what `document` makes of each is all that is ever written of it. The
        new file is not synced.

        Args:
            columns: of the documents in the new file. What is not a column yet becomes one; the others stay empty.
            document: a row's values for them.
        """
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                copying.write(self._connection, path, columns, document)
            finally:
                if self._connection.in_transaction:  # SQLite ends it by itself when the disk fails
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            if self._bytes is not None:
                os.close(self._bytes)
                self._bytes = None
