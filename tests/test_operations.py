"""The commands about documents and keys, with a real service running and with none."""

from __future__ import annotations

import base64
import contextlib
import errno
import itertools
import json
import math
import os
import shutil
import sqlite3
import time
import types

import pytest
from click.testing import CliRunner, Result

from daemon import claims, retry
from daemon.budget import Budget
from daemon.cli import main
from daemon.errors import BadFile, NotInitialised, Refused
from daemon.home import create, lock, open_home
from daemon.ingest import Ingest
from daemon.learning import Learning
from daemon.operations import Operations
from daemon.pipeline import ORIGINAL_BLOB, SIDECAR_BLOB, Pipeline, Prepared, Read
from daemon.recovery import recover
from daemon.service import Service
from daemon.state import Database, Documents
from daemon.status import collect
from daemon.taking import Claims
from learners import sidecars, synthesis
from learners.lines import document, pack
from learners.replay import Pool
from models.manifest import MODEL_FILES
from privacy import files, ledger
from privacy.accountant import RoundEvent
from privacy.ledger import Ledger
from running import SETTINGS, Running, drop, png, receipts
from sealed import in_memory, needles, state_folder, take, where

A, B = "a" * 16, "b" * 16


@pytest.fixture
def shm():
    with in_memory() as folder:
        yield folder


@pytest.fixture
def opened(shm, weights_dir):
    home = state_folder(shm / "home", weights_dir, SETTINGS)
    database = Database(home.settings.database_path)
    yield home, database
    database.close()


def ocrd(home, *arguments, answer=None) -> Result:
    """The command, in this process: it starts in no time, and what it asks is another process."""
    return CliRunner().invoke(main, ["--home", str(home), *arguments], input=answer)


def clock_of_looks(monkeypatch):
    """A second goes by from one look at the clock to the next; for the ingest alone, not for every thread there is."""
    clock = types.SimpleNamespace(monotonic=itertools.count().__next__, time=time.time)
    monkeypatch.setattr("daemon.ingest.time", clock)


def by_name(home, name):
    done = ocrd(home, "find", name)
    assert done.exit_code == 0, done.output
    return done.output.split()[0]


def test_a_day_of_an_operator(shm, weights_dir, monkeypatch):
    """Fails first (too large), is retried, exported, backed up, rotated, forgotten; then the disk is lost."""
    opened = state_folder(shm / "home", weights_dir, SETTINGS)
    home = opened.settings.home
    monkeypatch.setenv("OCRD_INGEST__MAX_FILE_BYTES", "1024")
    with Running(home) as service:
        for seed in range(3):
            made = synthesis.thermal_label(seed)
            (home / "inbox" / f"patient {seed}").mkdir()
            drop(home, f"patient {seed}/label {seed}.png", png(made), sidecars.write_sidecar(made))
        assert {r["state"] for r in service.wait_for_receipts(3)} == {"failed"}
    monkeypatch.delenv("OCRD_INGEST__MAX_FILE_BYTES")
    first = by_name(home, "label 0.png")
    with Running(home) as service:
        assert ocrd(home, "retry", first).exit_code == 0
        done = ocrd(home, "retry", "--all")
        assert done.output.count("is taken up again") == 2, done.output
        service.wait_for(lambda: all(r["state"] != "failed" for r in receipts(home)))
        found = receipts(home)
        assert [(r["state"], r["tries"]) for r in found] == [("done", 2)] * 3
        assert ocrd(home, "retry", first).exit_code == 8
        check_export(home, first)
        assert ocrd(home, "backup", str(shm / "backup")).exit_code == 0
        check_rotation(home)
        assert ocrd(home, "backup", str(shm / "backup")).exit_code == 0
        wanted = needles(open_home(home), first, "patient 0/label 0.png", png(synthesis.thermal_label(0)))
        done = ocrd(home, "forget", "--source", "patient 0", "--yes")
        assert "forgot 1 document" in done.output, done.output
        assert "no model has learned from them" in done.output
        assert "unlearn" not in done.output
        assert where(opened, wanted) == {}
        assert len(receipts(home)) == 2
    assert ocrd(home, "find", "label 0.png").exit_code == 1
    second = by_name(home, "label 1.png")
    asked = ocrd(home, "forget", second, answer="n\n")
    assert (asked.exit_code, "can't be undone" in asked.output) == (1, True)
    assert ocrd(home, "forget", second, "--yes").exit_code == 0
    assert ledger.verify(opened.settings.ledger_path, opened.signing.public).ok
    check_restore(home, shm)


