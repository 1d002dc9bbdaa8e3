"""The real service on a real notify socket: it says how it does; a hung loop falls silent, a long round does not."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from daemon import control, service
from learners import synthesis
from running import SETTINGS, drop, ocrd, png, receipts
from sealed import in_memory, state_folder

WATCHDOG = 2.0
"""Seconds; systemd/ocrd.service says 60."""
PATIENCE = 120.0

PLANTED = """
import sys, threading, time
from pathlib import Path
from daemon import learning, workers
from daemon.ingest import Ingest
from daemon.home import open_home
from daemon.service import Service
from daemon.logs import log_to_stderr
{fault}
log_to_stderr(False)
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
ASLEEP = '''
import sys, time, pathlib
while pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
'''
class Sleeper(workers.Worker):
    def _command(self):
        return [sys.executable, "-I", "-c", ASLEEP, str(Path(sys.argv[1], "asleep"))]
def converse(self, number, scratch):
    Sleeper("none", {}, workers.Limits(memory=-1), recycle_after=None).call({}, [], 600)
learning.Learning._converse = converse
"""
WAITED_FOR = """
begun, begin, look = [], learning.Learning.start, Service._look
def noted(self, cause):
    begun.append(self)
    return begin(self, cause)
def waits(self, *given):
    look(self, *given)
    while begun and begun[0].running():
        time.sleep(0.05)
learning.Learning.start, Service._look = noted, waits
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

    def listen(self, until, seconds=PATIENCE):
        """Hears the service until `until` holds; False if it does not for so long, or the service has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
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
        return self.process.wait(PATIENCE)


@pytest.fixture
def home(tmp_path, weights_dir):
    home = tmp_path / "state"
    home.mkdir()
    (home / "ocrd.toml").write_text(SETTINGS)
    assert ocrd(home, "init", "--weights", str(weights_dir)).returncode == 0
    return home


@pytest.fixture
def opened(weights_dir):
    with in_memory() as folder:
        yield state_folder(folder / "home", weights_dir)


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
    assert watching.listen(lambda: watching.ready and len(watching.pings) > 2)
    drop(home, "scan.png", png(synthesis.thermal_label(5)))
    (home / "hang").touch()
    assert watching.listen(watching.silent), "the loop hangs, and systemd still hears it"
    assert watching.process.poll() is None, "it hangs, it did not die: only the watchdog ends this"
    watching.end(signal.SIGABRT)  # what systemd sends
    (home / "hang").unlink()
    watching.start()
    assert watching.listen(lambda: len(receipts(home)) == 1)
    assert watching.end(signal.SIGTERM) == 0


def heard_through_a_round(home, watching, seconds=PATIENCE):
    """Whether systemd hears of twelve looks at the inbox, four of its periods, while a round's process says nothing."""
    assert watching.listen(lambda: watching.ready and len(watching.pings) > 1)
    drop(home, "Jane Doe.png", b"rubbish")
    (home / "asleep").touch()
    control.ask(home / "run", "train")  # the command would take seconds in which nobody listens
    assert watching.process.poll() is None
    before = len(watching.pings)

    def heard():
        return min(sum("a round runs" in state for state in watching.states), len(watching.pings) - before) >= 12

    return watching.listen(heard, seconds)


def test_a_long_round_is_not_taken_for_a_hung_loop(home, systemd):
    """A round's process that says nothing for long; and what systemd and the journal are told."""
    watching = systemd(LONG_ROUND)
    assert heard_through_a_round(home, watching)
    assert watching.process.poll() is None
    (home / "asleep").unlink()
    assert watching.listen(lambda: watching.states[-1] == "serving; nothing waits")
    assert watching.end(signal.SIGTERM) == 0
    journal = (home.parent / "journal").read_text()
    assert all(re.match(r"<[3-7]>ocrd\.", line) for line in journal.splitlines()), journal
    assert "<4>" in journal or "<6>" in journal
    assert not re.search("Jane|Doe", journal + "".join(watching.states))


def test_a_loop_that_waits_for_its_round_is_seen(home, systemd):
    assert not heard_through_a_round(home, systemd(LONG_ROUND + WAITED_FOR), seconds=5)
    (home / "asleep").unlink()


class Recorder:
    """In place of the event that wakes the loop: writes down for how long it would sleep, and ends the loop."""

    def __init__(self, stopping):
        self.pauses, self._stopping = [], stopping

    def wait(self, seconds):
        self.pauses.append(seconds)
        self._stopping.set()


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "mutant that forgets it"])
def test_the_loop_sleeps_for_a_third_of_the_watchdogs_time_at_most(opened, monkeypatch, watched):
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    if not watched:
        monkeypatch.setattr(service, "watchdog_seconds", lambda: None)
    idle = service.Service(opened.settings.home)
    idle._settings = opened.settings
    idle._wake = recorder = Recorder(idle._stopping)
    monkeypatch.setattr(idle, "_look", lambda *_: None)
    inbox = SimpleNamespace(busy=lambda: False)
    ingest = SimpleNamespace(backlog=lambda: 0, due_in=lambda: math.inf, inbox=inbox)
    idle._loop(None, ingest, None, SimpleNamespace(running=lambda: False))
    assert recorder.pauses == [1.0 if watched else opened.settings.ingest.rescan_seconds]
