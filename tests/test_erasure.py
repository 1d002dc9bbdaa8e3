"""Forgetting leaves nothing: a search of every byte of the state folder, and the mistakes that it would see."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from daemon import database as database_module
from daemon import drift, erasure, receipts, retry, scrubbing
from daemon.erasure import FORGET, Erasure, forgotten_slots, shred_originals, with_copies
from daemon.errors import OcrdError, Refused
from daemon.ingest import Ingest
from daemon.membership import spent
from daemon.operations import Operations
from daemon.pipeline import ORIGINAL_BLOB, Pipeline
from daemon.readers import Read
from daemon.state import Database, Documents, Ending
from inbox_machine import HEADER
from privacy import files, ledger
from privacy.accountant import RoundEvent
from privacy.errors import NotSealed, Punctured
from privacy.ledger import Ledger
from privacy.shelf import Shelf
from running import drop
from sealed import Kill, every_step, in_memory, needles, state_folder, take, where

A, B, C = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
def shm():
    with in_memory() as folder:
        yield folder


@pytest.fixture
def opened(shm, weights_dir):
    home = state_folder(shm / "home", weights_dir)
    database = Database(home.settings.database_path)
    book = Ledger(home.settings.ledger_path, home.signing)
    yield home, database, book
    book.close()
    database.close()


def forgotten_without_trace(home, database, book, ending="done"):
    """Takes three documents, forgets the middle one, and asserts that no byte tells of it, and the others are whole."""
    for id, path in ((A, "ward 1/first.png"), (B, "ward 2/secret name.png"), (C, "ward 3/last.png")):
        take(home, database, id, ending if id == B else "done", path)
    wanted = needles(home, B, "ward 2/secret name.png")
    assert set(where(home, wanted)) >= {"content digest", "name digest", "folder digest"}, "the search finds nothing"
    Erasure(home, database, book).forget([B])
    assert where(home, wanted) == {}
    for vault in home.vaults:
        with pytest.raises(NotSealed):
            vault.names(B)
    assert home.vault.get(A, "page-1.png") == b"page of pixels of ward 1/first.png"
    assert home.vault.get(C, "text")
    row = dict(database.row("SELECT * FROM documents WHERE id = ?", B))
    assert {name: value for name, value in row.items() if value not in (None, 0)} == {
        "id": B, "slot": 1, "unit": 1, "pool": home.pool_of(1), "state": "forgotten", "arrived": 1000.0,
        "ended": row["ended"], "tries": 1,
    }  # fmt: skip
    report = ledger.verify(book.path, home.signing.public)
    assert report.ok
    assert [(e.kind, e.body) for e in report.entries] == [(FORGET, {"slots": [[1, 2]]})]
    assert sqlite3.connect(home.settings.database_path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("ending", ["done", "quarantined", "failed", "duplicate"])
def test_nothing_is_left_of_a_forgotten_document(opened, ending):
    forgotten_without_trace(*opened, ending)


def plant(monkeypatch, mutant):
    if mutant == "secure_delete off":
        real = Database.__init__

        def make(self, *given, **named):
            real(self, *given, **named)
            self._connection.execute("PRAGMA secure_delete = OFF")

        monkeypatch.setattr(Database, "__init__", make)
        monkeypatch.setattr(Database, "_found", lambda self, needles: False)
    elif mutant == "the log is not emptied":
        monkeypatch.setattr(Database, "scrub", lambda self, needles=None: True)
    elif mutant == "the receipt stays":
        monkeypatch.setattr(erasure.receipts, "destroy", lambda home, ids: None)
    elif mutant == "the row keeps its digests":
        monkeypatch.setattr(
            erasure, "_TOMBSTONE", "UPDATE documents SET state = 'forgotten', ended = :now WHERE id = :id"
        )
    elif mutant == "the data key is not destroyed":
        monkeypatch.setattr("privacy.vault.Vault.shred_all", lambda self, ids: None)
    elif mutant == "no entry in the ledger":
        monkeypatch.setattr(Erasure, "_record", lambda self, slots: None)


MUTANTS = {
    "secure_delete off": "digest.*state.db",
    "the log is not emptied": "content digest.*state.db-wal",
    "the receipt stays": "text.*outbox",
    "the row keeps its digests": "name digest.*state.db",
    "the data key is not destroyed": "wrapped key.*vault",
    "no entry in the ledger": r"\[\] == \[\('forget'",
}


@pytest.mark.parametrize(("mutant", "seen"), MUTANTS.items())
def test_the_search_sees(mutant, seen, shm, weights_dir, monkeypatch):
    plant(monkeypatch, mutant)
    home = state_folder(shm / "home", weights_dir)
    database = Database(home.settings.database_path)
    with Ledger(home.settings.ledger_path, home.signing) as book, pytest.raises(AssertionError, match=f"(?s){seen}"):
        forgotten_without_trace(home, database, book)
    database.close()


def test_a_copy_of_keys_and_blobs_does_not_open_after_forgetting(opened, tmp_path, monkeypatch):
    home, database, book = opened
    take(home, database, A)
    shutil.copytree(home.vault.root, tmp_path / "copy")
    Erasure(home, database, book).forget([A])
    shutil.rmtree(home.vault.root)
    shutil.copytree(tmp_path / "copy", home.vault.root)
    with pytest.raises(Punctured):
        home.vault.get(A, "text")


def test_without_the_puncture_the_copy_would_open(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(Shelf, "puncture", lambda self, cuts: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_copy_of_keys_and_blobs_does_not_open_after_forgetting(opened, tmp_path, monkeypatch)


def test_copies_of_the_content_go_too_and_other_sources_stay(opened):
    home, database, book = opened
    take(home, database, A, path="one/a.png", content=b"same")
    take(home, database, B, path="two/b.png", content=b"same")
    take(home, database, C, path="two/c.png", content=b"other")
    assert database.row("SELECT state FROM documents WHERE id = ?", B)["state"] == "duplicate"
    rows = Erasure(home, database, book).forget([B])
    assert [row["id"] for row in rows] == [A, B]
    assert where(home, needles(home, A, "one/a.png", b"same")) == {}
    assert home.vault.exists(C)


@pytest.mark.parametrize("together", [False, True])
def test_a_copy_that_ends_while_its_original_is_forgotten_is_a_document_of_its_own(opened, monkeypatch, together):
    home, database, book = opened
    take(home, database, A, content=b"same")
    ingest = Ingest(home, database)
    for number in range(1 + together):
        drop(home.settings.home, f"{number}.png", b"same" if number == 0 else b"other")
    ingest.inbox.scan(time.monotonic() - 3600)
    ingest.tick()
    monkeypatch.setattr(Pipeline, "_read", lambda *_: Read(HEADER, {"text": b"[]"}))
    monkeypatch.setattr("daemon.ingest.GROUP_SECONDS", math.inf)
    (pipeline,) = ingest._pipelines
    batch = ingest._prepared(pipeline)
    Erasure(home, database, book).forget([A])
    ingest._end(pipeline, batch)
    ingest._waiting.requeue(math.inf)
    while not ingest._queue.empty():
        ingest._end(pipeline, ingest._prepared(pipeline))
    rows = database.rows("SELECT id, state FROM documents ORDER BY slot")
    assert [row["state"] for row in rows] == ["forgotten", *["done"] * (1 + together)]
    assert home.originals.get(rows[1]["id"], ORIGINAL_BLOB) == b"same"


def test_forgetting_many_is_not_done_while_the_disk_keeps_a_folder_of_one(opened, monkeypatch):
    home, database, book = opened
    ids = [take(home, database, f"{number:016x}", content=b"%d" % number) for number in range(12)]
    rmdir = os.rmdir

    def refusing(path, **more):
        if str(path).endswith(ids[5]):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return rmdir(path, **more)

    erasure = Erasure(home, database, book)
    with monkeypatch.context() as disk:
        disk.setattr(os, "rmdir", refusing)
        with pytest.raises(OSError, match="error"):
            erasure.forget(ids)
    assert erasure.finish() == 12
    assert erasure.pending() == 0
    assert [path for vault in home.vaults for path in vault.root.iterdir()] == []


@pytest.mark.parametrize("broken", [(retry.Documents, "reopen"), (files, "move")])
def test_nothing_is_left_of_a_later_try_that_was_broken_off(opened, monkeypatch, broken):
    home, database, book = opened
    take(home, database, A, "failed")
    wanted = needles(home, A, "ward/scan.png")
    with monkeypatch.context() as full:
        full.setattr(*broken, lambda *_: (_ for _ in ()).throw(Kill))
        with pytest.raises(Kill):
            retry.take_up(home, database, A)
    assert list(home.settings.claimed_dir.iterdir())
    Erasure(home, database, book).forget([A])
    assert where(home, wanted) == {}
    assert list(home.settings.claimed_dir.iterdir()) == []


def test_nothing_is_left_of_a_receipt_that_was_broken_off(opened, monkeypatch):
    home, database, book = opened
    take(home, database, A)
    outbox = home.settings.outbox_dir

    def failing(path, *_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with monkeypatch.context() as disk:
        for name in ("rename", "unlink"):
            disk.setattr(os, name, failing)
        with pytest.raises(OSError, match="error"):
            receipts.write(home, database, A)
    assert len(list(outbox.iterdir())) == 2
    Erasure(home, database, book).forget([A])
    assert list(outbox.iterdir()) == []


def test_a_name_that_another_document_has_too_is_still_found(opened):
    home, database, book = opened
    take(home, database, A, path="one/scan.png")
    take(home, database, B, path="two/scan.png")
    Erasure(home, database, book).forget([A])
    rows = database.rows("SELECT id FROM documents WHERE name_digest = ?", home.name_digest("scan.png"))
    assert [row["id"] for row in rows] == [B]


def test_on_a_full_disk_forgetting_gives_its_room_back_and_is_finished_later(opened, monkeypatch):
    home, database, book = opened
    take(home, database, A)
    erasure = Erasure(home, database, book)
    with monkeypatch.context() as disk:

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        disk.setattr(Ledger, "append", full)
        with pytest.raises(OSError, match="No space"):
            erasure.forget([A])
    assert [path for vault in home.vaults for path in vault.root.iterdir()] == []
    assert (erasure.pending(), book.entries) == (1, ())
    assert (erasure.finish(), len(book.entries)) == (1, 1)


def test_forgetting_again_changes_nothing(opened):
    home, database, book = opened
    take(home, database, A)
    Erasure(home, database, book).forget([A])
    assert Erasure(home, database, book).forget([A]) == []
    assert len(book.entries) == 1
    with pytest.raises(OcrdError, match="There is no document nobody"):
        Erasure(home, database, book).forget(["nobody"])


def test_a_document_that_is_being_processed_is_refused_and_nothing_is_done(opened, monkeypatch):
    home, database, book = opened
    monkeypatch.setattr(erasure, "BUSY_SECONDS", 0.1)
    take(home, database, A)
    Documents(database).arrive(B, 1.0, b"name", home.pool_of)
    with pytest.raises(Refused, match=f"{B}: still being processed"):
        Erasure(home, database, book).forget([A, B])
    assert home.vault.exists(A)


@pytest.mark.parametrize("few", [8, 0])
def test_a_crash_at_any_step_is_finished_at_the_next_start(shm, weights_dir, monkeypatch, few):
    """With `few` 0 as many documents are forgotten together: the same syncs for all."""
    monkeypatch.setattr("privacy.vault._FEW", few)
    monkeypatch.setattr("daemon.receipts._FEW", few)
    home = state_folder(shm / "home", weights_dir)

    def make(number):
        database = Database(home.settings.database_path)
        book = Ledger(home.settings.ledger_path, home.signing)
        id = take(home, database, f"{number:016x}", path=f"ward/{number}-.png")
        return id, needles(home, id, f"ward/{number}-.png"), database, book

    def act(subject):
        id, _, database, book = subject
        Erasure(home, database, book).forget([id])

    def check(subject, ended):
        id, wanted, database, book = subject
        book.close()
        database.close()
        del wanted["folder digest"]
        again, book = Database(home.settings.database_path), Ledger(home.settings.ledger_path, home.signing)
        Operations(home, again, book).start()
        state = again.row("SELECT state, erasing FROM documents WHERE id = ?", id)
        if tuple(state) == ("done", 0):
            assert not ended
            assert home.vault.get(id, "text")
        else:
            assert tuple(state) == ("forgotten", 0)
            assert where(home, wanted) == {}
            assert not any(vault.begun(id) for vault in home.vaults)
        assert ledger.verify(book.path, home.signing.public).ok
        book.close()
        again.close()

    assert every_step(monkeypatch, make, act, check) > 15


def test_eviction_takes_the_oldest_slots_by_number_and_clock_alone(opened):
    home, database, book = opened
    settings = home.settings.model_copy(update={"ingest": home.settings.ingest.model_copy(
        update={"retain_documents": 3, "retain_days": 0.0})})  # fmt: skip
    home = type(home)(**{**vars(home), "settings": settings})
    for n, ending in enumerate(("done", "failed", "quarantined", "done", "done")):
        take(home, database, f"{n:016x}", ending, f"x/{n}.png")
    assert Erasure(home, database, book).evict(time.time()) == 2
    states = [row["state"] for row in database.rows("SELECT state FROM documents ORDER BY slot")]
    assert states == ["evicted", "evicted", "quarantined", "done", "done"]
    assert not home.vault.exists(f"{0:016x}")
    assert [home.shelf.holds("documents", n) for n in range(5)] == [False, False, True, True, True]
    assert Erasure(home, database, book).evict(time.time()) == 0
    take(home, database, A, path="x/0.png")
    assert database.row("SELECT state, original_of FROM documents WHERE id = ?", A)[:] == ("duplicate", f"{0:016x}")


def test_eviction_by_age_waits_for_what_is_being_processed(opened):
    home, database, book = opened
    take(home, database, A)
    Documents(database).arrive(B, 1000.0, b"name", home.pool_of)
    take(home, database, C, path="other/c.png")
    assert Erasure(home, database, book).evict(1000.0 + 364 * 86400) == 0
    assert Erasure(home, database, book).evict(1000.0 + 366 * 86400) == 1
    assert home.vault.exists(C)


def test_originals_that_are_due_are_gone_from_copies_too(opened, tmp_path):
    home, database, _ = opened
    for n, until in enumerate((1.0, 9e9, 1.0)):
        take(home, database, f"{n:016x}", path=f"x/{n}.png", original_until=until)
    shutil.copytree(home.originals.root, tmp_path / "copy")
    assert shred_originals(home, database) == 2
    shutil.rmtree(home.originals.root)
    shutil.copytree(tmp_path / "copy", home.originals.root)
    for n, gone in enumerate((True, False, True)):
        if gone:
            with pytest.raises(Punctured):
                home.originals.get(f"{n:016x}", "original")
        else:
            assert home.originals.get(f"{n:016x}", "original")
        assert home.vault.get(f"{n:016x}", "text")


def kept_after_eviction(home, database, book, endings):
    """The slots that are kept of documents that came in this order and ended so; the newest three, by the rule."""
    few = home.settings.ingest.model_copy(update={"retain_documents": 3, "retain_days": 0.0})
    home = replace(home, settings=home.settings.model_copy(update={"ingest": few}))
    for n, ending in enumerate(endings):
        take(home, database, f"{n:016x}", ending, f"x/{n}.png")
    Erasure(home, database, book).evict(time.time())
    return [row["slot"] for row in database.rows("SELECT slot FROM documents WHERE state != 'evicted' ORDER BY slot")]


HISTORIES = (["done"] * 7, ["done", "failed", "quarantined", "done", "failed", "done", "failed"])


@pytest.mark.parametrize("endings", HISTORIES)
def test_what_is_kept_does_not_depend_on_what_became_of_documents(opened, endings):
    assert kept_after_eviction(*opened, endings) == [4, 5, 6]


def test_a_rule_that_counts_what_has_content_is_seen(opened, monkeypatch):
    def horizon(self, now):
        rows = self._database.rows("SELECT slot FROM documents WHERE state = 'done' ORDER BY slot DESC LIMIT 3")
        return rows[-1]["slot"]

    monkeypatch.setattr(Erasure, "_horizon", horizon)
    with pytest.raises(AssertionError):
        assert kept_after_eviction(*opened, HISTORIES[1]) == [4, 5, 6]


def test_a_reader_of_the_database_delays_the_clearing_and_not_the_end_of_the_keys(opened, monkeypatch):
    home, database, book = opened
    monkeypatch.setattr(database_module, "SCRUB_SECONDS", 0.2)
    take(home, database, A)
    wanted = needles(home, A, "ward/scan.png")
    reader = sqlite3.connect(home.settings.database_path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM documents").fetchone()
    answer = Operations(home, database, book).forget([A])
    assert (answer["forgotten"], answer["pending"]) == ([A], 1)
    assert not home.shelf.holds("documents", 0)
    assert set(where(home, wanted)) == {"content digest", "name digest", "folder digest"}
    reader.close()
    assert Erasure(home, database, book).finish() == 1
    assert where(home, wanted) == {}
    assert Erasure(home, database, book).pending() == 0
    assert len(book.entries) == 1


def unused(home, database) -> list[bytes]:
    """What lies in the space that pages do not use, after two thousand rows came and the database was scrubbed."""
    rows = [(f"{n:016x}", n, secrets.token_bytes(32), secrets.token_bytes(32)) for n in range(2000)]
    for start in range(0, len(rows), 50):
        with database.transaction() as db:
            db.executemany(
                "INSERT INTO documents (id, slot, unit, pool, state, arrived, digest, name_digest) "
                "VALUES (?1, ?2, ?2, 'train', 'done', 1.0, ?3, ?4)",
                rows[start : start + 50],
            )
    assert database.scrub()
    content = home.settings.database_path.read_bytes()
    assert all(digest in content for row in rows for digest in row[2:]), "it wiped what is in use"
    return [left for _, left in scrubbing.gaps_of(database._descriptor())]


def test_no_piece_of_a_row_is_left_where_pages_were_split(opened):
    home, database, _ = opened
    assert unused(home, database) == []
    take(home, database, "f" * 16)  # the database goes on
    assert sqlite3.connect(home.settings.database_path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_without_the_wiping_pieces_are_left(opened, monkeypatch):
    home, database, _ = opened
    monkeypatch.setattr("daemon.scrubbing.wipe", lambda fd: 0)
    assert unused(home, database)


LOOK = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 FROM meta').fetchall(); c.close()"


def log_after_another_process(home, database) -> bool:
    """Whether the database's log is still there when a process that also had the database open has ended."""
    take(home, database, A)
    assert database.scrub([secrets.token_bytes(32)])
    take(home, database, B)
    subprocess.run([sys.executable, "-c", LOOK, home.settings.database_path], check=True)
    return home.settings.database_path.with_name("state.db-wal").exists()