def check_export(home, document):
    out = home.parent / "out"
    out.mkdir()
    done = ocrd(home, "export", document, "--out", str(out))
    assert done.exit_code == 0, done.output
    found = {path.name: path.read_bytes() for path in (out / document).iterdir()}
    assert found["original.png"] == png(synthesis.thermal_label(0))
    assert found["labels.txt"] == sidecars.write_sidecar(synthesis.thermal_label(0))
    assert found["name.txt"] == b"patient 0/label 0.png\n"
    assert found["page-1.png"].startswith(b"\x89PNG")
    record = json.loads(found["document.json"])
    assert (record["state"], record["tries"], record["privacy"]["charges"]) == ("done", 2, [])
    assert len(record["labels"]) == len([name for name in found if name.startswith("line-")]) > 0
    assert json.loads(found["text.json"]) == next(r["text"] for r in receipts(home) if r["document"] == document)
    assert ocrd(home, "export", document, "--out", str(out)).exit_code == 1


def check_rotation(home):
    old = (home / "keys" / "master.key").read_bytes()
    done = ocrd(home, "key", "rotate")
    assert "6 data keys wrapped anew" in done.output, done.output
    assert (home / "keys" / "master.key").read_bytes() != old
    by_name(home, "label 2.png")


def check_restore(home, shm):
    for path in home.iterdir():
        if path.name not in ("keys", "ledger"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = ocrd(home, "restore", str(shm / "backup"))
    assert "1 document restored, 2 stay forgotten, 0 are lost" in done.output, done.output
    assert ocrd(home, "find", "label 1.png").exit_code == 1
    third = by_name(home, "label 2.png")
    out = shm / "recovered"
    out.mkdir()
    assert ocrd(home, "recover", third, "--out", str(out)).exit_code == 0
    assert (out / "label 2.png").read_bytes() == png(synthesis.thermal_label(2))


def test_usage(opened):
    home, database = opened
    take(home, database, A, "failed")
    path = home.settings.home
    assert ocrd(path, "forget").exit_code == 2
    assert ocrd(path, "retry").exit_code == 2
    assert ocrd(path, "retry", A, "--all").exit_code == 2
    assert ocrd(path, "forget", "--file", "never.png", "--yes").exit_code == 1
    assert ocrd(path, "export", B, "--out", str(path.parent)).exit_code == 1


def test_what_a_forgotten_unit_was_charged_is_said(opened):
    home, database = opened
    take(home, database, A)
    event = {"sample_rate": 1.0, "noise_multiplier": 20.0, "steps": 10}
    with Ledger(home.settings.ledger_path, home.signing) as book:
        body = {"round": 1, "purpose": "round", "slots": [[0, 3]], "event": event, "epsilon": 0.7}
        book.append("debit", body)
        with database.transaction() as db:
            db.execute("INSERT INTO rounds (started, state, cause, version) VALUES (1, 'live', 'by hand', 'abc')")
        answer = Operations(home, database, book).forget([A])
    (spent,) = answer["spent"]
    assert spent["charges"] == ({"round": 1, "purpose": "round", "epsilon": 0.7, "state": "live", "version": "abc"},)
    assert 0.5 < spent["epsilon"] < 3


@pytest.mark.parametrize("state", ["done", "quarantined"])
def test_only_failed_documents_are_taken_up_again(opened, state):
    home, database = opened
    take(home, database, A, state)
    with pytest.raises(Refused, match=f"expected a failed document, got {state}"):
        retry.take_up(home, database, A)


def test_labels_without_an_image_are_not_taken_up_again(opened):
    home, database = opened
    take(home, database, A, "failed", "ward/labels.txt")
    with pytest.raises(Refused, match="without an image"):
        retry.take_up(home, database, A)


def test_a_retry_cut_short_leaves_the_failed_document_or_a_claim(shm, weights_dir, monkeypatch):
    from sealed import every_step

    home = state_folder(shm / "home", weights_dir)
    database = Database(home.settings.database_path)

    def check(id, ended):
        retry.sweep(home)
        state = Documents(database).find(id).state
        claims = {path.name for path in home.settings.claimed_dir.iterdir()}
        assert state == "claimed" if ended else state in ("failed", "claimed")
        assert id in claims or state == "failed"
        assert home.failed.get(id, "original"), "it stays sealed until the new ending is there"
        if state == "claimed":
            assert (home.settings.claimed_dir / id / "ward" / "scan.png").read_bytes() == f"pixels {id}".encode()
            assert (home.settings.claimed_dir / id / "ward" / "labels.txt").exists()

    every_step(
        monkeypatch,
        lambda n: take(home, database, f"{n:016x}", "failed", content=f"pixels {n:016x}".encode()),
        lambda id: retry.take_up(home, database, id),
        check,
    )
    database.close()


def test_a_retry_that_the_database_refused_can_be_asked_for_again(opened, monkeypatch):
    home, database = opened
    take(home, database, A, "failed")
    with monkeypatch.context() as full:
        full.setattr(Documents, "reopen", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("disk is full")))
        with pytest.raises(sqlite3.OperationalError):
            retry.take_up(home, database, A)
    assert list(home.settings.claimed_dir.iterdir()) == [], "it would lie there in clear"
    retry.take_up(home, database, A)
    assert Documents(database).find(A).state == "claimed"


