"""SIGKILL at the n-th fsync, write, rename, unlink ... of a real process that forgets or rotates, SQLite's included.

strace delivers the signal as the call is entered, so the call is not made. Here every seventh of the calls is tried;
`OCRD_EVERY_CALL=1` tries each (a few hundred kills, minutes).
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess

import pytest

from daemon.home import lock, open_home
from daemon.operations import Operations, act
from daemon.state import Database
from privacy import ledger, rotation
from privacy.ledger import Ledger
from sealed import in_memory, needles, state_folder, take, where

CALLS = ("fsync,fdatasync", "pwrite64", "write", "rename", "unlink,unlinkat,rmdir", "link,linkat", "ftruncate")
STRIDE = 1 if os.environ.get("OCRD_EVERY_CALL") else 7

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")


@pytest.fixture
def home(weights_dir):
    with in_memory() as folder:
        yield state_folder(folder / "home", weights_dir)


def killed(work, calls: str, number: int) -> bool:
    """Runs `work` in a process of its own and kills it as it enters the number-th of the calls; False if it ended."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.read(read, 1)
            work()
            os._exit(0)
        except BaseException:
            os._exit(3)
    # one -e a call: strace counts `when` for each call by itself
    inject = [part for call in calls.split(",") for part in ("-e", f"inject={call}:signal=SIGKILL:when={number}")]
    strace = subprocess.Popen(
        ["strace", "-o", "/dev/null", "-e", f"trace={calls}", *inject, "-p", str(pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = strace.stderr.readline()
        if "attached" not in line:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.skip(f"strace may not attach here: {line.strip()}")
        os.write(write, b"x")
        status = os.waitpid(pid, 0)[1]
    finally:
        strace.wait()
        strace.stderr.close()
        os.close(read)
        os.close(write)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, f"it failed by itself at {calls} {number}"
    return False


def each_call(begin, work, check) -> int:
    """Kills `work` at the calls of every kind in turn, until it ends by itself; returns how many kills there were."""
    kills = 0
    for calls in CALLS:
        number = 1
        while True:
            begin()
            died = killed(work, calls, number)
            check(died)
            if not died:
                break
            kills += 1
            number += STRIDE
    return kills


def started(home):
    """What the next start finds and finishes; the handles are closed again."""
    again = open_home(home.settings.home)
    with lock(again.settings), Ledger(again.settings.ledger_path, again.signing) as book:
        database = Database(again.settings.database_path)
        Operations(again, database, book).start()
        database.close()
    return again


def test_forgetting(home, capsys):
    taken = []

    def begin():
        database = Database(home.settings.database_path)
        id = f"{len(taken):016x}"
        taken.append((id, f"ward {len(taken)}-/scan {len(taken)}-.png"))
        again = open_home(home.settings.home)
        take(again, database, id, path=taken[-1][1])
        begin.wanted = needles(again, id, taken[-1][1])
        database.close()

    def check(died):
        again = started(home)
        with sqlite3.connect(home.settings.database_path) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            state = database.execute("SELECT state, erasing FROM documents WHERE id = ?", taken[-1][:1]).fetchone()
        if state == ("done", 0):
            assert died, "it ended, and the document is there"
            assert again.vault.get(taken[-1][0], "text")
        else:
            assert state == ("forgotten", 0)
            assert where(again, begin.wanted) == {}
        report = ledger.verify(home.settings.ledger_path, home.signing.public)
        assert report.ok
        slots = [
            slot for entry in report.entries for first, after in entry.body["slots"] for slot in range(first, after)
        ]
        assert len(slots) == len(set(slots)), "told twice"
        assert (len(taken) - 1 in slots) == (state[0] == "forgotten")

    kills = each_call(begin, lambda: act(home.settings.home, "forget", documents=[taken[-1][0]]), check)
    with capsys.disabled():
        print(f" {kills} kills", end="", flush=True)
    assert kills > 8


def test_rotating(home, capsys):
    database = Database(home.settings.database_path)
    ids = [take(home, database, f"{n:016x}", path=f"w/{n}.png") for n in range(3)]
    database.close()
    digest = home.name_digest("scan.png")

    def check(died):
        found = open_home(home.settings.home)  # before anything is finished: all is readable
        assert all(found.vault.get(id, "text") and found.originals.get(id, "original") for id in ids)
        again = started(home)
        assert not rotation.pending(home.settings.keys_dir)
        assert not again.shelf.rotating
        again = open_home(home.settings.home)
        assert all(again.vault.get(id, "text") for id in ids)
        assert again.name_digest("scan.png") == digest
        assert sorted(p.name for p in home.settings.keys_dir.iterdir()) == [
            "master.key", "shelf", "signing.key", "signing.pub",
        ]  # fmt: skip

    kills = each_call(lambda: None, lambda: act(home.settings.home, "rotate"), check)
    with capsys.disabled():
        print(f" {kills} kills", end="", flush=True)
    assert kills > 8