def test_scrubbing_leaves_sqlite_its_locks(opened):
    assert log_after_another_process(*opened[:2])


def test_a_descriptor_closed_too_early_costs_the_log(opened, monkeypatch):
    real = Database._found

    def careless(self, needles):
        self._path.read_bytes()
        return real(self, needles)

    monkeypatch.setattr(Database, "_found", careless)
    assert not log_after_another_process(*opened[:2])


def test_the_last_check_rebuilds_when_a_needle_is_found(opened, monkeypatch):
    home, database, _ = opened
    take(home, database, A)
    digest = home.name_digest("scan.png")
    monkeypatch.setattr("daemon.scrubbing.wipe", lambda fd: 0)
    asked = []
    monkeypatch.setattr(Database, "_found", lambda self, needles: asked.append(needles) or len(asked) == 1)
    assert database.scrub([digest])
    assert asked == [[digest], [digest]]


def test_the_drift_detectors_forget_too(opened, monkeypatch):
    home, database, book = opened
    for id, brightness in ((A, 0.123456), (B, 0.654321)):
        take(home, database, id, path=f"{id}.png", brightness=brightness, confidence=0.9)
    drift.check(database)
    assert b"0.123456" in json.dumps(list(map(tuple, database.rows("SELECT * FROM detectors")))).encode()
    Erasure(home, database, book).forget([A])
    assert where(home, {"brightness": b"0.123456"}) == {}
    states = {row["name"]: json.loads(row["state"])["state"] for row in database.rows("SELECT * FROM detectors")}
    assert states["brightness"] == [0.654321], "and nobody else's"
    assert states["confidence"][0] == 0, "the sums of one or two documents tell of them"
    monkeypatch.setattr("daemon.drift.forget", lambda database, rows: None)
    Erasure(home, database, book).forget([B])
    assert where(home, {"brightness": b"0.654321"}) == {"brightness": ["state.db"]}, "the test sees it"


