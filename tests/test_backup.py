"""Backups: what they bring back, what they can't bring back, and what they show to who steals them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from daemon import backup, copying, receipts, restoring
from daemon.budget import Budget
from daemon.erasure import Erasure, forgotten_slots
from daemon.errors import NotInitialised, OcrdError, Refused
from daemon.home import open_home
from daemon.operations import Operations
from daemon.schema import COLUMNS, SCHEMA
from daemon.state import Database, Documents
from learners.replay import Pool
from privacy import files, ledger
from privacy.errors import SealBroken
from privacy.ledger import Ledger
from sealed import in_memory, needles, state_folder, take, where

A, B, C = "a" * 16, "b" * 16, "c" * 16
SECRET = "ward 2/secret name.png"


@pytest.fixture
def shm():
    with in_memory() as folder:
        yield folder


@pytest.fixture
def live(shm, weights_dir):
    """A service's state with three documents, one of them failed, open as the service has it."""
    home = state_folder(shm / "home", weights_dir)
    database, book = Database(home.settings.database_path), Ledger(home.settings.ledger_path, home.signing)
    take(home, database, A, path="ward 1/a.png")
    take(home, database, B, path=SECRET)
    take(home, database, C, "failed", "ward 3/c.png")
    book.append("rollout", {"n": 1})
    yield home, database, book
    book.close()
    database.close()


def lose_all_but(home, *kept):
    for path in home.settings.home.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def shut(live):
    home, database, book = live
    book.close()
    database.close()
    return home.settings.home


def test_what_was_there_is_there_again_and_receipts_are_written_anew(live, shm):
    home, database, _ = live
    done = backup.backup(home.settings.home, shm / "backup")
    assert (done.documents, done.removed) == (2, 0)
    Documents(database).arrive("d" * 16, 1.0, b"after the backup", home.pool_of)
    rows = [dict(row) for row in database.rows("SELECT * FROM documents WHERE slot < 3 ORDER BY slot")]
    kept = {name: (home.settings.outbox_dir / f"{name}.json").read_bytes() for name in (A, B, C)}
    path = shut(live)
    lose_all_but(home, "keys", "ledger")
    assert restoring.restore(path, shm / "backup") == restoring.Read(3, 0, 0, False)
    again = open_home(path)
    assert again.vault.get(B, "page-1.png") == f"page of pixels of {SECRET}".encode()
    assert again.failed.get(C, "original") == b"pixels of ward 3/c.png"
    database = Database(again.settings.database_path)
    found = [dict(row) for row in database.rows("SELECT * FROM documents ORDER BY slot")]
    assert found == [{**row, "receipt_pending": 1} for row in rows]
    totals = {(row["kind"], row["name"]): row["n"] for row in database.rows("SELECT * FROM totals")}
    assert totals["state", "done"] == 2
    assert totals["state", "failed"] == 1
    assert sum(n for (kind, _), n in totals.items() if kind == "units") == 3
    indices = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    assert database.row(indices)[0] == SCHEMA.count("CREATE INDEX")
    for id in (A, B, C):
        receipts.write(again, database, id)
        assert (again.settings.outbox_dir / f"{id}.json").read_bytes() == kept[id]
    database.close()


def test_a_backup_shows_numbers_and_times_alone(live, shm):
    home, _, _ = live
    backup.backup(home.settings.home, shm / "home" / ".." / "backup")
    wanted = {k: v for k, v in needles(home, B, SECRET).items() if not k.startswith("wrapped")}
    wanted["master key"] = (home.settings.keys_dir / "master.key").read_bytes()
    wanted["shelf"] = (home.settings.keys_dir / "shelf").read_bytes()[60:]
    elsewhere = type("At", (), {"settings": type("S", (), {"home": shm / "backup"})})
    assert where(elsewhere, wanted) == {}
    assert set(where(home, wanted)) >= {"content digest", "name digest", "master key", "shelf"}