def test_a_later_try_of_a_content_that_has_taught_since_teaches_nothing(opened):
    home, database = opened
    take(home, database, A, "failed", content=b"same")
    take(home, database, B, content=b"same")
    documents = Documents(database)
    assert documents.original_of(A, home.digests.digest("content", b"same")) is None
    retry.take_up(home, database, A)
    assert documents.original_of(A, home.digests.digest("content", b"same")) == B


def test_one_whose_seal_is_broken_keeps_no_other_from_being_tried_again(opened):
    home, database = opened
    for id in (A, B):
        take(home, database, id, "failed", content=id.encode())
    (home.failed.root / A / f"{ORIGINAL_BLOB}.sealed").write_bytes(b"rotten")
    with Ledger(home.settings.ledger_path, home.signing) as book:
        answer = Operations(home, database, book).retry(all=True)
    assert answer["taken"] == [B]
    assert "does not open" in answer["refused"][A]
    assert [path.name for path in home.settings.claimed_dir.iterdir()] == [B]


def test_a_name_as_long_as_can_be_is_tried_again_and_recovered_with_its_labels(opened, tmp_path):
    home, database = opened
    name = "x" * 251 + ".png"
    take(home, database, A, "failed", f"ward/{name}")
    written = recover(home.settings.home, A, tmp_path)
    assert [path.name for path in written] == [name, f"{A}.labels"]
    claim = retry.take_up(home, database, A)
    assert claim.name == f"ward/{name}"
    assert claim.sidecar.read_bytes() == written[1].read_bytes()
    assert Claims(home.settings.inbox_dir, home.settings.claimed_dir).load(A) == claim


