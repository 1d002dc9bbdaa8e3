"""The real service on a real notify socket: it says how it does; a hung loop falls silent, a long round does not."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from daemon import control
from learners import synthesis
from running import SETTINGS, drop, ocrd, png, receipts

WATCHDOG = 2.0
"""Seconds; systemd/ocrd.service says 60."""

PLANTED = """
import sys, threading, time
from pathlib import Path
from daemon import learning, workers
from daemon.ingest import Ingest
from daemon.home import open_home
from daemon.service import Service
from daemon.cli import _log_to_stderr
{fault}
_log_to_stderr(False)
Service(Path(sys.argv[1])).run()
"""
HANGS = """
tick, looks = Ingest.tick, []
def hang(self, *given):
    looks.append(0)
    if len(looks) > 3 and Path(sys.argv[1], "hang").exists():
        threading.Event().wait()
    tick(self, *given)
Ingest.tick = hang
"""
LONG_ROUND = """
class Sleeper(workers.Worker):
    def _command(self):
        return [sys.executable, "-I", "-c", "import time; time.sleep(60)"]
def converse(self, number, scratch):
    Sleeper("none", {{}}, workers.Limits(memory=-1), recycle_after=None).call({{}}, [], {seconds})
learning.Learning._converse = converse
"""


class Systemd:
    """As much of systemd as the protocol needs: starts a service, hears it, and ends it when it falls silent."""

    def __init__(self, home, fault=""):
        self.home, self.fault = home, fault
        self.path = str(home.parent / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.pings, self.states, self.ready = [], [], False
        self.process = None

    def start(self):
        code = PLANTED.format(fault=self.fault)
        watched = {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": str(int(WATCHDOG * 1e6)), "JOURNAL_STREAM": "8:1"}
        self.pings, self.ready = [], False
        with (self.home.parent / "journal").open("ab") as journal:
            command = [sys.executable, "-c", code, str(self.home)]
            self.process = subprocess.Popen(command, env={**os.environ, **watched}, stderr=journal)

    def listen(self, seconds, until=lambda: False):
        """Hears the service for so long; True as soon as `until` holds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.socket.settimeout(0.2)
            try:
                message = self.socket.recv(4096).decode()
            except TimeoutError:
                message = ""
            now = time.monotonic()
            self.ready |= "READY=1" in message
            self.pings += [now] if "WATCHDOG=1" in message else []
            self.states += re.findall(r"STATUS=(.*)", message)
            if until():
                return True
        return False

    def silent(self):
        return bool(self.pings) and time.monotonic() - self.pings[-1] > WATCHDOG

    def end(self, how):
        self.process.send_signal(how)
        return self.process.wait(20)


@pytest.fixture
def home(tmp_path, weights_dir):
    home = tmp_path / "state"
    home.mkdir()
    (home / "ocrd.toml").write_text(SETTINGS)
    assert ocrd(home, "init", "--weights", str(weights_dir)).returncode == 0
    return home


@pytest.fixture
def systemd(home):
    made = []

    def make(fault=""):
        made.append(Systemd(home, fault))
        made[0].start()
        return made[0]

    yield make
    for each in made:
        if each.process.poll() is None:
            each.end(signal.SIGKILL)
        each.socket.close()


def test_a_hung_loop_is_restarted_and_loses_nothing(home, systemd):
    watching = systemd(HANGS)
    assert watching.listen(60, lambda: watching.ready and len(watching.pings) > 2)
    drop(home, "scan.png", png(synthesis.thermal_label(5)))
    (home / "hang").touch()
    assert watching.listen(20, watching.silent), "the loop hangs, and systemd still hears it"
    assert watching.process.poll() is None, "it hangs, it did not die: only the watchdog ends this"
    watching.end(signal.SIGABRT)  # what systemd sends
    (home / "hang").unlink()
    watching.start()
    assert watching.listen(90, lambda: len(receipts(home)) == 1)
    assert watching.end(signal.SIGTERM) == 0


def test_a_long_round_is_not_taken_for_a_hung_loop(home, systemd):
    """A round's process that says nothing for three watchdog periods; and what systemd and the journal are told."""
    watching = systemd(LONG_ROUND.format(seconds=3 * WATCHDOG))
    assert watching.listen(60, lambda: watching.ready and len(watching.pings) > 1)
    drop(home, "Jane Doe.png", b"rubbish")
    control.ask(home / "run", "train")  # the command would take seconds in which nobody listens
    assert not watching.listen(4 * WATCHDOG, watching.silent)
    assert max(b - a for a, b in zip(watching.pings, watching.pings[1:], strict=False)) < WATCHDOG
    assert watching.process.poll() is None
    assert any("a round runs" in state for state in watching.states)
    assert watching.listen(30, lambda: watching.states[-1] == "serving; nothing waits")
    assert watching.end(signal.SIGTERM) == 0
    journal = (home.parent / "journal").read_text()
    assert all(re.match(r"<[3-7]>ocrd\.", line) for line in journal.splitlines()), journal
    assert "<4>" in journal or "<6>" in journal
    assert not re.search("Jane|Doe", journal + "".join(watching.states))