def test_more_scattered_slots_than_an_entry_holds_are_forgotten_in_several(opened):
    """Copies of one content, say, which go with it: a refused entry would leave them half forgotten for ever."""
    home, database, book = opened
    slots = range(10**9, 10**9 + 400_000, 2)
    Erasure(home, database, book)._record(slots)
    Erasure(home, database, book)._record(slots)
    assert len(book.entries) == 4
    assert forgotten_slots(book.entries) == [(slot, slot + 1) for slot in slots]
    assert ledger.verify(book.path, home.signing.public).ok


def test_no_copy_ends_between_the_look_for_copies_and_the_forgetting(opened, monkeypatch):
    """An ingest thread ends one at any moment: it goes too, or finds its original gone."""
    home, database, book = opened
    take(home, database, B)
    documents, digest = Documents(database), home.digests.digest("content", b"pixels of ward/scan.png")
    documents.arrive(C, 1.0, b"n", home.pool_of, home.source_digest("ward/x.png"), home.folder_digest("ward/x.png"))
    looks, threads = [], []

    def end_the_copy():
        with database.transaction():
            if documents.original_of(C, digest) == B:
                documents.end(C, Ending("duplicate", digest=digest, original_of=B), 2.0)
                documents.receipt_written(C)

    def look(*given):
        found = with_copies(*given)
        looks.append(found)
        if len(looks) == 2:
            threads.append(threading.Thread(target=end_the_copy))
            threads[0].start()
            threads[0].join(2.0)
        return found

    monkeypatch.setattr(erasure, "with_copies", look)
    Erasure(home, database, book).forget([B])
    threads[0].join()
    assert documents.find(C).state == "claimed"
    assert where(home, {"content digest": digest}) == {}


class Unwalked(list):
    """Ranges of slots that are looked up, and not walked through for each unit."""

    def __iter__(self):
        raise AssertionError("walked through")


def test_what_units_have_spent_is_looked_up(opened, monkeypatch):
    """A round's entry has thousands of ranges, a folder thousands of units: walked through it took minutes."""
    home, database, _ = opened
    monkeypatch.setattr("privacy.odometer.Odometer.charge", lambda self, events, slots: None)
    event = RoundEvent(noise_multiplier=40.0, sample_rate=1.0, steps=10).to_body()
    body = {"round": 1, "purpose": "round", "slots": Unwalked([[0, 3], [5, 6], [9, 12]]), "event": event}
    found = spent(home.settings, database, [SimpleNamespace(kind="debit", body=body)], range(13))
    assert [each.unit for each in found if each.charges] == [0, 1, 2, 5, 9, 10, 11]
