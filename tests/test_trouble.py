"""What the machine refuses is said without private names, and tried again with pauses that double."""

import errno
import logging
import sqlite3
import threading
from pathlib import Path

import pytest

from daemon import taking, trouble
from daemon.errors import EXIT_CODES, DiskRefused, exit_code
from daemon.taking import Claims, Ready

HOME = Path("/state")
LOG = logging.getLogger("test")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/state/inbox/ward/Jane Doe.png", "/state/inbox"),
        ("/state/claimed/0123456789abcdef/Jane Doe.png", "/state/claimed"),
        ("/state/outbox/.0123.json.ab12.part", "/state/outbox"),
        ("/state/keys/shelf", "/state/keys/shelf"),
        ("Jane Doe.png", "/state"),
    ],
)
def test_it_says_where_and_what_to_do_and_no_file_names(path, shown):
    text = trouble.explain(OSError(errno.ENOSPC, "No space left on device", path), HOME)
    assert text == f"{shown}: No space left on device; make room on that file system"
    assert exit_code(trouble.refused(OSError(errno.EIO, "x"), HOME)) == EXIT_CODES[DiskRefused] == 11


def test_what_is_gone_is_named_too():
    gone = FileNotFoundError(errno.ENOENT, "No such file or directory", "/state/inbox")
    assert trouble.explain(gone, HOME) == "/state/inbox: No such file or directory; see whether it is mounted"
    assert not trouble.is_trouble(gone)
    changed = BlockingIOError(errno.EAGAIN, "the file changed while it was read")
    assert trouble.explain(changed, HOME) == "the file changed while it was read"


def test_a_database_that_is_full_is_a_full_disk():
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    assert "/state/state.db (SQLITE_FULL): No space left on device; make room" in trouble.explain(error, HOME)
    error.sqlite_errorname = "SQLITE_ERROR"
    assert not trouble.is_trouble(error)
    assert not trouble.is_trouble(FileNotFoundError(errno.ENOENT, "x"))


def test_pauses_double_and_end_with_a_stop(monkeypatch):
    pauses = []

    class Stopping(threading.Event):
        def wait(self, seconds=None):
            pauses.append(seconds)
            return len(pauses) == 9

    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "/state/ledger")

    with pytest.raises(DiskRefused, match="make room"):
        trouble.patiently(full, HOME, Stopping(), LOG)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_labels_that_could_not_be_put_back_are_put_back_later(tmp_path, monkeypatch):
    inbox, claimed = tmp_path / "in", tmp_path / "claimed"
    inbox.mkdir()
    claimed.mkdir(mode=0o700)
    for name in ("a.png", "a.txt"):
        (inbox / name).write_bytes(name.encode())
    names = ("a.png", "a.txt")
    image, labels = ((name, taking.seen((inbox / name).stat())) for name in names)
    ready = Ready(*image, labels)
    claims = Claims(inbox, claimed)

    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    rename = Claims._rename
    with monkeypatch.context() as broken:
        broken.setattr(Claims, "_put_back", fail)
        broken.setattr(
            Claims, "_rename", lambda self, path, *rest: fail() if path == names[0] else rename(self, path, *rest)
        )
        with pytest.raises(OSError, match="Input/output"):
            claims.take(ready)
        assert not (inbox / "a.txt").exists()
    claims.settle()
    assert (inbox / "a.txt").read_bytes() == b"a.txt"
    assert list(claimed.iterdir()) == []


def test_a_cause_is_told_once_a_minute_and_the_others_are_counted():
    told = trouble.Told()
    assert told.first("full", 0.0)
    assert [told.first("full", 1.0), told.first("full", 59.0), told.first("busy", 59.0)] == [False, False, True]
    assert told.others(59.0) == []
    assert told.others(60.0) == [("full", 2)]
    assert not told.first("full", 61.0), "that was told of a second ago"
    assert told.others(120.0) == [("full", 1)]
    assert told.others(1000.0) == []
    assert told.first("full", 1000.0)


def test_a_cause_is_the_same_for_every_file():
    causes = {trouble.cause(OSError(errno.ENOSPC, "No space left on device", f"/state/vault/{n}")) for n in range(3)}
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorname = "SQLITE_FULL"
    assert causes == {trouble.cause(full)} == {"No space left on device"}
    assert trouble.cause(BlockingIOError(errno.EAGAIN, "changed")) == "Resource temporarily unavailable"
