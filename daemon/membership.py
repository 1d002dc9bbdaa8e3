"""Which rounds had a unit in them, at what epsilon, and which models came of it: from the ledger, where it is charged.

What a round was charged for is public; whether the unit's documents taught it anything is not asked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from daemon.budget import DEBIT, POOLS
from daemon.config import Settings
from daemon.state import Database
from privacy.chain import Entry
from privacy.odometer import Odometer, within


@dataclass(frozen=True)
class Membership:
    """One charge to a unit: the round, what for, what it cost alone, and what became of it."""

    round: int
    purpose: str
    """"round": it was in the pool that trained; "gate": it was in the hold-out that judged."""
    epsilon: float | None
    state: str | None
    version: str | None


@dataclass(frozen=True)
class Spent:
    """All charges to a unit, and what they come to together."""

    unit: int
    charges: tuple[Membership, ...]
    epsilon: float
    delta: float

    @property
    def versions(self) -> list[str]:
        """The models that were trained with the unit in the pool."""
        return [charge.version for charge in self.charges if charge.purpose == "round" and charge.version]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def spent(settings: Settings, database: Database, entries: Iterable[Entry], units: Sequence[int]) -> list[Spent]:
    """What each of the units has spent so far, in their order."""
    debits = [entry for entry in entries if entry.kind == DEBIT]
    learning = settings.learning
    odometers = {
        pool: Odometer.replay(
            (entry for entry in debits if POOLS[entry.body["purpose"]] is pool), learning.epsilon, learning.delta
        )
        for pool in set(POOLS.values())
    }
    rounds = {row["id"]: row for row in database.rows("SELECT id, state, version FROM rounds")}
    found = []
    for unit in units:
        charges = tuple(_membership(e, rounds.get(e.body["round"])) for e in debits if within(unit, e.body["slots"]))
        total = max(odometer.epsilon_of(unit) for odometer in odometers.values())
        found.append(Spent(unit, charges, total, learning.delta))
    return found


def _membership(entry: Entry, row: Any) -> Membership:
    body = entry.body
    state, version = (None, None) if row is None else (row["state"], row["version"])
    return Membership(body["round"], body["purpose"], body.get("epsilon"), state, version)
