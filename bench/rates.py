"""Files a second from the claim to the removed claim, beside two loops that do no more than they must.

The part "throughput" of bench/ingest.py. The bare loop writes one file at a time as durably as it can be: 3 kB, fsync,
rename, fsync of the folder, a commit. The floor is what a group of documents needs and nothing else: the same files,
renames, rounds of syncs, sealings, digests and rows as in the service, without its checks, queues and objects.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import running
from daemon import ingest as ingest_module
from daemon import schema
from daemon.home import Home
from daemon.ingest import Ingest
from daemon.pipeline import Pipeline
from daemon.state import Database
from privacy import files, syncfs

BYTES = 3000
_BLOBS = {"vault": ("key", "text", "lines", "page"), "originals": ("key", "name", "original")}
_SMALL = {"key", "text", "name"}


def service(home: Home, database: Database, count: int, threads: int, most: int) -> tuple[float, float]:
    """Files a second and processor milliseconds a file; at most `most` documents are ended together."""
    ingest_module.GROUP_MOST = most
    drop(home.settings.inbox_dir, count)
    ingest = Ingest(home, database)
    ingest._pipelines = [Pipeline(home, database, ingest._stopping.is_set) for _ in range(threads)]
    ingest._threads = [threading.Thread(target=ingest._work, args=(p,), daemon=True) for p in ingest._pipelines]
    ingest.start()
    ingest.tick()
    time.sleep(home.settings.ingest.settle_seconds)

    def work() -> None:
        ingest.tick()
        while any(home.settings.claimed_dir.iterdir()):
            time.sleep(0.02)

    found = _timed(work, count)
    ingest.stop(time.monotonic() + 5)
    if running.count_receipts(home.settings.home) != count:
        sys.exit("a file is left without a receipt")
    return found


def drop(inbox: Path, count: int) -> None:
    rng = random.Random(1)
    for n in range(count):
        (inbox / f"{n}.png").write_bytes(rng.randbytes(BYTES))


def _timed(work: Callable[[], None], count: int) -> tuple[float, float]:
    begun, used = time.perf_counter(), time.process_time()
    work()
    return count / (time.perf_counter() - begun), (time.process_time() - used) / count * 1000


def bare(folder: Path, count: int) -> float:
    """Files a second of the least that durability takes for one at a time."""
    place = Path(tempfile.mkdtemp(dir=folder))
    database = sqlite3.connect(place / "bare.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE t (a)")

    def work() -> None:
        for n in range(count):
            files.write_bytes(place / str(n), bytes(BYTES))
            database.execute("INSERT INTO t VALUES (1)")

    rate, _ = _timed(work, count)
    database.close()
    shutil.rmtree(place)
    return rate


def floor(folder: Path, count: int, most: int) -> tuple[float, float]:
    """Files a second and processor milliseconds a file of what groups of `most` need at the least."""
    place = Path(tempfile.mkdtemp(dir=folder))
    for name in ("inbox", "claimed", "outbox", *_BLOBS):
        (place / name).mkdir()
    drop(place / "inbox", count)
    schema.create(place / "state.db")
    database = sqlite3.connect(place / "state.db", isolation_level=None)
    schema.durable(database)

    def work() -> None:
        for start in range(0, count, most):
            _claimed(place, database, range(start, min(start + most, count)))
        for start in range(0, count, most):
            _ended(place, database, range(start, min(start + most, count)))

    found = _timed(work, count)
    database.close()
    shutil.rmtree(place)
    return found


def _claimed(place: Path, database: sqlite3.Connection, some: Sequence[int]) -> None:
    for n in some:
        os.mkdir(f"{place}/claimed/{n:016x}")
        os.rename(f"{place}/inbox/{n}.png", f"{place}/claimed/{n:016x}/{n}.png")
    syncfs.sync_file_system(place)
    insert = (
        "INSERT INTO documents (id, slot, unit, pool, state, arrived, name_digest) VALUES (?, ?, ?, 'train', "
        "'claimed', 0, ?)"
    )
    rows = [(f"{n:016x}", n, n, hmac.digest(b"key", b"%d.png" % n, "sha256")) for n in some]
    _commit(database, insert, rows)


def _commit(database: sqlite3.Connection, sql: str, rows: list[tuple[object, ...]]) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.executemany(sql, rows)
    database.execute("COMMIT")


def _ended(place: Path, database: sqlite3.Connection, some: Sequence[int]) -> None:
    rows: list[tuple[object, ...]] = []
    written: list[str] = []
    for n in some:
        claim = f"{place}/claimed/{n:016x}/{n}.png"
        data = _read(claim)
        rows.append((hmac.digest(b"key", data, hashlib.sha256), f"{n:016x}"))
        for vault, blobs in _BLOBS.items():
            folder = f"{place}/{vault}/{n:016x}"
            os.mkdir(folder)
            for blob in blobs:
                key = hmac.digest(b"key", os.urandom(32), "sha256")
                sealed = AESGCM(key).encrypt(bytes(12), data[:60] if blob in _SMALL else data, b"aad")
                written.append(_write(f"{folder}/{blob}", sealed))
        if _read(claim) != data:
            sys.exit("the file changed")
    _put(place, written)
    columns = "state = 'done', digest = ?, pages = 1, lines = 1, removed = '{\"name\": 1}', receipt_pending = 1"
    _commit(database, f"UPDATE documents SET {columns} WHERE id = ?", rows)
    _put(place, [_write(f"{place}/outbox/{n:016x}.json", bytes(400)) for n in some])
    for n in some:
        os.unlink(f"{place}/claimed/{n:016x}/{n}.png")
        os.rmdir(f"{place}/claimed/{n:016x}")
    files.sync_dir(place / "claimed")
    _commit(database, "UPDATE documents SET receipt_pending = 0 WHERE id = ?", [(f"{n:016x}",) for n in some])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, data: bytes) -> str:
    fd = os.open(f"{path}.part", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, data)
    os.close(fd)
    return path


def _put(place: Path, paths: Sequence[str]) -> None:
    """Synced, renamed, synced: two syncs of the file system for all."""
    syncfs.sync_file_system(place)
    for path in paths:
        os.rename(f"{path}.part", path)
    syncfs.sync_file_system(place)