@pytest.mark.parametrize("labels", [b"", b"its labels"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_later_try_that_turns_out_to_be_a_copy_leaves_its_labels_alone(opened, monkeypatch, labels, kept):
    """`kept` plants the bug that its original stays in `failed/`."""
    home, database = opened
    take(home, database, A, "failed", content=b"same")
    take(home, database, B, content=b"same")
    if not labels:
        files.remove_synced(home.failed.root / A / f"{SIDECAR_BLOB}.sealed")
    if kept:
        monkeypatch.setattr(Pipeline, "_outdated", lambda self, claim, state: False)
    pipeline = Pipeline(home, database, lambda: False)
    pipeline.process(retry.take_up(home, database, A))
    assert Documents(database).find(A).state == "duplicate"
    if not labels:
        assert home.failed.exists(A) == kept, "the test sees the planted bug, and only that"
    else:
        assert home.failed.get(A, ORIGINAL_BLOB) == b""
        assert home.failed.get(A, SIDECAR_BLOB)


def test_a_claim_that_was_not_to_be_found_and_is_there_again_is_processed(opened, monkeypatch):
    """The claim folder may lie on a disk that is not mounted at a start."""
    home, database = opened
    monkeypatch.setattr(Pipeline, "_read", lambda *_: (_ for _ in ()).throw(BadFile("is not an image")))
    ingest = Ingest(home, database)
    drop(home.settings.home, "a.png", b"x")
    ingest.inbox.scan(time.monotonic() - 3600)
    ingest.tick()
    claimed = home.settings.claimed_dir
    claimed.rename(claimed.with_name("elsewhere"))
    claimed.mkdir(mode=0o700)
    Ingest(home, database)._recover()
    assert [row["state"] for row in database.rows("SELECT state FROM documents")] == ["withdrawn"]
    claimed.rmdir()
    claimed.with_name("elsewhere").rename(claimed)
    ingest = Ingest(home, database)
    ingest._recover()
    ingest._end(ingest._pipelines[0], ingest._prepared(ingest._pipelines[0]))
    (row,) = database.rows("SELECT id, state, tries FROM documents")
    assert (row["state"], row["tries"]) == ("failed", 2)
    assert home.failed.get(row["id"], ORIGINAL_BLOB) == b"x"
    assert (home.settings.outbox_dir / f"{row['id']}.json").exists()


@pytest.mark.parametrize("there", [False, True], ids=["the folder is not mounted", "an empty one lies there"])
def test_a_disk_that_goes_while_claims_wait_loses_none(opened, monkeypatch, there):
    """More wait than are held in memory: the others are fetched from a disk that has gone, and comes back."""
    home, database = opened
    monkeypatch.setattr("daemon.waiting.MOST_HELD", 2)
    monkeypatch.setattr(Pipeline, "_read", lambda *_: (_ for _ in ()).throw(BadFile("is not an image")))
    ingest = Ingest(home, database)
    for number in range(6):
        drop(home.settings.home, f"{number}.png", b"%d" % number)
    ingest.inbox.scan(time.monotonic() - 3600)
    ingest.tick()

    def work(ingest):
        while not ingest._queue.empty():
            ingest._end(ingest._pipelines[0], ingest._prepared(ingest._pipelines[0]))
            with contextlib.suppress(OSError):
                ingest._waiting.refill()

    work_two = [ingest._pipelines[0].process(ingest._queue.get()) for _ in range(2)]
    assert [arrival.state for arrival in work_two] == ["failed", "failed"]
    for arrival in work_two:
        ingest._waiting.held.discard(arrival.id)
    claimed = home.settings.claimed_dir
    claimed.rename(claimed.with_name("elsewhere"))
    if there:
        claimed.mkdir(mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        ingest.tick()
    work(ingest)
    if there:
        claimed.rmdir()
    claimed.with_name("elsewhere").rename(claimed)
    ingest.tick()
    work(ingest)
    again = Ingest(home, database)
    again._recover()
    work(again)
    again._waiting.refill()
    work(again)
    rows = database.rows("SELECT id, state FROM documents ORDER BY slot")
    assert [row["state"] for row in rows] == ["failed"] * 6
    assert [home.failed.get(row["id"], ORIGINAL_BLOB) for row in rows] == [b"%d" % number for number in range(6)]


def test_a_claim_of_which_somebody_removed_the_file_is_withdrawn_at_the_next_start(opened):
    """Not a document without a byte, and not tried for ever."""
    home, database = opened
    ingest = Ingest(home, database)
    drop(home.settings.home, "a.png", b"x")
    ingest.inbox.scan(time.monotonic() - 3600)
    ingest.tick()
    (folder,) = home.settings.claimed_dir.iterdir()
    (folder / "a.png").unlink()
    with pytest.raises(FileNotFoundError):
        ingest._pipelines[0].process(ingest._queue.get())
    for _ in range(2):
        again = Ingest(home, database)
        again._recover()
        assert again.backlog() == 0
    assert [row["state"] for row in database.rows("SELECT state FROM documents")] == ["withdrawn"]
    assert list(home.settings.claimed_dir.iterdir()) == []


def test_an_inbox_that_is_gone_is_said_once_and_by_status(opened, caplog):
    home, database = opened
    service, ingest = Service(home.settings.home), Ingest(home, database)
    planned = []
    calendar = types.SimpleNamespace(tick=lambda: planned.append(1))
    inbox = home.settings.inbox_dir
    inbox.rename(inbox.with_name("elsewhere"))
    with lock(home.settings):
        for _ in range(3):
            service._look(database, ingest, calendar)
        why = f"the inbox: {inbox}: No such file or directory; see whether it is mounted"
        assert why in collect(home.settings.home).problems
        inbox.with_name("elsewhere").rename(inbox)
        service._look(database, ingest, calendar)
        assert why not in collect(home.settings.home).problems
    assert caplog.text.count(why) == 1
    assert len(planned) == 4, "the calendar goes on"


@pytest.mark.parametrize(
    ("of", "why"),
    [
        ("bytes", "less than 1024 MiB free (ingest.min_free_bytes)"),
        ("files", "room for fewer than 10000 files (ingest.min_free_files)"),
    ],
)
def test_nothing_is_taken_below_the_floor_and_it_recovers(opened, monkeypatch, caplog, of, why):
    home, database = opened
    ingest = Ingest(home, database)
    drop(home.settings.home, "a.png", b"x")
    room = [2**40]
    monkeypatch.setattr(f"daemon.mounts.free_{of}", lambda path: room[0])
    clock_of_looks(monkeypatch)
    ingest.tick()
    room[0] = 9_999
    ingest.tick()
    assert ingest.inbox.waiting == {why: 1}
    assert caplog.text.count(f"nothing is taken out of the inbox: {why}") == 1
    assert database.rows("SELECT * FROM documents") == []
    room[0] = 2**40
    ingest.tick()
    assert [row["state"] for row in database.rows("SELECT state FROM documents")] == ["claimed"]
    assert ingest.inbox.waiting == {}


def test_few_claims_are_held_and_none_is_left_out(opened, monkeypatch):
    home, database = opened
    monkeypatch.setattr("daemon.waiting.MOST_HELD", 4)
    ingest = Ingest(home, database)
    for n in range(11):
        drop(home.settings.home, f"{n:02}.png", b"%d" % n)
    clock_of_looks(monkeypatch)
    ingest.tick()
    ingest.tick()
    slots = {row["id"]: row["slot"] for row in database.rows("SELECT id, slot FROM documents")}
    assert len(slots) == 11, "every one has its slot at once"
    seen, most = [], 0
    while len(seen) < 11:
        most = max(most, len(ingest._waiting.held))
        claim = ingest._queue.get(timeout=60)
        seen.append(slots[claim.id])
        Documents(database).withdraw(claim.id, 1.0)
        ingest._done(claim)
        ingest.tick()
    assert most == 4
    assert seen == list(range(11))
    assert ingest._queue.empty()


def test_a_sealing_that_broke_off_leaves_nothing_when_the_document_ends_otherwise(opened, monkeypatch):
    home, database = opened
    ingest = Ingest(home, database)
    drop(home.settings.home, "a.png", b"x")
    ingest.inbox.scan(time.monotonic() - 3600)
    ingest.tick()
    claim, (pipeline,) = ingest._queue.get(), ingest._pipelines
    monkeypatch.setattr(Pipeline, "_read", lambda *_: Read({"verdict": "done"}, {"text": b"[]"}))
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(errno.ENOSPC, "the disk is full")))
        full.setattr(
            Pipeline, "_seal", lambda self, claim, data, *more: self._keep(home.vault, claim, data, b"", more[-1])
        )
        with pytest.raises(OSError, match="full"):
            pipeline.process(claim)
    assert list(home.vault.root.iterdir())
    monkeypatch.setattr(Pipeline, "_read", lambda *_: (_ for _ in ()).throw(BadFile("is not an image")))
    assert pipeline.process(claim).state == "failed"
    assert list(home.vault.root.iterdir()) == []


def test_a_document_that_is_forgotten_between_listing_and_loading_gets_no_receipt(opened):
    home, database = opened
    take(home, database, A)
    ingest = Ingest(home, database)
    with Ledger(home.settings.ledger_path, home.signing) as book:
        Operations(home, database, book).forget([A])
    ingest._waiting._lowest, ingest._waiting._more = lambda most: [A], True
    ingest._waiting.refill()
    assert ingest._queue.empty()
    assert ingest._waiting.held == set()


def test_a_thread_outlives_a_database_that_refuses_to_list_the_waiting(opened, monkeypatch):
    home, database = opened
    monkeypatch.setattr("daemon.waiting.MOST_HELD", 2)
    monkeypatch.setattr(Pipeline, "_read", lambda *_: (_ for _ in ()).throw(BadFile("is not an image")))
    ingest, rows = Ingest(home, database), database.rows
    for n in range(3):
        drop(home.settings.home, f"{n}.png", b"%d" % n)
    ingest.inbox.scan(time.monotonic() - 3600)
    ingest.tick()
    refused = []

    def refusing(sql, *values):
        if "LIMIT" in sql and not refused:
            refused.append(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return rows(sql, *values)

    monkeypatch.setattr(database, "rows", refusing)
    ingest._threads[0].start()
    deadline = time.monotonic() + 120
    while len(list(home.settings.outbox_dir.glob("*.json"))) < 3 and time.monotonic() < deadline:
        ingest.tick()
        time.sleep(0.02)
    assert refused
    assert ingest._threads[0].is_alive()
    ingest.stop(time.monotonic() + 60)
    assert len(list(home.settings.outbox_dir.glob("*.json"))) == 3


@pytest.mark.parametrize("when", ["start", "refill"])
def test_a_claim_that_cannot_be_listed_is_not_taken_for_an_empty_one(opened, monkeypatch, when):
    home, database = opened
    monkeypatch.setattr("daemon.waiting.MOST_HELD", 2)
    monkeypatch.setattr(Pipeline, "_read", lambda *_: (_ for _ in ()).throw(BadFile("is not an image")))
    ingest, scandir = Ingest(home, database), os.scandir
    for n in range(3):
        drop(home.settings.home, f"{n}.png", b"%d" % n)
    ingest.inbox.scan(time.monotonic() - 3600)
    ingest.tick()

    def refusing(path):
        if str(path).startswith(f"{home.settings.claimed_dir}/"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return scandir(path)

    with monkeypatch.context() as disk:
        disk.setattr(os, "scandir", refusing)
        if when == "start":
            ingest = Ingest(home, database)
            with pytest.raises(OSError, match="error"):
                ingest._recover()
        else:
            ingest._end(ingest._pipelines[0], ingest._prepared(ingest._pipelines[0]))
            with pytest.raises(OSError, match="error"):
                ingest._waiting.refill()
    if when == "start":
        ingest._recover()
    for _ in range(2):
        ingest._waiting.refill()
        while not ingest._queue.empty():
            ingest._end(ingest._pipelines[0], ingest._prepared(ingest._pipelines[0]))
    rows = database.rows("SELECT id, state FROM documents ORDER BY slot")
    assert [(row["state"], home.failed.get(row["id"], ORIGINAL_BLOB)) for row in rows] == [
        ("failed", b"%d" % n) for n in range(3)
    ]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ENOSPC, errno.EACCES, errno.EIO])
def test_trouble_of_the_machine_is_waited_out_ever_longer_and_costs_no_document(opened, monkeypatch, caplog, number):
    home, database = opened
    ingest, tries, delays = Ingest(home, database), [], []
    again = ingest._waiting.again

    def at_once(claim, now):
        delays.append(again(claim, now))
        ingest._waiting.requeue(math.inf)
        return delays[-1]

    monkeypatch.setattr(ingest._waiting, "again", at_once)

    class Pipeline:
        def prepare(self, claim):
            tries.append(claim)
            if len(tries) < 9:
                raise OSError(number, os.strerror(number))
            return Prepared(claim, None, None)

        def commit(self, batch):
            ingest._stopping.set()
            return len(batch)

    clock_of_looks(monkeypatch)
    drop(home.settings.home, "a.png", b"x")
    ingest.tick()
    ingest.tick()
    ingest._work(Pipeline())
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert [row["state"] for row in database.rows("SELECT state FROM documents")] == ["claimed"]
    assert ingest._waiting.held == set()
    assert caplog.text.count(os.strerror(number)) == 1


def test_a_master_key_that_systemd_hands_over_is_rotated_into_a_file(opened, shm, monkeypatch):
    home, database = opened
    take(home, database, A)
    keys, credentials = home.settings.keys_dir, shm / "credentials"
    credentials.mkdir()
    (keys / "master.key").rename(credentials / "master.key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    again = open_home(home.settings.home)
    with Ledger(home.settings.ledger_path, home.signing) as book:
        Operations(again, database, book).rotate()
    assert open_home(home.settings.home).vault.get(A, "text"), "the old credential is there still, and the new file"
    (keys / "master.key").replace(credentials / "master.key")
    assert open_home(home.settings.home).vault.get(A, "text")


def test_a_missing_key_is_not_replaced_by_a_new_one(opened, weights_dir):
    home, database = opened
    take(home, database, A)
    for name in ("shelf", "master.key"):
        kept = (home.settings.keys_dir / name).read_bytes()
        (home.settings.keys_dir / name).unlink()
        with pytest.raises(NotInitialised, match="Put your copy"):
            create(home.settings.home, weights_dir, lambda text: None)
        files.write_bytes(home.settings.keys_dir / name, kept)
    assert open_home(home.settings.home).vault.get(A, "text")


def test_a_round_is_broken_off_by_forgetting_and_no_eviction_comes_into_it(opened, draw_lines):
    home, database = opened
    blob = pack(document(0, draw_lines(3)))
    for n in itertools.count():
        take(home, database, f"{n:016x}", path=f"x/{n}.png", lines_blob=blob)
        if database.row("SELECT COUNT(*) AS held_out FROM documents WHERE pool = 'holdout'")["held_out"] == 8:
            break  # fewer could not tell, and the round would be refused before it can be broken off
    learning = Learning(home, database)
    evicted = []
    learning.evict = evicted.append
    operations = Operations(
        home, database, learning.ledger, without_round=lambda: learning.paused("a document was forgotten")
    )
    assert operations.forget([f"{0:016x}"])["round_broken_off"] is None
    learning.between_rounds(lambda: evicted.append("between"))
    begun = time.time()
    number = learning.start("by hand")
    learning.between_rounds(lambda: evicted.append("in a round"))
    assert operations.forget([f"{1:016x}"])["round_broken_off"] == number
    row = database.row("SELECT state, reason FROM rounds WHERE id = ?", number)
    assert tuple(row) == ("interrupted", "a document was forgotten")
    assert evicted[0] == "between"
    assert "in a round" not in evicted
    assert all(begun <= now <= time.time() for now in evicted[1:]), "by the time the round began"
    learning.stop()


def test_a_claim_counts_what_was_forgotten_and_the_slot_stays_in_rounds(opened, tmp_path, monkeypatch):
    home, database = opened
    monkeypatch.setattr(claims.audited, "record", lambda: None)  # what an audit found is test_audit's
    for n in range(24):
        take(home, database, f"{n:016x}", path=f"x/{n}.png", labelled=True)
    for name in MODEL_FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"weights")
    with Ledger(home.settings.ledger_path, home.signing) as book:
        before = Budget(home, database, book).snapshot(Pool.TRAIN, 100)
        gone = before.members[3]
        Operations(home, database, book).forget([f"{gone:016x}"])
        budget = Budget(home, database, book)
        after = budget.snapshot(Pool.TRAIN, 100)
        assert after.members == before.members, "it is charged like the others"
        assert set(before.present) - set(after.present) == {gone}
        event = RoundEvent(1.0, 30.0, 10)
        debit = budget.charge(1, "round", after.members, event, epsilon=1.0)
        plan = {"max_grad_norm": 1.0, "second_opinion": 1.0}
        envelope = claims.compose(home, book, budget, {"round": debit}, plan, tmp_path)
    assert b'"erasures":1' in base64.b64decode(envelope["payload"])
