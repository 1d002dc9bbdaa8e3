"""The inbox's side of the service: recovery, claims, and the threads that process them.

Every settled file is claimed and given its slot at the scan that finds it, however many wait to be
processed: a slot must not depend on how long another document takes (docs/adr/0002-unit-of-privacy.md).
What the machine refuses (no space, no permission, I/O errors) is tried again after 1, 2, 4 ...
60 seconds; the claim waits meanwhile and nothing else does. What fails without a reason we know, three
times, goes to `failed/`.

Documents that are quickly ended (copies, broken files, a later try) are ended together while more wait: up to
`GROUP_MOST`, or as many as are ready within `GROUP_SECONDS`, share one transaction and one round of syncs a step
(docs/adr/0013). One that takes longer to read than that is ended by itself, at once.

Memory is bounded (`daemon.waiting`). Disk space is too: below `ingest.min_free_bytes` or `min_free_files` nothing
is taken out of the inbox, and `ocrd status` says so, until there is room again.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from daemon import mounts, trouble, workers
from daemon.home import Home
from daemon.inbox import Inbox
from daemon.pipeline import Pipeline, Prepared
from daemon.readers import Stopping
from daemon.state import Database, Documents
from daemon.taking import Claim, Claims, Ready
from daemon.waiting import Waiting
from privacy import files

log = logging.getLogger("ocrd.ingest")

UNEXPLAINED_TRIES = 3
CLAIMED_AT_ONCE = 256
GROUP_MOST, GROUP_SECONDS = 256, 0.5
_AT_START = "it is tried again at the next start"
T = TypeVar("T")


def _nothing() -> None: ...


class Ingest:
    """Runs `settings.ingest.workers` threads, each with a decoder and a reader of its own."""

    def __init__(self, home: Home, database: Database) -> None:
        settings = home.settings
        self._home, self._database, self._documents = home, database, Documents(database)
        self.inbox = Inbox(settings.inbox_dir, settings.ingest.settle_seconds, settings.ingest.sidecar_wait_seconds)
        self._claims = Claims(settings.inbox_dir, settings.claimed_dir)
        self._stopping = threading.Event()
        self._waiting = Waiting(self._documents.waiting, self._load)
        self._queue = self._waiting.queue
        self._admission = threading.Lock()
        self._slotless: list[Claim] = []
        """Claims that the database has refused a slot until now, in their order."""
        self._lack = ""
        self._unexplained: dict[str, int] = {}
        self._untaken: Counter[str] = Counter()
        self._told = trouble.Told()
        self._pipelines = [Pipeline(home, database, self._stopping.is_set) for _ in range(settings.ingest.workers)]
        self._threads = [
            threading.Thread(target=self._work, args=(p,), daemon=True, name="ingest") for p in self._pipelines
        ]

    def start(self) -> None:
        """Takes up what a crash left, then starts the threads."""
        self._recover()
        for thread in self._threads:
            thread.start()

    def _recover(self) -> None:
        """Nothing here may keep the service from starting: what cannot be done now is tried again later."""
        home = self._home
        claimed, pending = self._documents.unfinished()
        for vault in home.vaults:
            trouble.logged(partial(vault.sweep, (*claimed, *pending)), home.settings.home, log, _AT_START)
        trouble.logged(lambda: files.sweep(home.settings.outbox_dir), home.settings.home, log, _AT_START)
        claims = {claim.id: claim for claim in self._claims.left()}
        for id in set(claimed) - {claim.id for claim in claims.values() if claim.name}:
            self._documents.withdraw(id, time.time())
            if id in claims:  # its folder is there, and nothing in it
                self._undo(claims.pop(id))
        for id in set(pending) - set(claims):
            self._waiting.put(self._claims.load(id))
        labels = {c.id for c in claims.values() if c.file is None and self._documents.find(c.id) is None}
        for id in labels:
            self._undo(claims[id])
        self._admit([claim for claim in claims.values() if claim.id not in labels])
        if claims or pending:
            log.info("takes up %d claimed documents and %d receipts after a stop", len(claims), len(pending))

    def _load(self, id: str) -> Claim | None:
        """A claim that waits; None if another thread ended it since it was listed: it may be forgotten by now.

        One that is not to be found is withdrawn, as at a start: it must not be taken for an empty document.

        Raises:
            OSError: the claim folder is not there: its disk is not mounted.
        """
        if not self._documents.waits(id):
            return None
        claim, arrival = self._claims.load(id), self._documents.find(id)
        if not claim.name and arrival is not None and arrival.state == "claimed":
            self._claims.mounted()
            self._documents.withdraw(id, time.time())
            return None
        return claim

    def _undo(self, claim: Claim) -> None:
        try:
            self._claims.undo(claim.folder)
        except OSError as error:
            log.warning("claim %s: cannot be put back: %s; tried again at the next start", claim.id, error.strerror)

    def tick(self, alive: Callable[[], object] = _nothing) -> None:
        """Lists the inbox, claims what is ready and gives each claim its slot.

        Args:
            alive: called now and then, so that a long backlog is not taken for a loop that hangs.
        """
        now = time.monotonic()
        self._claims.settle()
        for cause, count in self._told.others(now):
            log.warning("%d more tries of documents: %s; each again in 1, 2, 4 ... 60 s", count, cause)
        self._waiting.requeue(now)
        self._waiting.refill()
        if self._slotless and not self._admit([]):
            return
        found = self.inbox.scan(now)
        alive()
        if lack := self._lack_of_room():
            self.inbox.hold_back(found, lack)
            return
        for start in range(0, len(found), CLAIMED_AT_ONCE):
            taken = [self._take(ready, now) for ready in found[start : start + CLAIMED_AT_ONCE]]
            claims = [claim for claim in taken if claim is not None]
            self._claims.sync(claims)
            alive()
            if not self._admit(claims):
                break
        for why, count in self._untaken.items():
            log.warning("%d files cannot be taken out of the inbox: %s; each again in 1, 2, 4 ... 60 s", count, why)
        self._untaken.clear()

    def _take(self, ready: Ready, now: float) -> Claim | None:
        try:
            return self._claims.take(ready)
        except OSError as error:
            self.inbox.refuse(ready, now, error)
            self._untaken[self._why(error)] += 1
            return None

    def _lack_of_room(self) -> str:
        """What the disk has too little of; "" if nothing. What is claimed already is processed all the same."""
        lack, least = "", self._home.settings.ingest
        for folder in (self._home.settings.home, self._home.settings.outbox_dir):
            if mounts.free_bytes(folder) < least.min_free_bytes:
                lack = f"less than {least.min_free_bytes // 2**20} MiB free (ingest.min_free_bytes)"
            elif mounts.free_files(folder) < least.min_free_files:
                lack = f"room for fewer than {least.min_free_files} files (ingest.min_free_files)"
        if lack != self._lack:
            self._lack = lack
            log.warning("%s", f"nothing is taken out of the inbox: {lack}" if lack else "there is room again")
        return lack

    def readmit(self, claim: Claim) -> None:
        """Processes a claim that was made of a failed document. Safe from any thread."""
        self._admit([claim])

    def _admit(self, claims: Sequence[Claim]) -> bool:
        """Gives claims their slots, in one transaction and in their order, and hands them to the threads.

        If the database refuses (False), they wait for the next look, and nothing that came later goes before them.
        """
        with self._admission:
            self._slotless += claims
            try:
                with self._database.transaction():
                    for claim in self._slotless:
                        self._pipelines[0].arrive(claim)
            except sqlite3.OperationalError as error:
                count = len(self._slotless)
                log.warning("%d claims get no slot: %s; again at the next look", count, self._why(error))
                return False
            admitted, self._slotless = self._slotless, []
            for claim in admitted:
                self._waiting.put(claim)
        return True

    def _done(self, claim: Claim) -> None:
        self._unexplained.pop(claim.id, None)
        self._waiting.done(claim)

    def backlog(self) -> int:
        """Claimed documents that wait for their slot, for a thread or for their next try."""
        return len(self._slotless) + len(self._waiting)

    def due_in(self) -> float:
        """Seconds until a claim is to be tried again; infinite if none is."""
        return self._waiting.due_in(time.monotonic())

    def _again(self, claim: Claim, error: Exception) -> None:
        """What the machine refused is tried again: after 1, 2, 4 ... 60 seconds."""
        delay = self._waiting.again(claim, time.monotonic())
        if self._told.first(trouble.cause(error), time.monotonic()):
            log.warning("document %s: %s; again in %g s", claim.id, self._why(error), delay)

    def _why(self, error: BaseException) -> str:
        return trouble.explain(error, self._home.settings.home)

    def _work(self, pipeline: Pipeline) -> None:
        while not self._stopping.is_set():
            self._end(pipeline, self._prepared(pipeline))
            try:
                self._waiting.refill()
            except Exception as error:  # a thread that ends is not missed by anybody
                log.warning("waiting claims cannot be fetched: %s; again at the next look", self._why(error))

    def _prepared(self, pipeline: Pipeline) -> list[Prepared]:
        """The next document, and with it those behind it that are ready soon."""
        batch: list[Prepared] = []
        claim = self._queue.get()
        begun = time.monotonic()
        while claim is not None and not self._stopping.is_set():
            prepared = self._try(pipeline, claim, partial(pipeline.prepare, claim))
            if prepared is not None:
                batch.append(prepared)
            if len(batch) >= GROUP_MOST or time.monotonic() - begun >= GROUP_SECONDS:
                break
            try:
                claim = self._queue.get_nowait()
            except queue.Empty:
                break
        return batch

    def _end(self, pipeline: Pipeline, batch: list[Prepared]) -> None:
        """Ends the documents together; if that fails, each by itself, from the beginning."""
        if len(batch) > 1:
            try:
                pipeline.commit(batch)
            except Exception as error:
                log.warning("%d documents can't be ended together: %s; one by one", len(batch), workers.where(error))
                for prepared in batch:
                    if self._try(pipeline, prepared.claim, partial(pipeline.process, prepared.claim)) is not None:
                        self._done(prepared.claim)
                return
        elif batch and self._try(pipeline, batch[0].claim, partial(pipeline.commit, batch)) is None:
            return
        for prepared in batch:
            self._done(prepared.claim)

    def _try(self, pipeline: Pipeline, claim: Claim, step: Callable[[], T]) -> T | None:
        """The step's result; None if it failed, and then the claim is tried again later, or was given up."""
        try:
            return step()
        except Stopping:
            return None
        except (OSError, sqlite3.OperationalError) as error:
            self._again(claim, error)
        except Exception as error:
            self._unexpected(pipeline, claim, workers.where(error))
        return None

    def _unexpected(self, pipeline: Pipeline, claim: Claim, fault: str) -> None:
        tries = self._unexplained[claim.id] = self._unexplained.get(claim.id, 0) + 1
        log.error("document %s: unexpected %s, for the %d. time", claim.id, fault, tries)
        if tries >= UNEXPLAINED_TRIES:
            try:
                pipeline.give_up(claim, fault)
                self._done(claim)
                return
            except Exception as error:
                log.error("document %s: cannot be given up either: %s", claim.id, workers.where(error))
        delay = trouble.MOST_DELAY if tries >= UNEXPLAINED_TRIES else trouble.FIRST_DELAY
        self._waiting.later(claim, time.monotonic() + delay)

    def begin_stop(self) -> None:
        """No further document is begun."""
        self._stopping.set()
        for _ in self._threads:
            self._queue.put(None)

    def stop(self, deadline: float) -> None:
        """Lets each thread end its document until `deadline` (monotonic), then kills the workers; claims stay."""
        self.begin_stop()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for pipeline in self._pipelines:
            pipeline.close()
        for thread in self._threads:
            thread.join(1.0)
