"""What units may still be charged: the ledger is the truth, the odometer its sum, and a debit comes before noise.

`charge` refuses what would carry any unit past its lifetime cap, then writes the debit into the ledger
and returns once it is on the medium. Nothing else spends. A unit stands in the ledger as its first slot.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from daemon.errors import BadSetting
from daemon.home import Home
from daemon.offering import OFFER
from daemon.state import Database
from daemon.status import BUDGET_KEY
from learners import replay
from learners.replay import Pool, SlotState, Unit
from privacy import accountant
from privacy.accountant import RoundEvent
from privacy.chain import Entry
from privacy.ledger import Ledger
from privacy.odometer import Odometer, ranges

DEBIT = "debit"
RETIRE = "retire"
"""An entry that ends the life of all units before a number: what they were charged is not fully known."""
POOLS = {"round": Pool.TRAIN, "gate": Pool.HOLDOUT}
"""What is charged for, and whom."""
UNIT_KEY = "unit"
"""In `meta`: by which unit the documents here were taken."""

_STATES = {
    "claimed": SlotState.WAITING,
    "quarantined": SlotState.QUARANTINED,
    "failed": SlotState.FAILED,
    "duplicate": SlotState.DUPLICATE,
    "withdrawn": SlotState.FORGOTTEN,
    "forgotten": SlotState.FORGOTTEN,
    "evicted": SlotState.FORGOTTEN,
}


class Budget:
    """The odometers of one state folder: training units and hold-out units, which are never the same.

    Raises:
        BadSetting: the documents here were taken by another unit than the settings'.
    """

    def __init__(self, home: Home, database: Database, ledger: Ledger) -> None:
        self._database, self._ledger = database, ledger
        self._learning = learning = home.settings.learning
        self._keep_unit(learning.unit)
        self._tickets = {
            Pool.TRAIN: learning.rounds_per_document,
            Pool.HOLDOUT: learning.gate_looks_per_document,
        }
        self._capacity = learning.capacity
        self._odometers = {pool: Odometer(learning.epsilon, learning.delta) for pool in Pool}
        self._used: dict[Pool, Counter[int]] = {pool: Counter() for pool in Pool}
        self._retired = self._read = 0
        self._catch_up()
        self._publish()

    @property
    def gate_event(self) -> RoundEvent:
        """One look of the gate at the hold-out: an equal share of its documents' lifetime."""
        learning = self._learning
        looks = learning.gate_looks_per_document
        return RoundEvent(1.0, accountant.calibrate(1.0, 1, looks, learning.epsilon, learning.delta), 1)

    @property
    def _ticket(self) -> RoundEvent:
        """One round of a training unit: an equal share of its lifetime."""
        learning = self._learning
        return replay.ticket(learning.capacity, learning.rounds_per_document, learning.epsilon, learning.delta)

    def _keep_unit(self, unit: str) -> None:
        """A unit is for life: neither kind can be told from what the other has spent (ADR 2)."""
        if self._database.row("SELECT 1 FROM documents LIMIT 1") is None:
            self._database.set(UNIT_KEY, unit)
        elif (taken := self._database.get(UNIT_KEY) or "document") != unit:
            raise BadSetting(
                f'Expected learning.unit = "{taken}", by which the documents here were taken and charged, '
                f'got "{unit}". Set it back, or make a new state folder for "{unit}".'
            )

    def snapshot(self, pool: Pool, last: int) -> replay.Snapshot:
        """The units of the pool's window that still have a ticket, with what came up to slot `last`, by public rule.

        A unit that cannot pay for another round or look (the settings changed) is left out like one without a
        ticket: it must not make a round refuse, nor spend and then fail at its gate.
        """
        self._catch_up()
        units = [
            Unit(number, tuple(self._state(row, pool) for row in rows), pool, self._rounds_used(pool, number))
            for number, rows in groupby(self._window(pool, last), lambda row: int(row["unit"]))
        ]
        found = replay.snapshot(units, self._capacity, self._tickets[pool], pool)
        event = self.gate_event if pool is Pool.HOLDOUT else self._ticket
        over = self._odometers[pool].over([event], ranges(found.members))
        poor = {unit for first, after in over for unit in range(first, after)}
        return replay.Snapshot(
            found.capacity,
            tuple(unit for unit in found.members if unit not in poor),
            tuple(unit for unit in found.present if unit not in poor),
        )

    def _rounds_used(self, pool: Pool, unit: int) -> int:
        """All of its tickets, for a unit from before a restore that lost the ledger's end."""
        return self._tickets[pool] if unit < self._retired else self._used[pool][unit]

    def documents(self, pool: Pool, last: int, units: Sequence[int]) -> dict[int, list[str]]:
        """Ids of these units' documents up to slot `last` that have something to learn from, in order of arrival."""
        wanted, found = set(units), dict[int, list[str]]()
        for row in self._window(pool, last):
            if row["unit"] in wanted and self._state(row, pool) is SlotState.READY:
                found.setdefault(row["unit"], []).append(row["id"])
        return found

    def _window(self, pool: Pool, last: int) -> list[Any]:
        """The documents up to slot `last` of the pool's last units, by unit and slot."""
        sql = (
            "SELECT unit, id, state, taught, labelled FROM documents WHERE slot <= ? AND pool = ? AND unit IN "
            "(SELECT DISTINCT unit FROM documents WHERE pool = ? AND unit <= ? ORDER BY unit DESC LIMIT ?) "
            "ORDER BY unit, slot"
        )
        return self._database.rows(sql, last, str(pool), str(pool), last, self._capacity)

    @staticmethod
    def _state(row: Any, pool: Pool) -> SlotState:
        """A hold-out document judges by a sidecar's labels alone: its own reading would agree with itself."""
        if row["state"] != "done":
            return _STATES[row["state"]]
        usable = row["taught"] and (pool is Pool.TRAIN or row["labelled"])
        return SlotState.READY if usable else SlotState.UNLABELLED

    def charge(
        self, number: int, purpose: str, members: Sequence[int], event: RoundEvent, **more: float | None
    ) -> Entry:
        """Debits a round's or a gate's members; on disk when it returns. `more` is recorded beside the event.

        Raises:
            BudgetExhausted: a unit would pass its lifetime cap; nothing is written.
        """
        self._catch_up()
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
        self._catch_up()
        self._publish()
        return entry

    def tries(self) -> int:
        """How many rounds were ever charged, or offered a public start; each is a try at the gates, whatever came of
        it."""
        return sum(
            entry.kind == OFFER or (entry.kind == DEBIT and entry.body["purpose"] == "round")
            for entry in self._ledger.entries
        )

    def worst(self) -> float:
        """The largest lifetime epsilon of any unit."""
        return max(odometer.worst() for odometer in self._odometers.values())

    def worst_history(self) -> tuple[RoundEvent, ...]:
        """The events of the unit that has spent the most."""
        worst = max(self._odometers.values(), key=Odometer.worst)
        return worst.worst_history()

    def extremes(self) -> tuple[tuple[RoundEvent, ...], ...]:
        """The histories of which one is the worst for several units together."""
        return tuple(history for odometer in self._odometers.values() for history in odometer.extremes())

    def _catch_up(self) -> None:
        """Takes in what the ledger says, a debit included whose append failed and which is in it all the same."""
        entries = self._ledger.entries
        for entry in entries[self._read :]:
            if entry.kind == DEBIT:
                self._spend(entry)
            elif entry.kind == RETIRE:
                self._retired = max(self._retired, entry.body["before"])
        self._read = len(entries)

    def _spend(self, entry: Entry) -> None:
        """Adds a debit that is in the ledger to what its units have spent."""
        pool = POOLS[entry.body["purpose"]]
        self._odometers[pool].charge([RoundEvent.from_body(entry.body["event"])], entry.body["slots"])
        for first, after in entry.body["slots"]:
            self._used[pool].update(range(first, after))

    def _publish(self) -> None:
        """For `ocrd status`, which does not compute: each pool's worst epsilon so far."""
        worst = {str(pool): odometer.worst() for pool, odometer in self._odometers.items()}
        if any(worst.values()):
            self._database.set(BUDGET_KEY, json.dumps(worst))