def forgotten_stays_forgotten(live, shm, old_keys=False, keep_ledger=True):
    """Backs up, forgets B, loses the disk, restores, and asserts that nothing opens B or tells of it."""
    home, database, book = live
    backup.backup(home.settings.home, shm / "backup")
    shutil.copytree(home.settings.keys_dir, shm / "keys")
    wanted = {k: v for k, v in needles(home, B, SECRET).items() if not k.startswith("wrapped")}
    Erasure(home, database, book).forget([B])
    path = shut(live)
    lose_all_but(home, "keys", *(["ledger"] if keep_ledger else []))
    if old_keys:
        shutil.rmtree(path / "keys")
        shutil.copytree(shm / "keys", path / "keys")
    done = restoring.restore(path, shm / "backup")
    assert (done.documents, done.forgotten) == (2, 1)
    again = open_home(path)
    assert not any(vault.exists(B) for vault in again.vaults)
    assert where(again, wanted) == {}
    database = Database(again.settings.database_path)
    row = dict(database.row("SELECT * FROM documents WHERE id = ?", B))
    assert row.pop("erasing") == (not keep_ledger)  # the next start tells it the backup's ledger, which has no entry
    assert {name for name, value in row.items() if value not in (None, 0)} == {
        "id", "slot", "unit", "pool", "state", "arrived", "ended", "tries",
    }  # fmt: skip
    assert row["state"] == "forgotten"
    database.close()
    assert not again.shelf.holds("documents", 1)
    assert ledger.verify(again.settings.ledger_path, again.signing.public).ok
    assert again.vault.get(A, "text")


@pytest.mark.parametrize("keep_ledger", [True, False])
def test_no_backup_opens_what_was_forgotten_since(live, shm, keep_ledger):
    forgotten_stays_forgotten(live, shm, keep_ledger=keep_ledger)


def test_not_even_when_an_older_copy_of_the_keys_is_put_back_beside_the_ledger(live, shm):
    forgotten_stays_forgotten(live, shm, old_keys=True)


def test_without_the_look_into_the_ledger_old_keys_would_bring_it_back(live, shm, monkeypatch):
    monkeypatch.setattr(restoring, "forgotten_slots", lambda entries: [])
    with pytest.raises(AssertionError):
        forgotten_stays_forgotten(live, shm, old_keys=True)


def test_without_either_the_shelf_alone_keeps_it_shut(live, shm, monkeypatch):
    """The rule is left out, the tombstone is left out: the key is gone all the same."""
    monkeypatch.setattr(restoring, "_is_gone", lambda home, slot, cuts: False)
    with pytest.raises(LookupError, match="slot 1 was destroyed"):
        forgotten_stays_forgotten(live, shm)


def test_what_no_design_can_prevent_old_keys_old_backup_and_no_ledger(live, shm):
    """Whoever keeps the keys folder from before keeps the documents: so docs and command say to replace the copy."""
    with pytest.raises(AssertionError):
        forgotten_stays_forgotten(live, shm, old_keys=True, keep_ledger=False)


def test_a_backup_is_brought_up_to_date_and_loses_what_was_forgotten(live, shm):
    home, database, book = live
    first = backup.backup(home.settings.home, shm / "backup")
    assert backup.backup(home.settings.home, shm / "backup").copied == 0
    Erasure(home, database, book).forget([B])
    take(home, database, "d" * 16, path="x/d.png")
    second = backup.backup(home.settings.home, shm / "backup")
    assert 0 < second.copied < first.copied
    assert second.removed == 2
    assert not (shm / "backup" / "vault" / B).exists()


