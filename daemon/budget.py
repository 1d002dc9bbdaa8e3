"""What slots may still be charged: the ledger is the truth, the odometer its sum, and a debit comes before noise.

`charge` refuses what would carry any slot past its lifetime cap, then writes the debit into the ledger
and returns once it is on the medium. Nothing else spends.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from daemon.home import Home
from daemon.state import Database
from daemon.status import BUDGET_KEY
from learners import replay
from learners.replay import Pool, Slot, SlotState
from privacy import accountant
from privacy.accountant import RoundEvent
from privacy.chain import Entry
from privacy.ledger import Ledger
from privacy.odometer import Odometer, ranges

DEBIT = "debit"
POOLS = {"round": Pool.TRAIN, "gate": Pool.HOLDOUT}
"""What is charged for, and whom."""

_STATES = {
    "claimed": SlotState.WAITING,
    "quarantined": SlotState.QUARANTINED,
    "failed": SlotState.FAILED,
    "duplicate": SlotState.DUPLICATE,
    "withdrawn": SlotState.FORGOTTEN,
}


class Budget:
    """The odometers of one state folder: training slots and hold-out slots, which are never the same."""

    def __init__(self, home: Home, database: Database, ledger: Ledger) -> None:
        self._database, self._ledger = database, ledger
        self._learning = learning = home.settings.learning
        self._tickets = {
            Pool.TRAIN: learning.rounds_per_document,
            Pool.HOLDOUT: learning.gate_looks_per_document,
        }
        self._capacity = learning.capacity
        self._odometers = {pool: Odometer(learning.epsilon, learning.delta) for pool in Pool}
        self._used: dict[Pool, Counter[int]] = {pool: Counter() for pool in Pool}
        for entry in ledger.entries:
            if entry.kind == DEBIT:
                self._spend(entry)
        self._publish()

    @property
    def gate_event(self) -> RoundEvent:
        """One look of the gate at the hold-out: an equal share of its documents' lifetime."""
        learning = self._learning
        looks = learning.gate_looks_per_document
        return RoundEvent(1.0, accountant.calibrate(1.0, 1, looks, learning.epsilon, learning.delta), 1)

    def snapshot(self, pool: Pool, last: int) -> replay.Snapshot:
        """The slots of the pool's window up to slot `last` that still have a ticket, by public rule.

        A hold-out slot that cannot pay for another look (the settings changed) is left out like one without a
        ticket: a round must not spend and then fail at its gate.
        """
        sql = (
            "SELECT slot, state, taught, labelled FROM documents WHERE pool = ? AND slot <= ? "
            "ORDER BY slot DESC LIMIT ?"
        )
        slots = [
            Slot(row["slot"], self._state(row, pool), pool, self._used[pool][row["slot"]])
            for row in self._database.rows(sql, str(pool), last, self._capacity)
        ]
        found = replay.snapshot(slots, self._capacity, self._tickets[pool], pool)
        if pool is Pool.TRAIN:
            return found
        over = self._odometers[pool].over([self.gate_event], ranges(found.members))
        poor = {slot for first, after in over for slot in range(first, after)}
        return replay.Snapshot(
            found.capacity,
            tuple(slot for slot in found.members if slot not in poor),
            tuple(slot for slot in found.present if slot not in poor),
        )

    @staticmethod
    def _state(row: Any, pool: Pool) -> SlotState:
        """A hold-out document judges by a sidecar's labels alone: its own reading would agree with itself."""
        if row["state"] != "done":
            return _STATES[row["state"]]
        usable = row["taught"] and (pool is Pool.TRAIN or row["labelled"])
        return SlotState.READY if usable else SlotState.UNLABELLED

    def ids(self, slots: Sequence[int]) -> dict[int, str]:
        """The documents in these slots."""
        wanted = set(slots)
        rows = self._database.rows("SELECT slot, id FROM documents WHERE state = 'done' ORDER BY slot")
        return {row["slot"]: row["id"] for row in rows if row["slot"] in wanted}

    def charge(
        self, number: int, purpose: str, members: Sequence[int], event: RoundEvent, **more: float | None
    ) -> Entry:
        """Debits a round's or a gate's members; on disk when it returns. `more` is recorded beside the event.

        Raises:
            BudgetExhausted: a slot would pass its lifetime cap; nothing is written.
        """
        slots, odometer = ranges(members), self._odometers[POOLS[purpose]]
        odometer.refuse_over([event], slots)
        body = {
            "round": number,
            "purpose": purpose,
            "slots": slots,
            "event": event.to_body(),
            "cap": odometer.cap,
            "delta": odometer.delta,
            **more,
        }
        entry = self._ledger.append(DEBIT, body)
        self._spend(entry)
        self._publish()
        return entry

    def rounds_charged(self) -> int:
        """How many rounds were ever charged; each is a try at the gates, whatever became of it."""
        return sum(entry.kind == DEBIT and entry.body["purpose"] == "round" for entry in self._ledger.entries)

    def worst(self) -> float:
        """The largest lifetime epsilon of any slot."""
        return max(odometer.worst() for odometer in self._odometers.values())

    def worst_history(self) -> tuple[RoundEvent, ...]:
        """The events of the slot that has spent the most."""
        worst = max(self._odometers.values(), key=Odometer.worst)
        return worst.worst_history()

    def _spend(self, entry: Entry) -> None:
        """Adds a debit that is in the ledger to what its slots have spent."""
        pool = POOLS[entry.body["purpose"]]
        self._odometers[pool].charge([RoundEvent.from_body(entry.body["event"])], entry.body["slots"])
        for first, after in entry.body["slots"]:
            self._used[pool].update(range(first, after))

    def _publish(self) -> None:
        """For `ocrd status`, which does not compute: each pool's worst epsilon so far."""
        worst = {str(pool): odometer.worst() for pool, odometer in self._odometers.items()}
        if any(worst.values()):
            self._database.set(BUDGET_KEY, json.dumps(worst))
