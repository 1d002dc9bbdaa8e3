"""Which model serves, and how it came to: the store's folders under the roll-out's rules.

`models.rollout` holds every rule and does no I/O; here each of its events is written into the ledger
before the pointer in `models/` moves. A crash between the two is finished at the next start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from daemon.errors import Refused
from daemon.home import Home
from models.gates import GateReport
from models.manifest import MODEL_FILES
from models.rollout import Event, Rollout
from models.store import ModelStore
from privacy.chain import Entry
from privacy.ledger import Ledger

log = logging.getLogger("ocrd.serving")

ROLLOUT = "rollout"


class Serving:
    """The versions of one state folder.

    Raises:
        ModelTampered: the version in service is not as it was signed.
    """

    def __init__(self, home: Home, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, threading.RLock()
        self._store = ModelStore(home.settings.models_dir, home.signing)
        self._keep = home.settings.gates.keep_versions
        self._rollout = Rollout.replay("direct", [_event(e) for e in ledger.entries if e.kind == ROLLOUT])
        current = self._store.current()
        self._store.verify(current or "")
        if self._rollout.live is None:
            self._record(self._rollout.install(current or ""))
        elif self._rollout.on_its_way is not None:
            self._record(self._rollout.withdraw("the service stopped"))
        if self._rollout.live != current:
            self._store.swap(self.live, "finishing what a stop cut short")

    @property
    def live(self) -> str:
        """The version in service."""
        return self._rollout.live or ""

    def add(self, folder: Path, claim: dict[str, Any]) -> str:
        """Stores a candidate, signed; it serves nobody until a report promotes it."""
        with self._lock:
            return self._add(folder, claim)

    def _add(self, folder: Path, claim: dict[str, Any]) -> str:
        version = self._store.add({name: folder / name for name in MODEL_FILES}, claim)
        if version not in self._rollout.stages:
            self._record(self._rollout.offer(version))
        return version

    def decide(self, report: GateReport) -> bool:
        """Takes the gates' answer to the candidate: into service, or refused for good. True if it serves."""
        with self._lock:
            return self._decide(report)

    def _decide(self, report: GateReport) -> bool:
        self._record(self._rollout.judge(report))
        if report.promote:
            self._record(self._rollout.advance())
            self._store.swap(report.candidate)
            log.info("model %s is in service", report.candidate)
        elif self._rollout.on_its_way is not None:  # inconclusive: there is no second look at the same candidate
            self._record(self._rollout.withdraw())
        self._store.prune(self._keep, protect=self._supersedes())
        return report.promote

    def roll_back(self) -> str:
        """Puts the version before the present one into service; returns it.

        Raises:
            Refused: there is none.
        """
        with self._lock:
            return self._roll_back()

    def _roll_back(self) -> str:
        if len(self._supersedes()) < 2:
            raise Refused("there is no earlier model to go back to")
        leaving = self.live
        self._record(self._rollout.roll_back())
        self._store.swap(self.live, "rolled back")
        log.warning("rolled back from model %s to %s", leaving, self.live)
        return self.live

    def _supersedes(self) -> Collection[str]:
        """The live version and every one that a roll-back could reach."""
        return [version for version, stage in self._rollout.stages.items() if stage in ("live", "superseded")]

    def _record(self, event: Event) -> None:
        fields = asdict(event)
        del fields["reason"]  # prose; the ledger takes numbers and ids
        self._ledger.append(ROLLOUT, fields)


def _event(entry: Entry) -> Event:
    return Event.restore({**entry.body, "reason": ""})