@pytest.mark.parametrize("broken_off", ["forget", "evict"])
def test_what_was_half_destroyed_when_the_backup_was_made_is_destroyed_at_the_start_after_a_restore(
    live, shm, monkeypatch, broken_off
):
    """The disk refuses before the keys are gone (of an eviction: before the files are), and the machine is lost."""
    home, database, book = live
    wanted = needles(home, B, SECRET)
    refuse = OSError(errno.EIO, os.strerror(errno.EIO))
    with monkeypatch.context() as failing, pytest.raises(OSError, match=os.strerror(errno.EIO)):
        if broken_off == "forget":
            failing.setattr("privacy.shelf.Shelf.puncture", Mock(side_effect=refuse))
            Erasure(home, database, book).forget([B])
        else:
            failing.setattr("privacy.vault.Vault.shred_all", Mock(side_effect=refuse))
            failing.setattr(Erasure, "_horizon", lambda self, now: 2)
            Erasure(home, database, book).evict(0.0)
    backup.backup(home.settings.home, shm / "backup")
    path = shut(live)
    lose_all_but(home, "keys", "ledger")
    restoring.restore(path, shm / "backup")
    again = open_home(path)
    database, book = Database(again.settings.database_path), Ledger(again.settings.ledger_path, again.signing)
    Operations(again, database, book).start()
    book.close()
    database.close()
    assert not any(vault.begun(B) for vault in again.vaults)
    if broken_off == "forget":
        assert where(again, wanted) == {}


def test_a_forgetting_that_the_ledger_has_not_heard_of_is_told_it_at_the_start_after_a_restore(live, shm, monkeypatch):
    """The keys were destroyed, the ledger refused its entry, and the database was lost."""
    home, database, book = live
    backup.backup(home.settings.home, shm / "backup")
    with monkeypatch.context() as failing, pytest.raises(OSError, match="full"):
        failing.setattr(book, "append", Mock(side_effect=OSError(errno.ENOSPC, "full")))
        Erasure(home, database, book).forget([B])
    path = shut(live)
    lose_all_but(home, "keys", "ledger")
    assert restoring.restore(path, shm / "backup").forgotten == 1
    again = open_home(path)
    database, book = Database(again.settings.database_path), Ledger(again.settings.ledger_path, again.signing)
    Operations(again, database, book).start()
    assert forgotten_slots(book.entries) == [(1, 2)]
    assert database.row("SELECT COUNT(*) FROM documents WHERE erasing = 1")[0] == 0
    book.close()
    database.close()


def test_the_columns_are_all_that_a_row_has(live):
    _, database, _ = live
    assert tuple(row["name"] for row in database.rows("PRAGMA table_info(documents)")) == COLUMNS


def test_a_backup_holds_few_rows_at_a_time(live, shm, monkeypatch):
    """Rows pass one by one: none is taken before the one before it was written."""
    home, _, _ = live
    order = []
    sealed, insert = backup._sealed, copying._insert

    def written(copy, into, count, rows):
        insert(copy, into, count, rows if "documents" not in into else (order.append("written") or row for row in rows))

    monkeypatch.setattr(backup, "_sealed", lambda shelf, row: order.append("read") or sealed(shelf, row))
    monkeypatch.setattr(copying, "_insert", written)
    backup.backup(home.settings.home, shm / "backup")
    assert order == ["read", "written"] * 3


