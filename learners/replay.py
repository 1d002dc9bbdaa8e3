"""Which sealed documents a round learns from, decided by public numbers alone.

Every arrival takes the next slot, and a unit of privacy is one slot, or all slots of one source (one
sub-folder of the inbox); its number is its first slot's. Adjacency is zero-out: a neighbouring history
has the same slots in the same units, and nothing in any slot of one unit. Copies of a document that is
a unit of its own are one unit with it; so are copies within a source. Only the lowest slot's teaches. The
guarantee needs the rules below to read only what both histories share:

- a unit's pool (train or hold-out) is a keyed coin of its number;
- the window is the last `capacity` train units by number, whatever became of their documents;
- a unit takes part in at most `rounds_per_document` rounds, and a round that had it in its window used
  one up whether or not there was a document in it. A document that comes after the last teaches nothing;
- a unit without a document to learn from (quarantined, failed, unlabelled, duplicate, forgotten) is a
  zero gradient and is never refilled by an older one.

So two neighbouring histories give snapshots whose documents differ in that one unit and whose members
do not differ at all. A reservoir that evicts by content, or fills gaps, turns epsilon 8 into 16: the
tests hold such mutants.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from privacy import accountant
from privacy.accountant import RoundEvent

T = TypeVar("T")
STEPS = 50
"""Steps of a round, whatever learns: so that what a round costs is known before it is planned."""
FULL_BATCH_UP_TO = 2000
"""Slots up to which every step takes the whole pool: less noise than sampling, and less to prove."""
SAMPLED = 1000
"""Units that a step expects of a larger pool."""
MAX_DOCUMENTS = 16
"""Documents of a unit that a round learns from, spread over it."""


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
class Unit:
    """What is protected as one. `number`, `pool`, `rounds_used` are public; `states`, one a slot, are private."""

    number: int
    states: tuple[SlotState, ...]
    pool: Pool
    rounds_used: int = 0

    def __post_init__(self) -> None:
        if self.number < 0 or self.rounds_used < 0:
            raise ValueError(f"Expected number >= 0 and rounds_used >= 0, got {self}.")

    @property
    def ready(self) -> bool:
        """Whether any of its documents has something to learn from."""
        return SlotState.READY in self.states


@dataclass(frozen=True)
class Snapshot:
    """The units of a round: `members` are charged (public); `present` hold a document (private)."""

    capacity: int
    members: tuple[int, ...]
    present: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.members) > self.capacity or not set(self.present) <= set(self.members):
            raise ValueError(f"Expected present units among at most {self.capacity} members.")


def pool_of(coin: float, holdout: float) -> Pool:
    """The pool of a unit from its keyed coin in [0, 1): `holdout` is the share that never trains."""
    if not 0 <= coin < 1 or not 0 <= holdout < 1:
        raise ValueError(f"Expected coin and holdout in [0, 1), got {coin=}, {holdout=}.")
    return Pool.HOLDOUT if coin < holdout else Pool.TRAIN


def window(units: Iterable[Unit], capacity: int, pool: Pool = Pool.TRAIN) -> tuple[Unit, ...]:
    """The last `capacity` units of the pool by number, in order."""
    if capacity < 1:
        raise ValueError(f"Expected capacity >= 1, got {capacity=}.")
    found = sorted((unit for unit in units if unit.pool is pool), key=lambda unit: unit.number)
    if any(a.number == b.number for a, b in pairwise(found)):
        raise ValueError("Expected every unit's number once.")
    return tuple(found[-capacity:])


def snapshot(units: Iterable[Unit], capacity: int, rounds_per_document: int, pool: Pool = Pool.TRAIN) -> Snapshot:
    """The units of the next round, or of a gate's look at the hold-out pool.

    Every one of `members` has to be charged before noise is drawn.
    """
    if rounds_per_document < 1:
        raise ValueError(f"Expected rounds_per_document >= 1, got {rounds_per_document=}.")
    members = [unit for unit in window(units, capacity, pool) if unit.rounds_used < rounds_per_document]
    return Snapshot(
        capacity,
        tuple(unit.number for unit in members),
        tuple(unit.number for unit in members if unit.ready),
    )


def ticket(capacity: int, rounds_per_document: int, epsilon: float, delta: float) -> RoundEvent:
    """What one round costs each of its units: `rounds_per_document` of them make the lifetime's epsilon."""
    sample_rate = 1.0 if capacity <= FULL_BATCH_UP_TO else SAMPLED / capacity
    sigma = accountant.calibrate(sample_rate, STEPS, rounds_per_document, epsilon, delta)
    return RoundEvent(sample_rate, sigma, STEPS)


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly over them."""
    count = min(most, len(items))
    return [items[k * len(items) // count] for k in range(count)]
