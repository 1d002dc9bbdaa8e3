"""The ledger: what was spent on whom, written before it is spent. Append-only, hash-chained, signed.

    ledger.jsonl   the entries, one a line
    ledger.head    how long the ledger is known to be

Guarantees (`privacy.chain` has the rules of the content):

* `append` returns after the entry *and* the head that covers it are on the medium. Whoever waits for it
  before acting can lose budget to a crash, but never hide that it was spent.
* After a crash the line beyond the head, if whole, is adopted (spent is spent); if torn, it is put aside in
  `ledger.jsonl.torn-<n>`. Anything else that does not check is refused and left as it is.
* One process appends (flock). Readers need no lock and no private key.

Not detected from these two files alone: that *both* were put back to an earlier pair, or removed. Keep a head
elsewhere (every claim carries one, `ocrd status` prints it) and pass it as `remembered`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from privacy import files, merkle
from privacy.chain import (
    ENTRY,
    Body,
    Entry,
    Head,
    Inclusion,
    LedgerReport,
    canonical,
    check,
    check_public,
    origin,
    unhex,
)
from privacy.errors import LedgerBroken, LedgerBusy
from privacy.signing import SigningKey

__all__ = ["Body", "Entry", "Head", "Inclusion", "Ledger", "LedgerReport", "head_path", "read_head", "verify"]

_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_MOST_BYTES = 4 << 20
_TRIES = 100


class Ledger:
    """The ledger, open for appending by this process alone.

    Raises:
        LedgerBusy: another process (or another object of this one) has it open.
        LedgerBroken: it does not check; nothing was changed.
    """

    def __init__(
        self,
        path: Path,
        key: SigningKey,
        *,
        remembered: Head | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path, self._key, self._clock = path, key, clock
        self._thread = threading.RLock()
        self._usable = False
        files.append_synced(path, b"")
        self._lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise LedgerBusy(f"Another process has the ledger {path} open for appending.") from None
        try:
            files.sweep(path.parent)  # heads that a crash left half written
            self._recover(remembered)
        except BaseException:
            self.close()
            raise

    def _recover(self, remembered: Head | None) -> None:
        """Checks everything, puts a torn tail aside, and lets the head cover what is whole."""
        report = verify(self.path, self._key.public, remembered=remembered)
        if not report.ok:
            raise LedgerBroken(f"The ledger {self.path} does not check: {report.problems[0]}.")
        if report.torn:
            tail = self.path.read_bytes()[report.sound_bytes :]
            aside = self.path.with_name(f"{self.path.name}.torn-{len(report.entries)}")
            files.write_bytes(aside, tail)
            files.truncate_synced(self.path, report.sound_bytes)
        self.recovered_bytes = report.torn
        self._entries = list(report.entries)
        self._tree = merkle.Tree([unhex(entry.hash) for entry in self._entries])
        self._head = report.head
        if report.pending or self._head is None:
            self._write_head()
        self._usable = True

    def append(self, kind: str, body: Body) -> Entry:
        """Adds an entry; it is durable, and covered by a durable head, when this returns.

        Raises:
            ValueError: the kind or the body is not public by form.
            OSError: the medium failed. Whether the entry is in is settled from what is on the medium, at the next
                use that finds the medium working: look at `entries` before appending it again.
        """
        if not _KIND.fullmatch(kind):
            raise ValueError(f"Expected a kind of lower-case letters, digits, ., - and _, got {kind!r}.")
        check_public(body, "body")
        with self._thread:
            self._settle()
            time = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            last = self._entries[-1].hash if self._entries else origin(self._key.public)
            entry = self._signed(Entry(len(self._entries), time, kind, json.loads(canonical(body)), last))
            line = entry.line()
            if len(line) > _MOST_BYTES:
                raise ValueError(f"Expected an entry of at most {_MOST_BYTES} bytes, got {len(line)}.")
            self._usable = False
            files.append_synced(self.path, line)
            self._entries.append(entry)
            self._tree.add(unhex(entry.hash))
            self._write_head()
            self._usable = True
            return entry

    @property
    def head(self) -> Head:
        """The head that is on the medium."""
        with self._thread:
            self._settle()
        if self._head is None:
            raise LedgerBroken("The ledger has no head.")
        return self._head

    @property
    def entries(self) -> Sequence[Entry]:
        """Every entry. Raises `OSError` while a failed append can't be settled."""
        with self._thread:
            self._settle()
            return tuple(self._entries)

    def prove(self, seq: int) -> Inclusion:
        """The proof that entry `seq` is in the ledger under the present head."""
        with self._thread:
            self._settle()
            path = merkle.prove([unhex(entry.hash) for entry in self._entries], seq)
            return Inclusion(seq, self._entries[seq].hash, tuple(part.hex() for part in path), self.head)

    def close(self) -> None:
        """Lets another process append. Doing it again is fine."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _settle(self) -> None:
        """After an append that failed: whether its entry is in, is what the medium says."""
        if self._lock < 0:
            raise LedgerBroken(f"The ledger {self.path} is closed: open it anew.")
        if not self._usable:
            self._recover(self._head)

    def _signed(self, entry: Entry) -> Entry:
        digest = entry.expected_hash()
        signature = self._key.sign(ENTRY + digest.encode()).hex()
        return replace(entry, hash=digest, signature=signature)

    def _write_head(self) -> None:
        last = self._entries[-1].hash if self._entries else origin(self._key.public)
        head = Head(len(self._entries), last, self._tree.root().hex())
        head = replace(head, signature=self._key.sign(head.message()).hex())
        files.write_bytes(head_path(self.path), canonical(asdict(head)) + b"\n")
        self._head = head


def head_path(path: Path) -> Path:
    """Where the head of the ledger at `path` is kept."""
    return path.with_suffix(".head")


def read_head(path: Path) -> Head | None:
    """The head of the ledger at `path`, unchecked; None if there is none. Raises `LedgerBroken`."""
    try:
        return Head(**json.loads(head_path(path).read_bytes()))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError):
        raise LedgerBroken(f"The head {head_path(path)} can't be read.") from None


def verify(path: Path, public: bytes, *, remembered: Head | None = None, every_signature: bool = True) -> LedgerReport:
    """Checks the ledger at `path` with the public key (32 bytes) alone; reads, never writes, takes no lock.

    Args:
        remembered: a head noted earlier; the ledger must be that one, or that one and more.
        every_signature: False relies on the head's signature for what it covers, see `privacy.chain.check`.
    """
    try:
        for _ in range(_TRIES):
            head = read_head(path)
            data = path.read_bytes() if path.exists() else b""
            if read_head(path) == head:  # otherwise a daemon appended between the two reads
                break
    except LedgerBroken as error:
        return LedgerReport((), None, (str(error),), 0, 0, 0)
    return check(data, head, public, remembered=remembered, every_signature=every_signature)
