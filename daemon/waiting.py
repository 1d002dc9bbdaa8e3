"""Claims that wait, for a thread or for their next try, and a bounded number of them in memory.

At most `MOST_HELD` are held; the others stand in the database and in the claim folder, and are fetched by slot when
half of those are done. What the machine refuses is tried again after 1, 2, 4 ... 60 seconds. The clock is an argument.
"""

from __future__ import annotations

import heapq
import math
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from daemon import trouble
from daemon.taking import Claim

MOST_HELD = 1000


@dataclass(order=True)
class _Retry:
    due: float
    claim: Claim = field(compare=False)


class Waiting:
    """Safe from any thread.

    Args:
        lowest: ids of so many documents that are not ended or have no receipt, the lowest slots, in their order.
        load: the claim with an id; None if its document has ended, with its receipt, since it was listed.

    Attributes:
        queue: claims for the next thread that is free; None ends a thread.
        held: ids of the claims that wait or are being processed.
    """

    def __init__(self, lowest: Callable[[int], Iterable[str]], load: Callable[[str], Claim | None]) -> None:
        self._lowest, self._load = lowest, load
        self.queue: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self.held: set[str] = set()
        self._retries: list[_Retry] = []
        self._delays: dict[str, float] = {}
        self._lock = threading.Lock()
        self._more = False

    def put(self, claim: Claim) -> None:
        """Hands a claim to the threads, or leaves it where it is when enough are held."""
        if self._hold(claim.id):
            self.queue.put(claim)

    def _hold(self, id: str) -> bool:
        with self._lock:
            if id in self.held:
                return False
            if len(self.held) >= MOST_HELD:
                self._more = True
                return False
            self.held.add(id)
            return True

    def refill(self) -> None:
        """Fetches claims that were left where they are, in the order of slots, when half of those held are done.

        After an error, of the database or of a claim's folder, the next call goes on.
        """
        with self._lock:
            if not self._more or len(self.held) > MOST_HELD // 2:
                return
            self._more = False
        try:
            self._fetch()
        except BaseException:
            self._more = True
            raise

    def _fetch(self) -> None:
        for id in self._lowest(MOST_HELD + len(self.held) + 1):
            if self._hold(id):
                claim = None
                try:
                    claim = self._load(id)
                finally:
                    if claim is None:
                        with self._lock:
                            self.held.discard(id)
                if claim is not None:
                    self.queue.put(claim)
            elif self._more:
                return

    def again(self, claim: Claim, now: float) -> float:
        """The claim is to be tried again, later each time; says after how many seconds."""
        with self._lock:
            delay = min(2 * self._delays.get(claim.id, trouble.FIRST_DELAY / 2), trouble.MOST_DELAY)
            self._delays[claim.id] = delay
        self.later(claim, now + delay)
        return delay

    def later(self, claim: Claim, due: float) -> None:
        with self._lock:
            self.held.add(claim.id)
            heapq.heappush(self._retries, _Retry(due, claim))

    def requeue(self, now: float) -> None:
        """Hands those that are due to the threads."""
        with self._lock:
            while self._retries and self._retries[0].due <= now:
                self.queue.put(heapq.heappop(self._retries).claim)

    def due_in(self, now: float) -> float:
        """Seconds until a claim is to be tried again; infinite if none is."""
        with self._lock:
            return self._retries[0].due - now if self._retries else math.inf

    def done(self, claim: Claim) -> None:
        with self._lock:
            self._delays.pop(claim.id, None)
            self.held.discard(claim.id)

    def __len__(self) -> int:
        return self.queue.qsize() + len(self._retries)
