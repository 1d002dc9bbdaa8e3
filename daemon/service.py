"""The service: startup, the loop, shutdown. It holds the keys and is the only writer of the state.

The loop lists the inbox, pings systemd's watchdog and sleeps until an event, the next look at a
settling file, or the next rescan. Everything slow runs elsewhere: documents in the ingest threads
(whose work is done by child processes), a round in a process of its own.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from daemon import cgroups, config, control, mounts, quarantine, trouble, walls, workers
from daemon.control import Control
from daemon.erasure import shred_originals
from daemon.errors import AlreadyRunning, DiskRefused, HeldByCommand, NotRunning, Refused
from daemon.hints import watch
from daemon.home import lock, open_home
from daemon.ingest import Ingest
from daemon.learning import Learning
from daemon.notify import notify, watchdog_seconds
from daemon.operations import Operations
from daemon.schedule import Schedule
from daemon.state import Database
from daemon.status import REFUSED_KEY, WAITING_KEY

log = logging.getLogger("ocrd.service")

STOP_SECONDS = 6.0
"""How long a document that is being processed may take to end after SIGTERM; systemd allows 20 s."""


PING_SECONDS = 5.0


class Service:
    """One running service of one state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._refused = ""
        """Why the last look at the inbox broke off."""

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; raises AlreadyRunning when another process does already."""
        workers.harden_memory()
        os.umask(0o077)
        threading.excepthook = _thread_ended
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        with ExitStack() as held, suppress(DiskRefused):  # it was stopped while it waited for the disk
            for step in (self._check, lambda: self._lock(held), self._open):
                trouble.patiently(step, self._folder, self._stopping, log, self._cannot_start)

    def _check(self) -> None:
        settings = open_home(self._folder).settings  # whose it is, and whether it is whole
        mounts.refuse_network(self._folder)
        walls.insist(settings)

    def _lock(self, held: ExitStack) -> None:
        """Takes the state folder's lock; a command that holds it (a rotation takes minutes) is waited for.

        Raises:
            AlreadyRunning: a service holds it.
            HeldByCommand: who holds it is none, or one that starts or stops.
        """
        settings = config.load(self._folder)
        try:
            held.enter_context(lock(settings))
        except AlreadyRunning as error:
            try:
                control.ask(settings.run_dir, "ping", seconds=PING_SECONDS)
            except NotRunning:
                raise HeldByCommand(f"a command is at work in {self._folder}; it is waited for") from error
            except (OSError, Refused):  # one that hangs, or does not like us
                pass
            raise

    @staticmethod
    def _cannot_start(why: str, delay: float) -> None:
        """A full disk is no reason to give up: systemd would, after a few restarts."""
        notify(STATUS=f"cannot start yet: {why}", EXTEND_TIMEOUT_USEC=int((delay + 120) * 1e6), WATCHDOG=1)

    def _open(self) -> None:
        self._home = open_home(self._folder)  # what another process did before may have changed the keys
        self._settings = self._home.settings
        database = Database(self._settings.database_path)
        try:
            learning = Learning(self._home, database, self._divided())
            try:
                self._run(database, learning)
            finally:
                learning.stop()
        finally:
            database.close()

    def _run(self, database: Database, learning: Learning) -> None:
        ingest = Ingest(self._home, database)
        operations = Operations(
            self._home,
            database,
            learning.ledger,
            readmit=ingest.readmit,
            without_round=lambda: learning.paused("a document of the pool was forgotten; it stays charged"),
        )
        operations.tend()
        learning.evict = operations.erasure.evict

        def destroy_due() -> None:
            for due in (
                lambda: shred_originals(self._home, database),
                operations.tend,
                learning.settle,
                lambda: learning.between_rounds(lambda: operations.erasure.evict(time.time())),
            ):
                trouble.logged(due, self._settings.home, log)

        schedule = Schedule(self._settings, database, learning.start, destroy_due)
        control = Control(self._settings.run_dir, {**self._commands(learning, database), **operations.handlers()})
        observer = None
        try:
            ingest.start()
            control.start()
            schedule.start()
            observer = watch(self._settings, self._wake)
            notify(READY=1, STATUS="serving")
            log.info("serving %s", self._settings.home)
            self._loop(database, ingest, schedule, learning)
        finally:
            notify(STOPPING=1)
            log.info("stopping")
            deadline = time.monotonic() + STOP_SECONDS
            ingest.begin_stop()
            answered = control.stop(deadline)
            schedule.stop()
            if observer is not None:
                observer.stop()
            learning.stop()
            ingest.stop(deadline)
            begun = "nothing is half done" if answered else "what a command began is finished at the next start"
            log.info("stopped; %s", begun)

    def _divided(self) -> cgroups.Subtree | None:
        """A control group of its own for rounds, where systemd delegates ours; without, rounds have no such limit."""
        folder = cgroups.delegated()
        if folder is None:
            return None
        try:
            return cgroups.divide(folder, cgroups.memory_of_a_round(self._settings.learning.memory_share))
        except OSError as error:
            log.warning("control groups: %s; a round's memory is not limited", error.strerror)
            return None

    def _loop(self, database: Database, ingest: Ingest, schedule: Schedule, learning: Learning) -> None:
        ingest_settings = self._settings.ingest
        watchdog = watchdog_seconds()
        while not self._stopping.is_set():
            self._look(database, ingest, schedule)
            notify(WATCHDOG=1, STATUS=_state(ingest.backlog(), learning.running(), self._refused))
            pause = min(ingest_settings.rescan_seconds, max(0.1, ingest.due_in()))
            if ingest.inbox.busy():
                pause = min(pause, max(0.1, ingest_settings.settle_seconds / 2))
            if watchdog is not None:
                pause = min(pause, watchdog / 3)
            if self._wake.wait(pause):
                self._wake.clear()
                time.sleep(0.05)  # a burst of events is one look

    def _look(self, database: Database, ingest: Ingest, schedule: Schedule) -> None:
        """One look at inbox and calendar; what the machine refuses is said once, and by `ocrd status`."""
        refused = ""
        for what, step in (
            ("the calendar", schedule.tick),
            ("the inbox", lambda: ingest.tick(lambda: notify(WATCHDOG=1))),
        ):
            try:
                step()
            except (OSError, sqlite3.OperationalError) as error:
                refused = f"{what}: {trouble.explain(error, self._folder)}"
        if refused and refused != self._refused:
            log.error("%s; again at each look", refused)
        self._refused = refused
        with suppress(OSError, sqlite3.OperationalError):  # what can't be written now is, at a later look
            self._leave_word(database, ingest, refused)

    @staticmethod
    def _leave_word(database: Database, ingest: Ingest, refused: str) -> None:
        """Why files stay in the inbox, for `ocrd status`; written when it changes, which is seldom."""
        lasting = {why: n for why, n in ingest.inbox.waiting.items() if "settling" not in why}
        for key, told in ((WAITING_KEY, json.dumps(lasting, sort_keys=True)), (REFUSED_KEY, refused)):
            if told != (database.get(key) or ("{}" if key == WAITING_KEY else "")):
                database.set(key, told)

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


def _state(backlog: int, round_runs: bool, refused: str) -> str:
    """What `systemctl status` shows to every user: counts and what the machine refuses, which are public."""
    waiting = f"{backlog} documents wait to be read" if backlog else "nothing waits"
    return f"serving; {waiting}" + ("; a round runs" if round_runs else "") + (f"; {refused}" if refused else "")


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    """Python would print the error's text, which can quote a file's name, into the journal."""
    if isinstance(args.exc_value, Exception):
        name = "" if args.thread is None else args.thread.name
        log.error("thread %s ended: unexpected %s", name, workers.where(args.exc_value))
