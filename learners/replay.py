"""Which sealed documents a round learns from, decided by public numbers alone.

Adjacency is zero-out on slots: every arrival takes the next slot, and a neighbouring history has
nothing in one slot (all copies of one content are one unit; a copy is `DUPLICATE` and stays empty).
The guarantee needs the rules below to read only what both histories share:

- a slot's pool (train or hold-out) is a keyed coin of its number;
- the window is the last `capacity` train slots by number, whatever became of their documents;
- a slot takes part in at most `rounds_per_document` rounds, and a round that had it in its window used
  one up whether or not there was a document in it;
- a slot without a document to learn from (quarantined, failed, unlabelled, duplicate, forgotten) is a
  zero gradient and is never refilled by an older one.

So two neighbouring histories give snapshots whose documents differ in that one slot and whose members
do not differ at all. A reservoir that evicts by content, or fills gaps, turns epsilon 8 into 16: the
tests hold such mutants.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


class SlotState(enum.StrEnum):
    """What became of the document that took a slot. Only `READY` has something to learn from."""

    READY = "ready"
    WAITING = "waiting"
    QUARANTINED = "quarantined"
    FAILED = "failed"
    UNLABELLED = "unlabelled"
    DUPLICATE = "duplicate"
    FORGOTTEN = "forgotten"


class Pool(enum.StrEnum):
    TRAIN = "train"
    HOLDOUT = "holdout"


@dataclass(frozen=True)
class Slot:
    """One arrival. `number`, `pool` and `rounds_used` are public; `state` is private."""

    number: int
    state: SlotState
    pool: Pool
    rounds_used: int = 0

    def __post_init__(self) -> None:
        if self.number < 0 or self.rounds_used < 0:
            raise ValueError(f"Expected number >= 0 and rounds_used >= 0, got {self}.")


@dataclass(frozen=True)
class Snapshot:
    """The slots of a round: `members` are charged (public); `present` hold a document (private)."""

    capacity: int
    members: tuple[int, ...]
    present: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.members) > self.capacity or not set(self.present) <= set(self.members):
            raise ValueError(f"Expected present slots among at most {self.capacity} members.")


def pool_of(coin: float, holdout: float) -> Pool:
    """The pool of a slot from its keyed coin in [0, 1): `holdout` is the share that never trains."""
    if not 0 <= coin < 1 or not 0 <= holdout < 1:
        raise ValueError(f"Expected coin and holdout in [0, 1), got {coin=}, {holdout=}.")
    return Pool.HOLDOUT if coin < holdout else Pool.TRAIN


def window(slots: Iterable[Slot], capacity: int, pool: Pool = Pool.TRAIN) -> tuple[Slot, ...]:
    """The last `capacity` slots of the pool by number, in order."""
    if capacity < 1:
        raise ValueError(f"Expected capacity >= 1, got {capacity=}.")
    found = sorted((slot for slot in slots if slot.pool is pool), key=lambda slot: slot.number)
    if any(a.number == b.number for a, b in pairwise(found)):
        raise ValueError("Expected every slot number once.")
    return tuple(found[-capacity:])


def snapshot(slots: Iterable[Slot], capacity: int, rounds_per_document: int, pool: Pool = Pool.TRAIN) -> Snapshot:
    """The slots of the next round, or of a gate's look at the hold-out pool.

    Every one of `members` has to be charged before noise is drawn.
    """
    if rounds_per_document < 1:
        raise ValueError(f"Expected rounds_per_document >= 1, got {rounds_per_document=}.")
    members = [slot for slot in window(slots, capacity, pool) if slot.rounds_used < rounds_per_document]
    return Snapshot(
        capacity,
        tuple(slot.number for slot in members),
        tuple(slot.number for slot in members if slot.state is SlotState.READY),
    )