@pytest.mark.parametrize("step", ["copy_into", "mirror", "move"])
def test_a_backup_cut_short_is_done_again(live, shm, monkeypatch, step):
    home, _, _ = live
    place = {"copy_into": backup.Database, "mirror": backup.mirror, "move": backup.files}[step]
    with monkeypatch.context() as full:
        full.setattr(place, step, lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            backup.backup(home.settings.home, shm / "backup")
    with pytest.raises(Refused, match="never finished"):
        restoring.restore(shm / "other", shm / "backup")
    backup.backup(home.settings.home, shm / "backup")
    path = shut(live)
    lose_all_but(home, "keys")
    assert restoring.restore(path, shm / "backup").documents == 3


def test_a_restore_cut_short_is_done_again(live, shm, monkeypatch):
    home, _, _ = live
    (home.settings.models_dir / "0123456789abcdef").mkdir()
    (home.settings.models_dir / "0123456789abcdef" / "rec.onnx").write_bytes(b"a model")
    backup.backup(home.settings.home, shm / "backup")
    path = shut(live)
    lose_all_but(home, "keys")
    for module, step in ((backup.mirror, "mirror"), (backup.syncfs, "sync_file_system"), (backup.files, "move")):
        with monkeypatch.context() as planted:
            planted.setattr(module, step, lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                restoring.restore(path, shm / "backup")
        assert not (path / "state.db").exists()
    (path / "models" / "0123456789abcdef" / ".rec.onnx.0123.part").write_bytes(b"half")  # as a kill leaves one
    restoring.restore(path, shm / "backup")
    assert [p.name for p in (path / "models" / "0123456789abcdef").iterdir()] == ["rec.onnx"]
    entries = ledger.verify(path / "ledger" / "ledger.jsonl", open_home(path).signing.public).entries
    assert [entry.kind for entry in entries] == ["rollout", "retire"]


def test_units_of_a_backup_whose_ledger_may_be_behind_teach_no_more(live, shm):
    home, _, _ = live
    backup.backup(home.settings.home, shm / "backup")
    path = shut(live)
    lose_all_but(home, "keys")
    assert restoring.restore(path, shm / "backup").retired
    again = open_home(path)
    database = Database(again.settings.database_path)
    with Ledger(again.settings.ledger_path, again.signing) as book:
        for n in range(8):
            take(again, database, f"{n:016x}", path=f"new/{n}.png", labelled=True)
        members = [unit for pool in Pool for unit in Budget(again, database, book).snapshot(pool, 100).members]
        Operations(again, database, book).start()
    database.close()
    assert sorted(members) == list(range(3, 11))


def test_a_ledger_that_does_not_go_on_from_the_backups_is_refused(live, shm):
    home, _, book = live
    early = {p.name: p.read_bytes() for p in home.settings.ledger_path.parent.iterdir()}
    book.append("rollout", {"n": 2})
    backup.backup(home.settings.home, shm / "backup")
    path = shut(live)
    lose_all_but(home, "keys", "ledger")
    for name, data in early.items():
        (path / "ledger" / name).write_bytes(data)
    with pytest.raises(Refused, match="does not go on from the backup's"):
        restoring.restore(path, shm / "backup")


def test_keys_of_another_generation_are_named(live, shm):
    home, database, book = live
    backup.backup(home.settings.home, shm / "backup")
    Operations(home, database, book).rotate()
    path = shut(live)
    lose_all_but(home, "keys", "ledger")
    with pytest.raises(Refused, match=r"generation 0, and those here are of\s+generation 1"):
        restoring.restore(path, shm / "backup")


def test_a_row_that_was_altered_is_not_taken(live, shm):
    home, _, _ = live
    backup.backup(home.settings.home, shm / "backup")
    import sqlite3

    with sqlite3.connect(shm / "backup" / "state.db") as copy:
        copy.execute("UPDATE documents SET sealed = (SELECT sealed FROM documents WHERE id = ?) WHERE id = ?", (A, B))
    path = shut(live)
    lose_all_but(home, "keys", "ledger")
    with pytest.raises(SealBroken, match="'row'"):
        restoring.restore(path, shm / "backup")


def test_refusals_say_what_to_do(live, shm):
    home, _, _ = live
    path = home.settings.home
    with pytest.raises(OcrdError, match="a folder outside"):
        backup.backup(path, path / "backup")
    (shm / "mine").mkdir()
    (shm / "mine" / "file").write_bytes(b"x")
    with pytest.raises(OcrdError, match="no backup of ocrd"):
        backup.backup(path, shm / "mine")
    with pytest.raises(Refused, match="no backup of ocrd"):
        restoring.restore(path, shm / "mine")
    backup.backup(path, shm / "backup")
    with pytest.raises(Refused, match="is in use"):
        restoring.restore(path, shm / "backup")
    (shm / "empty").mkdir()
    with pytest.raises(NotInitialised, match="shelf is missing"):
        restoring.restore(shm / "empty", shm / "backup")
    with pytest.raises(NotInitialised, match="Make it, and put your copy of the keys"):
        restoring.restore(shm / "nowhere", shm / "backup")


def test_two_backups_into_one_folder_do_not_meet(live, shm):
    home, _, _ = live
    backup.backup(home.settings.home, shm / "backup")
    with backup._alone(shm / "backup"), pytest.raises(Refused, match="Another backup"):
        backup.backup(home.settings.home, shm / "backup")
    assert backup.backup(home.settings.home, shm / "backup").copied == 0


def test_what_was_broken_off_leaves_nothing_aside(live, shm):
    home, _, _ = live
    backup.backup(home.settings.home, shm / "backup")
    left = [shm / "backup" / name for name in (".state.db.part", ".backup.json.0.part", "ledger/.ledger.0.part")]
    for path in left:
        path.write_bytes(b"half")
    backup.backup(home.settings.home, shm / "backup")
    assert not any(path.exists() for path in left)
    lose_all_but(home, "keys")
    settings = home.settings.home / ".ocrd.toml.0.part"
    settings.write_bytes(b"half")
    restoring.restore(home.settings.home, shm / "backup")
    assert not settings.exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_backup_loses_nothing_when_the_disk_does_not_say_what_is_there(live, shm, monkeypatch, number):
    """What can't be looked at is not gone: it was pruned from the backup, and the command ended with 0."""
    home, _, _ = live
    backup.backup(home.settings.home, shm / "backup")
    lstat = Path.lstat

    def refused(self):
        if self.name == B and self.is_relative_to(home.settings.home):
            raise OSError(number, os.strerror(number), str(self))
        return lstat(self)

    with monkeypatch.context() as disk:
        disk.setattr(Path, "lstat", refused)
        with pytest.raises(OSError, match=B):
            backup.mirror.prune(shm / "backup" / "vault", home.settings.home / "vault")
    assert (shm / "backup" / "vault" / B).exists()


def test_a_restore_that_the_disk_broke_off_at_its_last_step_is_gone_on_with(live, shm, monkeypatch):
    home, _, _ = live
    backup.backup(home.settings.home, shm / "backup")
    lose_all_but(home, "keys")
    sync_dir, refusals = files.sync_dir, []

    def refused(path):
        if (home.settings.database_path).exists() and not refusals:
            refusals.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        sync_dir(path)

    monkeypatch.setattr(files, "sync_dir", refused)
    with pytest.raises(OSError, match="error"):
        restoring.restore(home.settings.home, shm / "backup")
    assert restoring.restore(home.settings.home, shm / "backup") == restoring.Read(3, 0, 0, True)
    with pytest.raises(Refused, match="is in use"):
        restoring.restore(home.settings.home, shm / "backup")
    files.write_bytes(home.settings.home / restoring.MARK, b"")
    again = open_home(home.settings.home)
    database = Database(again.settings.database_path)
    with Ledger(again.settings.ledger_path, again.signing) as book:
        Operations(again, database, book).start()
    database.close()
    with pytest.raises(Refused, match="is in use"):
        restoring.restore(home.settings.home, shm / "backup")


def test_a_link_that_was_broken_off_is_swept_and_made_anew(live, shm):
    home, _, _ = live
    backup.backup(home.settings.home, shm / "backup")
    link = shm / "backup" / "models" / "current"
    link.unlink()
    left = link.with_name(".current.0.part")
    left.symlink_to(next(path for path in link.parent.iterdir() if path.is_dir()).name)
    backup.mirror.sweep(shm / "backup" / "models")
    assert not left.is_symlink()
    backup.backup(home.settings.home, shm / "backup")
    assert link.is_symlink()
