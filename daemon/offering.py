"""Whether a round offers the public start itself, by what the ledger says of earlier offers (ADR 15).

The start costs nobody anything but its look at the hold-out. So it goes before any private round, and a private round
that begins from it has to be no worse than it. Offering it is a try at the gates like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from daemon.serving import ROLLOUT
from models.rollout import Act
from models.verdict import Verdict
from privacy.chain import Entry
from privacy.ledger import Ledger

OFFER = "offer"
"""A ledger entry: round `round` offers the start of SHA-256 `public_start`, as try `attempt`; it charges nobody."""


class Standing(StrEnum):
    """Where a start stands."""

    DUE = "due"
    """Not offered yet, or the gates could not tell: the next round from the released model offers it."""
    SERVED = "served"
    """It went into service: rounds begin from what serves."""
    REFUSED = "refused"
    """The gates found it worse, or it was rolled back: rounds begin from the released model, without it."""


_AFTER = {Verdict.PASS: Standing.SERVED, Verdict.FAIL: Standing.REFUSED, Verdict.INCONCLUSIVE: Standing.DUE}


def offer(ledger: Ledger, number: int, start: str, attempt: int) -> Entry:
    """Writes down that round `number` offers the start; on disk when it returns."""
    return ledger.append(OFFER, {"round": number, "public_start": start, "attempt": attempt})


def standing(entries: Iterable[Entry], start: str) -> Standing:
    """What became of the start of this SHA-256 (hex) so far."""
    offered, version, found = set[int](), None, Standing.DUE
    for entry in entries:
        body = entry.body
        if entry.kind == OFFER and body["public_start"] == start:
            offered.add(body["attempt"])
        elif entry.kind != ROLLOUT:
            continue
        elif body["act"] == Act.JUDGE and body["attempt"] in offered:
            version, found = body["version"], _AFTER[Verdict(body["verdict"])]
        elif body["version"] == version and body["act"] == Act.ROLL_BACK:
            found = Standing.REFUSED
        elif body["version"] == version and body["act"] == Act.WITHDRAW:
            found = Standing.DUE
    return found
