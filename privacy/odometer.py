"""The lifetime privacy loss of every slot: all rounds and queries that ever held it, against one cap.

Pure. A slot's history is the multiset of the events that were charged to it, whatever became of the candidate
they trained; `privacy.filters` says what it has spent. Slots with equal histories share one record. Full-batch
histories have a closed form and mixed ones a sum. Tickets that others dominate are left out, and the rest are
compared by ever tighter bounds: a fine loss distribution, which takes tenths of a second, is composed only where
a question turns on it. The answers are those of composing all. `bench/noise.py` has what a question takes over
100,000 slots and 1,000 rounds, in one schedule of tickets of 20 kinds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from privacy import accountant, filters
from privacy.accountant import RoundEvent
from privacy.chain import Entry
from privacy.errors import BudgetExhausted

Ranges = Sequence[Sequence[int]]
"""Slots as half-open ranges `[first, after)`, as they stand in the ledger: `[[0, 200], [205, 300]]`."""

_History = tuple[RoundEvent, ...]


def ranges(slots: Iterable[int]) -> list[list[int]]:
    """Slot numbers as the fewest ranges, ascending."""
    found: list[list[int]] = []
    for slot in sorted(set(slots)):
        if found and found[-1][1] == slot:
            found[-1][1] = slot + 1
        else:
            found.append([slot, slot + 1])
    return found


def within(slot: int, known: Sequence[Sequence[int]]) -> bool:
    """Whether the slot is in one of the ascending ranges, which have no slot in common."""
    at = bisect_right(known, slot, key=lambda each: each[0]) - 1
    return at >= 0 and slot < known[at][1]


class Odometer:
    """What every slot has spent, and what it may still spend.

    Args:
        cap: the lifetime epsilon that no slot may pass.
        delta: at this delta, for the lifetime.
    """

    def __init__(self, cap: float, delta: float) -> None:
        if not cap > 0.0:
            raise ValueError(f"Expected cap > 0, got {cap}.")
        self.cap, self.delta = cap, delta
        self._histories: list[_History] = [()]
        self._number: dict[_History, int] = {(): 0}
        self._of_slot: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)

    @classmethod
    def replay(cls, entries: Iterable[Entry], cap: float, delta: float) -> Odometer:
        """The odometer that a ledger's entries add up to: those whose body has an "event" and "slots"."""
        odometer = cls(cap, delta)
        for entry in entries:
            if "event" in entry.body and "slots" in entry.body:
                odometer.charge([RoundEvent.from_body(entry.body["event"])], entry.body["slots"])
        return odometer

    def charge(self, events: Sequence[RoundEvent], slots: Ranges) -> None:
        """Adds events to the slots. Never refuses: what was spent is spent; `refuse_over` asks first."""
        where = self._numbers(slots)
        if not len(where):
            return
        missing = int(where.max()) + 1 - len(self._of_slot)
        if missing > 0:
            self._of_slot = np.concatenate([self._of_slot, np.zeros(missing, dtype=np.int32)])
        before = self._of_slot[where]
        after = np.arange(len(self._histories), dtype=np.int32)
        for number in _present(before):
            after[number] = self._intern(accountant.merged((*self._histories[number], *events)))
        self._of_slot[where] = after[before]
        self._forget_unused()

    def epsilon_of(self, slot: int) -> float:
        """What a slot has spent so far; 0 for one that was never charged."""
        return self._epsilon(self._histories[self._of_slot[slot]]) if slot < len(self._of_slot) else 0.0

    def worst(self) -> float:
        """The largest epsilon of any slot; 0 when nothing was charged."""
        return self._epsilon(self.worst_history())

    def worst_history(self) -> tuple[RoundEvent, ...]:
        """The events of the slot that has spent the most; empty when nothing was charged."""
        return dearest(self.extremes(), lambda history: filters.bounds(history, self.cap, self.delta))

    def extremes(self) -> tuple[tuple[RoundEvent, ...], ...]:
        """The histories of which one is the worst, whatever the measure (of several slots together, say)."""
        full: list[_History] = []
        tickets: list[_History] = []
        mixed: list[_History] = []
        for history in (self._histories[number] for number in _present(self._of_slot)):
            of_its_rule = full if filters.is_full_batch(history) else tickets if len(history) == 1 else mixed
            of_its_rule.append(history)
        return (*sorted(full, key=accountant.composed_mu)[-1:], *_undominated(tickets), *mixed)

    def over(self, events: Sequence[RoundEvent], slots: Ranges) -> list[list[int]]:
        """Those of the slots that the events would carry past the cap, as ranges."""
        where = self._numbers(slots)
        known = where < len(self._of_slot)
        before = np.zeros(len(where), dtype=np.int32)
        before[known] = self._of_slot[where[known]]
        after = {n: accountant.merged((*self._histories[n], *events)) for n in _present(before)}
        passing = self._passing(after.values())
        passes = np.zeros(len(self._histories), dtype=np.bool_)
        passes[[number for number, history in after.items() if history in passing]] = True
        return ranges(where[passes[before]].tolist())

    def _passing(self, histories: Iterable[_History]) -> set[_History]:
        """Those past the cap; tickets that dominate others which pass do so too."""
        passing: set[_History] = set()
        tickets: list[RoundEvent] = []
        for history in sorted(histories, key=lambda history: [event.steps for event in history]):
            ticket = history[0] if filters.is_tickets(history) else None
            dear = ticket is not None and any(_dominates(ticket, other) for other in tickets)
            if dear or filters.passes(history, self.cap, self.delta):
                passing.add(history)
                tickets += [ticket] if ticket and not dear else []
        return passing

    def would_exceed(self, events: Sequence[RoundEvent], slots: Ranges) -> bool:
        """Whether the events would carry any of the slots past the cap."""
        return bool(self.over(events, slots))

    def refuse_over(self, events: Sequence[RoundEvent], slots: Ranges) -> None:
        """Raises `BudgetExhausted`, with the number of slots, if `would_exceed`."""
        over = sum(after - first for first, after in self.over(events, slots))
        if over:
            raise BudgetExhausted(f"{over} slots would pass the lifetime epsilon of {self.cap} at {self.delta}.")

    def _epsilon(self, history: _History) -> float:
        return filters.spent(history, self.cap, self.delta)

    def _intern(self, history: _History) -> int:
        if history not in self._number:
            self._number[history] = len(self._histories)
            self._histories.append(history)
        return self._number[history]

    def _forget_unused(self) -> None:
        """Drops the records that no slot has any more, now and then."""
        if len(self._histories) < 1024:
            return
        present = [0, *(number for number in _present(self._of_slot) if number)]
        if len(self._histories) > 2 * len(present):
            renumbered = np.zeros(len(self._histories), dtype=np.int32)
            renumbered[present] = np.arange(len(present), dtype=np.int32)
            self._of_slot = renumbered[self._of_slot]
            self._histories = [self._histories[number] for number in present]
            self._number = {history: number for number, history in enumerate(self._histories)}

    @staticmethod
    def _numbers(slots: Ranges) -> npt.NDArray[np.int64]:
        """The slots of the ranges, each once, ascending."""
        for first, after in slots:
            if not 0 <= first <= after:
                raise ValueError(f"Expected ranges with 0 <= first <= after, got [{first}, {after}).")
        parts = [np.arange(first, after, dtype=np.int64) for first, after in sorted(map(tuple, slots))]
        joined = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
        if np.any(np.diff(joined) <= 0):
            raise ValueError("Expected ranges that don't overlap: a slot is charged once an event.")
        return joined


