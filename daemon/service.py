"""The service: startup, the loop, shutdown. It holds the keys and is the only writer of the state.

The loop lists the inbox, pings systemd's watchdog and sleeps until an event, the next look at a
settling file, or the next rescan. Everything slow runs elsewhere: documents in the ingest threads
(whose work is done by child processes), a round in a process of its own.
"""

from __future__ import annotations

import json
import logging
import signal
import sqlite3
import threading
import time
from types import FrameType
from typing import Any

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from daemon import cgroups, mounts, quarantine, walls, workers
from daemon.control import Control
from daemon.erasure import shred_originals
from daemon.home import Home, lock, open_home
from daemon.ingest import Ingest
from daemon.learning import Learning
from daemon.notify import notify, watchdog_seconds
from daemon.operations import Operations
from daemon.schedule import Schedule
from daemon.state import Database
from daemon.status import WAITING_KEY

log = logging.getLogger("ocrd.service")

STOP_SECONDS = 6.0
"""How long a document that is being processed may take to end after SIGTERM; systemd allows 10 s."""


class _Hint(FileSystemEventHandler):
    """Events are hints that something is there: they wake the loop, which lists the directory."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("created", "moved", "closed") and "/.claimed" not in str(event.src_path):
            self._wake.set()


class Service:
    """One running service of one state folder."""

    def __init__(self, home: Home) -> None:
        self._home, self._settings = home, home.settings
        self._wake, self._stopping = threading.Event(), threading.Event()

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; raises AlreadyRunning when another process does already."""
        workers.harden_memory()
        mounts.refuse_network(self._settings.home)
        walls.insist(self._settings)
        with lock(self._settings):
            self._home = open_home(self._settings.home)  # what another process did before may have changed the keys
            database = Database(self._settings.database_path)
            try:
                self._run(database)
            finally:
                database.close()

    def _run(self, database: Database) -> None:
        learning = Learning(self._home, database, self._divided())
        ingest = Ingest(self._home, database)
        operations = Operations(
            self._home,
            database,
            learning.ledger,
            readmit=ingest.readmit,
            without_round=lambda: learning.paused("a document of the pool was forgotten; it stays charged"),
        )
        operations.start()
        learning.evict = operations.erasure.evict

        def destroy_due() -> None:
            shred_originals(self._home, database)
            operations.erasure.finish()
            learning.between_rounds(lambda: operations.erasure.evict(time.time()))

        schedule = Schedule(self._settings, database, learning.start, destroy_due)
        control = Control(self._settings.run_dir, {**self._commands(learning, database), **operations.handlers()})
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        observer: BaseObserver | None = None
        try:
            ingest.start()
            control.start()
            schedule.start()
            observer = self._watch()
            notify(READY=1, STATUS="serving")
            log.info("serving %s", self._settings.home)
            self._loop(database, ingest, schedule, learning)
        finally:
            notify(STOPPING=1)
            log.info("stopping")
            deadline = time.monotonic() + STOP_SECONDS
            ingest.begin_stop()
            control.stop()
            schedule.stop()
            if observer is not None:
                observer.stop()
            learning.stop()
            ingest.stop(deadline)
            log.info("stopped; nothing is half done")

    def _watch(self) -> BaseObserver | None:
        """Events of the inbox, which make the next look come sooner; None where there are none to be had."""
        inbox, seconds = self._settings.inbox_dir, self._settings.ingest.rescan_seconds
        if (kind := mounts.network(inbox)) is not None:
            log.info("the inbox lies on %s, which tells of no changes: it is listed every %g s", kind, seconds)
            return None
        observer = Observer()
        observer.schedule(_Hint(self._wake), str(inbox), recursive=True)
        try:
            observer.start()
        except OSError as error:  # no more inotify instances or watches for this user
            log.warning("the inbox cannot be watched: %s; it is listed every %g s", error.strerror, seconds)
            return None
        return observer

    def _divided(self) -> cgroups.Subtree | None:
        """A control group of its own for rounds, where systemd delegates ours; without, rounds have no such limit."""
        folder = cgroups.delegated()
        if folder is None:
            return None
        try:
            return cgroups.divide(folder, int(self._settings.learning.memory_share * cgroups.physical_memory()))
        except OSError as error:
            log.warning("control groups: %s; a round's memory is not limited", error.strerror)
            return None

    def _loop(self, database: Database, ingest: Ingest, schedule: Schedule, learning: Learning) -> None:
        ingest_settings = self._settings.ingest
        watchdog = watchdog_seconds()
        while not self._stopping.is_set():
            try:
                ingest.tick()
                self._tell_of_waiting(database, ingest)
                schedule.tick()
            except (OSError, sqlite3.OperationalError) as error:
                reason = error.strerror if isinstance(error, OSError) else error.sqlite_errorname
                log.error("the inbox cannot be listed: %s; again at the next look", reason)
            notify(WATCHDOG=1, STATUS=_state(ingest.backlog(), learning.running()))
            pause = ingest_settings.rescan_seconds
            if ingest.inbox.busy():
                pause = min(pause, max(0.1, ingest_settings.settle_seconds / 2))
            if watchdog is not None:
                pause = min(pause, watchdog / 3)
            if self._wake.wait(pause):
                self._wake.clear()
                time.sleep(0.05)  # a burst of events is one look

    @staticmethod
    def _tell_of_waiting(database: Database, ingest: Ingest) -> None:
        """Leaves word for `ocrd status` why files stay in the inbox; written when it changes, which is seldom."""
        lasting = {why: n for why, n in ingest.inbox.waiting.items() if "settling" not in why}
        told = json.dumps(lasting, sort_keys=True)
        if told != (database.get(WAITING_KEY) or "{}"):
            database.set(WAITING_KEY, told)

    def _commands(self, learning: Learning, database: Database) -> dict[str, Any]:
        return {
            "ping": lambda: {},
            "train": lambda: {"round": learning.start("by hand")},
            "quarantine": lambda document, how: quarantine.close(self._home, database, document, how),
            "rollback": lambda: {"version": learning.rollback()},
        }

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()
        self._wake.set()


def _state(backlog: int, round_runs: bool) -> str:
    """What `systemctl status` shows to every user: counts, which are public."""
    waiting = f"{backlog} documents wait to be read" if backlog else "nothing waits"
    return f"serving; {waiting}" + ("; a round runs" if round_runs else "")
