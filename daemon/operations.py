"""What the operator asks of the state itself: by way of the running service, or here, when none runs.

The running service is the one writer, so it is asked over its control socket. When none answers, the command takes
the service's place: its lock, its database, its ledger.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from daemon import config, control, restoring, retry, trouble, workers
from daemon.erasure import Erasure
from daemon.errors import NotRunning, Refused
from daemon.home import Home, lock, open_home
from daemon.membership import spent
from daemon.state import Database
from daemon.taking import Claim
from privacy import rotation
from privacy.errors import NotSealed, SealBroken
from privacy.ledger import Ledger

log = logging.getLogger("ocrd.operations")

PATIENCE = 3600.0
"""Seconds that a command waits for the service: a rotation of many keys takes minutes."""


class Operations:
    """The commands, for the one writer of a state folder.

    Args:
        readmit: is handed a claim that was made of a failed document.
        without_round: entered while documents are forgotten: no round runs in it, and none begins.
    """

    def __init__(
        self,
        home: Home,
        database: Database,
        ledger: Ledger,
        *,
        readmit: Callable[[Claim], None] = lambda claim: None,
        without_round: Callable[[], AbstractContextManager[int | None]] = lambda: nullcontext(None),
    ) -> None:
        self._home, self._database, self._ledger = home, database, ledger
        self._readmit, self._without_round = readmit, without_round
        self.erasure = Erasure(home, database, ledger)

    def handlers(self) -> dict[str, control.Handler]:
        return {"forget": self.forget, "retry": self.retry, "rotate": self.rotate}

    def start(self) -> None:
        """Finishes what a crash or the disk left half done."""
        for unfinished in self._unfinished():
            unfinished()

    def tend(self) -> None:
        """`start`, for the service: what the machine refuses now keeps nothing else, and waits for the next time."""
        with self.erasure.lock:
            for unfinished in self._unfinished():
                trouble.logged(unfinished, self._home.settings.home, log)

    def _unfinished(self) -> tuple[Callable[[], object], ...]:
        keys = self._home.settings.keys_dir
        return (
            lambda: rotation.settle(keys, self._home.shelf),
            lambda: retry.sweep(self._home),
            lambda: restoring.settle(self._home.settings.home),
            self._finish_forgetting,
            lambda: self.rotate() if rotation.pending(keys) else None,
        )

    def _finish_forgetting(self) -> None:
        if done := self.erasure.finish():
            log.info("finished forgetting %d documents", done)

    def forget(self, documents: Sequence[str]) -> dict[str, Any]:
        """Forgets documents; says what rounds had them, because no model forgets."""
        with self._without_round() as broken_off:
            rows = self.erasure.forget(documents)
        units = sorted({row["unit"] for row in rows})
        charged = spent(self._home.settings, self._database, self._ledger.entries, units)
        log.info("forgot %d documents", len(rows))
        return {
            "forgotten": [row["id"] for row in rows],
            "pending": self.erasure.pending(),
            "round_broken_off": broken_off,
            "spent": [each.as_json() for each in charged if each.charges],
        }

    def retry(self, documents: Sequence[str] = (), all: bool = False) -> dict[str, Any]:
        """Takes failed documents up again; those that can't be are named with the reason."""
        taken, refused = [], {}
        for document in retry.failed(self._database) if all else documents:
            try:
                with self.erasure.lock:
                    claim = retry.take_up(self._home, self._database, document)
                self._readmit(claim)
                taken.append(document)
            except Refused as error:
                refused[document] = str(error)
            except (NotSealed, SealBroken) as error:  # of this one; the others go on
                retry.clear(self._home, [document])
                refused[document] = f"{document}: what is sealed of it does not open: {error}"
        return {"taken": taken, "refused": refused}

    def rotate(self) -> dict[str, Any]:
        """Replaces the master key, or finishes doing so."""
        with self.erasure.lock:
            count = rotation.rotate(self._home.settings.keys_dir, self._home.shelf, self._home.vaults)
        log.info("the master key was replaced; %d data keys were wrapped anew", count)
        return {"rewrapped": count, "generation": self._home.shelf.generation}


def act(home_dir: Path, command: str, **values: Any) -> dict[str, Any]:
    """Has a command done: by the running service, or here under its lock.

    Raises:
        Refused: it will not be done, and why.
        AlreadyRunning: a service holds the lock and does not answer: it is starting or stopping.
    """
    settings = config.load(home_dir)
    try:
        return control.ask(settings.run_dir, command, seconds=PATIENCE, **values)
    except NotRunning:
        pass
    workers.harden_memory()
    os.umask(0o077)
    with lock(settings):
        home = open_home(home_dir)
        database = Database(settings.database_path)
        try:
            with Ledger(settings.ledger_path, home.signing) as ledger:
                operations = Operations(home, database, ledger)
                operations.start()
                return operations.handlers()[command](**values)
        finally:
            database.close()