def dearest(histories: Sequence[_History], bounds: Callable[[_History], Iterator[float]]) -> tuple[RoundEvent, ...]:
    """The history of which a figure is the largest; empty if there is none.

    `bounds` gives upper bounds of it, ever tighter and ever dearer to compute; the last is the figure itself.
    """
    if len(histories) < 2:
        return histories[0] if histories else ()
    tighter = {history: bounds(history) for history in histories}
    known = {history: next(tighter[history]) for history in histories}
    while True:
        found = max(known, key=known.__getitem__)
        bound = next(tighter[found], None)
        if bound is None:  # its figure is known, and no other's bound is above that
            return found
        known[found] = bound


def _present(numbers: npt.NDArray[np.int32]) -> list[int]:
    """The distinct numbers, ascending."""
    return np.flatnonzero(np.bincount(numbers)).tolist() if len(numbers) else []


def _dominates(event: RoundEvent, other: RoundEvent) -> bool:
    """Whether the first is the other with a higher rate, more steps and less noise, or as much: it has cost no less."""
    at_least = event.sample_rate >= other.sample_rate and event.steps >= other.steps
    return at_least and event.noise_multiplier <= other.noise_multiplier


def _undominated(tickets: Iterable[_History]) -> list[_History]:
    """Those that no other dominates."""
    kept: list[RoundEvent] = []
    for [event] in sorted(tickets, key=lambda history: (-history[0].sample_rate, -history[0].steps)):
        if not any(_dominates(other, event) for other in kept):
            kept.append(event)
    return [(event,) for event in kept]
