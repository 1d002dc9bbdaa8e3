"""The inbox's side of the service: recovery, claims, and the threads that process them.

Every settled file is claimed and given its slot at the scan that finds it, however many wait to be
processed: a slot must not depend on how long another document takes (docs/adr/0002-unit-of-privacy.md).
What the machine refuses (no space, no permission, I/O errors) is tried again after 1, 2, 4 ...
60 seconds; the claim waits meanwhile and nothing else does. What fails without a reason we know, three
times, goes to `failed/`.

Memory is bounded: at most `MOST_HELD` claims are held at a time, the others stand in the database and in the claim
folder and are fetched by slot when there is room. Disk space is too: below `ingest.min_free_bytes` nothing is taken
out of the inbox, and `ocrd status` says so, until there is room again.
"""

from __future__ import annotations

import heapq
import logging
import queue
import sqlite3
import threading
import time
from dataclasses import dataclass, field

from daemon import mounts, workers
from daemon.home import Home
from daemon.inbox import Inbox
from daemon.pipeline import Pipeline, Stopping
from daemon.state import Database, Documents
from daemon.taking import Claim, Claims
from privacy import files

log = logging.getLogger("ocrd.ingest")

MAX_DELAY = 60.0
UNEXPLAINED_TRIES = 3
MOST_HELD = 1000


@dataclass(order=True)
class _Retry:
    due: float
    claim: Claim = field(compare=False)


class Ingest:
    """Runs `settings.ingest.workers` threads, each with a decoder and a reader of its own."""

    def __init__(self, home: Home, database: Database) -> None:
        settings = home.settings
        self._home, self._database, self._documents = home, database, Documents(database)
        self.inbox = Inbox(settings.inbox_dir, settings.ingest.settle_seconds, settings.ingest.sidecar_wait_seconds)
        self._claims = Claims(settings.inbox_dir, settings.claimed_dir)
        self._stopping = threading.Event()
        self._queue: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self._retries: list[_Retry] = []
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._more = False
        self._short = False
        self._delays: dict[str, float] = {}
        self._unexplained: dict[str, int] = {}
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
        for vault in (home.vault, home.originals, home.failed, home.quarantine):
            vault.sweep()
        files.sweep(home.settings.outbox_dir)
        claims = {claim.id: claim for claim in self._claims.left()}
        claimed, pending = self._documents.unfinished()
        for id in set(claimed) - set(claims):
            self._documents.withdraw(id, time.time())
        for id in set(pending) - set(claims):
            self._enqueue(self._claims.load(id))
        for claim in claims.values():
            if claim.file is None and self._documents.find(claim.id) is None:
                self._undo(claim)
            else:
                self._admit(claim)
        if claims or pending:
            log.info("takes up %d claimed documents and %d receipts after a stop", len(claims), len(pending))

    def _undo(self, claim: Claim) -> None:
        try:
            self._claims.undo(claim.folder)
        except OSError as error:
            log.warning("claim %s: cannot be put back: %s; tried again at the next start", claim.id, error.strerror)

    def tick(self) -> None:
        """Lists the inbox, claims what is ready and gives each claim its slot."""
        now = time.monotonic()
        self._requeue(now)
        self._refill()
        found = self.inbox.scan(now)
        if self._short_of_room():
            self.inbox.hold_back(found, f"less than {self._floor // 2**20} MiB free (ingest.min_free_bytes)")
            return
        for ready in found:
            try:
                claim = self._claims.take(ready)
            except OSError as error:
                delay = self.inbox.refuse(ready, now, error)
                log.warning("a file cannot be taken out of the inbox: %s; again in %g s", error.strerror, delay)
                continue
            if claim is not None:
                self._admit(claim)

    @property
    def _floor(self) -> int:
        return self._home.settings.ingest.min_free_bytes

    def _short_of_room(self) -> bool:
        """Whether the disk has fallen below its floor; what is claimed already is processed all the same."""
        settings = self._home.settings
        short = min(mounts.free_bytes(settings.home), mounts.free_bytes(settings.outbox_dir)) < self._floor
        if short != self._short:
            self._short = short
            log.warning("the disk is full: nothing is taken" if short else "there is room again")
        return short

    def readmit(self, claim: Claim) -> None:
        """Processes a claim that was made of a failed document. Safe from any thread."""
        self._admit(claim)

    def _admit(self, claim: Claim) -> None:
        try:
            self._pipelines[0].arrive(claim)
        except sqlite3.OperationalError as error:
            log.warning("document %s: database: %s; again in 1 s", claim.id, error.sqlite_errorname)
            with self._lock:
                self._held.add(claim.id)
            self._later(claim, 1.0)
        else:
            self._enqueue(claim)

    def _enqueue(self, claim: Claim) -> None:
        """Hands a claim to the threads, or leaves it where it is when enough are held."""
        with self._lock:
            if claim.id in self._held:
                return
            if len(self._held) >= MOST_HELD:
                self._more = True
                return
            self._held.add(claim.id)
        self._queue.put(claim)

    def _refill(self) -> None:
        """Fetches claims that were left where they are, in the order of slots, when half of those held are done."""
        with self._lock:
            if not self._more or len(self._held) > MOST_HELD // 2:
                return
            self._more = False
        for id in self._documents.waiting(2 * MOST_HELD):
            self._enqueue(self._claims.load(id))

    def _done(self, claim: Claim) -> None:
        self._delays.pop(claim.id, None)
        self._unexplained.pop(claim.id, None)
        with self._lock:
            self._held.discard(claim.id)

    def backlog(self) -> int:
        """Claimed documents that wait for a thread or for their next try."""
        return self._queue.qsize() + len(self._retries)

    def _requeue(self, now: float) -> None:
        with self._lock:
            while self._retries and self._retries[0].due <= now:
                self._queue.put(heapq.heappop(self._retries).claim)

    def _later(self, claim: Claim, delay: float) -> None:
        with self._lock:
            heapq.heappush(self._retries, _Retry(time.monotonic() + delay, claim))

    def _work(self, pipeline: Pipeline) -> None:
        while (claim := self._queue.get()) is not None and not self._stopping.is_set():
            try:
                pipeline.process(claim)
                self._done(claim)
            except Stopping:
                return
            except (OSError, sqlite3.OperationalError) as error:
                delay = min(max(1.0, 2 * self._delays.get(claim.id, 0.0)), MAX_DELAY)
                self._delays[claim.id] = delay
                reason = error.strerror if isinstance(error, OSError) else error.sqlite_errorname
                log.warning("document %s: %s; again in %g s", claim.id, reason, delay)
                self._later(claim, delay)
            except Exception as error:
                self._unexpected(pipeline, claim, workers.where(error))

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
        self._later(claim, MAX_DELAY if tries >= UNEXPLAINED_TRIES else 1.0)

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
