"""What the machine refuses is said without private names, and tried again with pauses that double."""

import errno
import importlib
import logging
import os
import re
import sqlite3
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from daemon import taking, trouble
from daemon.cli import main
from daemon.control import Control
from daemon.errors import EXIT_CODES, AlreadyRunning, DiskRefused, NotInitialised, NotMounted, NotOurs, exit_code
from daemon.home import lock, open_home
from daemon.service import Service, _thread_ended
from daemon.taking import Claims, Ready
from sealed import in_memory, state_folder

HOME = Path("/state")
LOG = logging.getLogger("test")
MAY_NOT = 99


@pytest.fixture
def shm():
    with in_memory() as folder:
        yield folder


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


def test_an_inbox_that_is_not_mounted_yet_is_waited_for(shm, weights_dir, monkeypatch, caplog):
    """systemd would not start the service again after exit code 4, and gives up after five of another."""
    home, mount = state_folder(shm / "home", weights_dir).settings.home, shm / "scans"
    (home / "ocrd.toml").write_text(f'inbox = "{mount}"\n')
    with pytest.raises(NotMounted, match="scans/.claimed is missing. If it lies on a disk that is not mounted"):
        open_home(home)
    service, told = Service(home), []
    monkeypatch.setattr("daemon.walls.insist", lambda settings: None)

    class Mounting(threading.Event):
        def wait(self, seconds=None):
            (mount / ".claimed").mkdir(parents=True, mode=0o700)
            return False

    service._stopping = Mounting()
    trouble.patiently(service._check, home, service._stopping, LOG, lambda why, delay: told.append((why, delay)))
    ((why, delay),) = told
    assert "is missing" in why
    assert delay == trouble.FIRST_DELAY
    assert exit_code(NotMounted("x")) == 11


def test_a_folder_of_its_own_that_is_missing_is_not_waited_for(shm, weights_dir):
    home = state_folder(shm / "home", weights_dir).settings.home
    (home / "claimed").rmdir()
    with pytest.raises(NotInitialised, match="init"):
        trouble.patiently(lambda: open_home(home), home, threading.Event(), LOG)


def test_a_thread_that_ends_tells_no_file_name(caplog, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", _thread_ended)

    def ends():
        raise OSError(5, "Input/output error", "/srv/scans/ward 3/Jane Doe.png")

    thread = threading.Thread(target=ends, name="observer")
    thread.start()
    thread.join()
    assert re.fullmatch(r"thread observer ended: unexpected OSError at test_trouble.py:\d+", caplog.messages[0])


def test_a_key_that_others_may_read_has_an_exit_code_that_no_restart_follows(shm, weights_dir):
    home = state_folder(shm / "home", weights_dir).settings.home
    (home / "keys" / "master.key").chmod(0o644)
    done = CliRunner().invoke(main, ["--home", str(home), "find", "scan.png"])
    assert (done.exit_code, "chmod 600" in done.output) == (12, True)


def _as_nobody(arguments):
    """The exit code of the command as another user runs it."""
    importlib.import_module("daemon.recovery")  # which the other user may not be let to
    pid = os.fork()
    if pid == 0:
        code = MAY_NOT
        try:
            os.setresuid(65534, 65534, 65534)
            code = CliRunner().invoke(main, arguments).exit_code
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == MAY_NOT:
        pytest.skip("root may not become another user here")
    return code


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_another_user_is_told_whose_it_is_even_where_the_folder_may_not_be_listed(weights_dir):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        home = state_folder(Path(folder) / "home", weights_dir).settings.home
        home.chmod(0o711)
        for command in (["find", "scan.png"], ["start"], ["status"], ["train"], ["rollback"]):
            assert _as_nobody(["--home", str(home), *command]) == EXIT_CODES[NotOurs]


def test_a_start_without_a_state_folder_does_not_wait_for_one(tmp_path):
    done = CliRunner().invoke(main, ["--home", str(tmp_path / "nowhere"), "start"])
    assert done.exit_code == EXIT_CODES[NotInitialised]


def test_a_start_waits_for_a_command_and_not_for_another_service(shm, weights_dir):
    """systemd does not start it again after exit code 6; a rotation at boot would have kept it down."""
    home = state_folder(shm / "home", weights_dir)
    path, told = home.settings.home, []
    service = Service(path)
    command = ExitStack()
    command.enter_context(lock(home.settings))

    class Ending(threading.Event):
        def wait(self, seconds=None):
            command.close()
            return False

    with ExitStack() as held:
        waiting = lambda why, delay: told.append(why)  # noqa: E731
        trouble.patiently(lambda: service._lock(held), path, Ending(), LOG, waiting)
        assert told == [f"a command is at work in {path}; it is waited for"]
        served = Control(home.settings.run_dir, {"ping": lambda: {}})
        served.start()
        try:
            with pytest.raises(AlreadyRunning) as refused:
                trouble.patiently(lambda: Service(path)._lock(held), path, threading.Event(), LOG)
            assert exit_code(refused.value) == 6
        finally:
            served.stop()
