"""Which model serves, and how it came to: the store's folders under the roll-out's rules.

`models.rollout` holds every rule and does no I/O; here each of its events is written into the ledger
before the pointer in `models/` moves. What a crash or a failing disk leaves between the two is finished by `settle`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from daemon.errors import NotInitialised, Refused
from daemon.home import Home
from models.errors import NoSuchVersion
from models.gates import GateReport
from models.manifest import MODEL_FILES
from models.rollout import Act, Event, Rollout
from models.store import ModelStore
from privacy.chain import Entry
from privacy.ledger import Ledger

log = logging.getLogger("ocrd.serving")

ROLLOUT = "rollout"


class Serving:
    """The versions of one state folder.

    Raises:
        ModelTampered: the version in service is not as it was signed.
        NotInitialised: there is none, or it is gone.
    """

    def __init__(self, home: Home, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, threading.RLock()
        self._store = ModelStore(home.settings.models_dir, home.signing)
        self._keep = home.settings.gates.keep_versions
        self._report: GateReport | None = None
        self._begun: int | None = None
        """How many events there were before a roll-back that has not come to its end."""
        self._replay()
        current = self._store.current() or self._rollout.live
        if current is None:
            raise NotInitialised(
                f"No model is in {home.settings.models_dir}: `ocrd init` did not come to its end. "
                f"Run it again: ocrd --home {home.settings.home} init"
            )
        try:
            self._begin(current)
        except NoSuchVersion as error:
            raise NotInitialised(
                f"{error} If it lies on a disk that is not mounted, mount that; otherwise put the folder back from a "
                f"backup. The released model is made again by: ocrd --home {home.settings.home} init"
            ) from None

    def _begin(self, current: str) -> None:
        self._store.verify(current)
        if self._rollout.live is None:
            self._record(self._rollout.install(current))
        elif self._rollout.on_its_way is not None:
            self._record(self._rollout.withdraw("the service stopped"))
        self.settle()

    def _replay(self) -> None:
        """Where each version stands is what the ledger says: an append that failed may be in it, or not."""
        self._rollout = Rollout.replay("direct", [_event(e) for e in self._ledger.entries if e.kind == ROLLOUT])

    def settle(self) -> None:
        """Moves the pointer to where the ledger says, if a stop or the disk kept it from moving."""
        with self._lock:
            self._replay()
            if self._rollout.live != self._store.current():
                self._store.swap(self.live, "finishing what was cut short")

    @property
    def live(self) -> str:
        """The version in service."""
        return self._rollout.live or ""

    def add(self, folder: Path, claim: dict[str, Any]) -> str:
        """Stores a candidate, signed; it serves nobody until a report promotes it. May be tried again."""
        with self._lock:
            self.settle()
            return self._add(folder, claim)

    def _add(self, folder: Path, claim: dict[str, Any]) -> str:
        version = self._store.add({name: folder / name for name in MODEL_FILES}, claim)
        if self._rollout.on_its_way not in (None, version):
            self._record(self._rollout.withdraw("its round failed"))
        if version not in self._rollout.stages:
            self._record(self._rollout.offer(version))
        return version

    def decide(self, report: GateReport) -> bool:
        """Takes the gates' answer to the candidate: into service, or refused for good. True if it serves.

        After an `OSError` the same report may be given again: what was done of it is not done twice.
        """
        with self._lock:
            self._replay()
            return self._decide(report)

    def _decide(self, report: GateReport) -> bool:
        again, self._report = report is self._report, report
        judged = any(event.act is Act.JUDGE and event.attempt == report.attempt for event in self._rollout.events)
        if not (again and judged):
            self._record(self._rollout.judge(report))
        if report.promote:
            if self._rollout.on_its_way is not None:
                self._record(self._rollout.advance())
            self._store.swap(report.candidate)
            log.info("model %s is in service", report.candidate)
        elif self._rollout.on_its_way is not None:  # inconclusive: there is no second look at the same candidate
            self._record(self._rollout.withdraw())
        self._store.prune(self._keep, protect=self._supersedes())
        return report.promote

    def roll_back(self, done: Callable[[str], object] = lambda version: None) -> str:
        """Puts the version before the present one into service; returns it.

        After an `OSError`, or an error of `done`, the next call goes on with the same step back, not with another.

        Args:
            done: is told the version, at the end.

        Raises:
            Refused: there is none.
        """
        with self._lock:
            self._replay()
            events = self._rollout.events
            written = self._begun is not None and len(events) > self._begun and events[-1].act is Act.ROLL_BACK
            if not written:
                self._begun = len(events)
                self._roll_back()
            self._store.swap(self.live, "rolled back")
            done(self.live)
            self._begun = None
            return self.live

    def _roll_back(self) -> None:
        if len(self._supersedes()) < 2:
            raise Refused("there is no earlier model to go back to")
        leaving = self.live
        self._record(self._rollout.roll_back())
        log.warning("rolled back from model %s to %s", leaving, self.live)

    def _supersedes(self) -> Collection[str]:
        """The live version and every one that a roll-back could reach."""
        return [version for version, stage in self._rollout.stages.items() if stage in ("live", "superseded")]

    def _record(self, event: Event) -> None:
        fields = asdict(event)
        del fields["reason"]  # prose; the ledger takes numbers and ids
        self._ledger.append(ROLLOUT, fields)


def _event(entry: Entry) -> Event:
    return Event.restore({**entry.body, "reason": ""})
