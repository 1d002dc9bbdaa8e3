"""The inbox's side of the service: recovery, claims, and the threads that process them.

Claims are taken only as fast as they are processed, so that a backlog stays where the user put it.
What the machine refuses (no space, no permission, I/O errors) is tried again after 1, 2, 4 ...
60 seconds; the claim waits meanwhile and nothing else does.
"""

from __future__ import annotations

import heapq
import logging
import queue
import sqlite3
import threading
import time
from dataclasses import dataclass, field

from daemon.home import Home
from daemon.inbox import Claim, Inbox
from daemon.pipeline import Pipeline, Stopping
from daemon.state import Database, Documents
from privacy import files

log = logging.getLogger("ocrd.ingest")

MAX_DELAY = 60.0


@dataclass(order=True)
class _Retry:
    due: float
    delay: float
    claim: Claim = field(compare=False)


class Ingest:
    """Runs `settings.ingest.workers` threads, each with a decoder and a reader of its own."""

    def __init__(self, home: Home, database: Database) -> None:
        settings = home.settings
        self._home, self._database, self._documents = home, database, Documents(database)
        self.inbox = Inbox(
            settings.inbox_dir,
            settings.claimed_dir,
            settings.ingest.settle_seconds,
            settings.ingest.sidecar_wait_seconds,
        )
        self._stopping = threading.Event()
        self._queue: queue.Queue[Claim | None] = queue.Queue(maxsize=2 * settings.ingest.workers)
        self._retries: list[_Retry] = []
        self._retry_lock = threading.Lock()
        self._delays: dict[str, float] = {}
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
        home = self._home
        for vault in (home.vault, home.originals, home.failed, home.quarantine):
            vault.sweep()
        files.sweep(home.settings.outbox_dir)
        claims = {claim.id: claim for claim in self.inbox.claims()}
        claimed, pending = self._documents.unfinished()
        for id in pending:
            claim = claims.pop(id, None) or Claim(id, self._home.settings.claimed_dir / id, None, None)
            self._pipelines[0].finish(claim)
        for id in set(claimed) - set(claims):
            self._documents.withdraw(id, time.time())
        for claim in claims.values():
            arrival = self._documents.find(claim.id)
            if arrival is not None and arrival.state != "claimed":
                self._pipelines[0].finish(claim)
            elif claim.file is None and arrival is None:
                self.inbox.undo(claim.folder)
            else:
                self._later(claim, 0.0)
        if claims or pending:
            log.info("took up %d claimed documents and wrote %d receipts after a stop", len(claims), len(pending))

    def tick(self) -> bool:
        """Lists the inbox and claims what is ready; true if there is more than could be taken now."""
        now = time.monotonic()
        while not self._queue.full() and (claim := self._next_retry(now)) is not None:
            self._queue.put(claim)
        ready = self.inbox.scan(now)
        while ready and not self._queue.full():
            claim = self.inbox.claim(ready.pop(0))
            if claim is not None:
                self._admit(claim)
        return bool(ready)

    def _admit(self, claim: Claim) -> None:
        """Gives the claim its slot now, in the order of arrival: later, it would depend on how long others take."""
        try:
            self._pipelines[0].arrive(claim)
        except sqlite3.OperationalError as error:
            log.warning("document %s: database: %s; again in 1 s", claim.id, error.sqlite_errorname)
            self._later(claim, 1.0)
        else:
            self._queue.put(claim)

    def busy(self) -> bool:
        """Whether any file still settles; the next look should then come soon."""
        return "still settling" in self.inbox.waiting or "its labels are still settling" in self.inbox.waiting

    def _next_retry(self, now: float) -> Claim | None:
        with self._retry_lock:
            if self._retries and self._retries[0].due <= now:
                retry = heapq.heappop(self._retries)
                self._delays[retry.claim.id] = retry.delay
                return retry.claim
        return None

    def _later(self, claim: Claim, delay: float) -> None:
        with self._retry_lock:
            heapq.heappush(self._retries, _Retry(time.monotonic() + delay, delay, claim))

    def _work(self, pipeline: Pipeline) -> None:
        while (claim := self._queue.get()) is not None and not self._stopping.is_set():
            try:
                pipeline.process(claim)
                self._delays.pop(claim.id, None)
            except Stopping:
                return
            except (OSError, sqlite3.OperationalError) as error:
                delay = min(max(1.0, 2 * self._delays.get(claim.id, 0.0)), MAX_DELAY)
                reason = error.strerror if isinstance(error, OSError) else error.sqlite_errorname
                log.warning("document %s: %s; again in %g s", claim.id, reason, delay)
                self._later(claim, delay)
            except Exception as error:
                log.error("document %s: unexpected %s; again in %g s", claim.id, type(error).__name__, MAX_DELAY)
                self._later(claim, MAX_DELAY)

    def stop(self, seconds: float) -> None:
        """Lets each thread end its document within `seconds`, then kills the workers; claims stay claimed."""
        self._stopping.set()
        for _ in self._threads:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                break
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for pipeline in self._pipelines:
            pipeline.stop()
        for thread in self._threads:
            thread.join(2.0)
