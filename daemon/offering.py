"""Whether a round offers the public start itself, by what the ledger says of earlier offers (ADR 15).

The start costs nobody anything but its look at the hold-out. So it goes before any private round, and a private round
that begins from it has to be no worse than it. Offering it is a try at the gates like any other, and spends a look of
every hold-out unit: so it is not offered to a hold-out too small to tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from daemon.errors import Refused
from daemon.serving import ROLLOUT
from models import gates
from models.evidence import GAIN_BOUND
from models.rollout import Act, Stage
from models.verdict import ANCHOR, HOLDOUT, Verdict
from privacy.accountant import RoundEvent
from privacy.chain import Entry
from privacy.ledger import Ledger

OFFER = "offer"
"""A ledger entry: round `round` offers the start called `name`, of SHA-256 `public_start`, as try `attempt`.

It charges nobody. The name holds all that a start depends on: one that is made again, its last bits perhaps others, is
the same start."""
LEAST_GAIN, MOST_GAIN = 0.05, 0.25
"""Between these lies the mean gain that an offer must be able to tell. What starts were seen to bring where there is
real data: 6 points on forms, 25 on receipts (docs/learning.md)."""
MOST_OFFERS = 3
"""So often the gates are asked about one start."""
QUALITY = frozenset({ANCHOR, HOLDOUT})
"""The gates that say how well a model reads."""


class Standing(StrEnum):
    """Where a start stands."""

    DUE = "due"
    """Not offered yet, or nothing was said against it: the next round from the released model offers it."""
    SERVED = "served"
    """It went into service: rounds begin from what serves."""
    REFUSED = "refused"
    """The gates found it worse, or it was rolled back, or offered in vain often enough: rounds go on without it."""


@dataclass(frozen=True)
class Beginning:
    """Where a round begins: `start` is the file of the public start that it offers, where one is due."""

    start: Path | None
    beneath: str | None
    """The SHA-256 (hex) of the start that the model in service is, or goes on from."""

    def header(self) -> dict[str, str | None]:
        """For the round's process."""
        return {"start": None if self.start is None else str(self.start), "beneath": self.beneath}


def beginning(
    entries: Sequence[Entry], kept: Path, wanted: bool, units: int, look: RoundEvent, attempt: int, tolerance: float
) -> Beginning:
    """Where a round begins that is try `attempt` at the gates, over `units` of the hold-out that have a look left.

    Args:
        kept: the file of the start that there may be.
        wanted: whether settings ask for it, and the released model serves, whose place it may take.

    Raises:
        Refused: the units are so few that the gate could not tell.
    """
    due = wanted and standing(entries, kept.stem) is Standing.DUE
    serves = beneath(entries)
    hoped = LEAST_GAIN if serves else MOST_GAIN  # a start leaves little to gain
    gain = looked_for(entries, kept.stem) if due else hoped
    if reason := too_few(units, look, gain, attempt, tolerance):
        raise Refused(reason)
    return Beginning(kept if due else None, serves)


def offer(ledger: Ledger, number: int, name: str, start: str, attempt: int) -> Entry:
    """Writes down that round `number` offers the start of this name and SHA-256 (hex); on disk when it returns."""
    return ledger.append(OFFER, {"round": number, "name": name, "public_start": start, "attempt": attempt})


def standing(entries: Iterable[Entry], name: str) -> Standing:
    """What became of the start of this name so far.

    It is refused for how it reads, not for a slow machine or a lower cap; but a hold-out has few looks.
    """
    offered, version, found, judged = set[int](), None, Standing.DUE, 0
    for entry in entries:
        body = entry.body
        if entry.kind == OFFER and body["name"] == name:
            offered.add(body["attempt"])
        elif entry.kind != ROLLOUT:
            continue
        elif body["act"] == Act.JUDGE and body["attempt"] in offered:
            version, judged = body["version"], judged + 1
            worse = body["verdict"] == Verdict.FAIL and not QUALITY.isdisjoint(body.get("failed", QUALITY))
            found = Standing.REFUSED if worse or judged == MOST_OFFERS else Standing.DUE
        elif body["version"] == version and body["after"] == Stage.LIVE:
            found = Standing.SERVED
        elif body["version"] == version and body["act"] == Act.ROLL_BACK:
            found = Standing.REFUSED
    return found


def too_few(units: int, look: RoundEvent, gain: float, attempt: int, tolerance: float) -> str:
    """Why a look at so many hold-out units could not tell such a gain, by public numbers; empty if it could."""
    noise = look.noise_multiplier * GAIN_BOUND
    needed = gates.holdout_slots(gain, noise, attempt, gates.Limits(holdout_tolerance=tolerance))
    if units >= needed:
        return ""
    return (
        f"{units} hold-out units cannot tell whether a candidate is better: {needed} are needed that have a look left"
    )


def looked_for(entries: Iterable[Entry], name: str) -> float:
    """The mean gain on the hold-out that the next offer of this start has to be able to tell.

    The last that a look found, which was noisy and charged; the most that can be hoped for before there was one.
    """
    offered, gain = set[int](), MOST_GAIN
    for entry in entries:
        body = entry.body
        if entry.kind == OFFER and body["name"] == name:
            offered.add(body["attempt"])
        elif entry.kind == ROLLOUT and body["attempt"] in offered:
            gain = body["numbers"].get("holdout.gain", gain)
    return min(max(gain, LEAST_GAIN), MOST_GAIN)


def beneath(entries: Iterable[Entry]) -> str | None:
    """The SHA-256 (hex) of the public start that the version in service is, or goes on from; None if there is none."""
    offered, starts, served = dict[int, str](), dict[str, str](), list[str]()
    for entry in entries:
        body = entry.body
        if entry.kind == OFFER:
            offered[body["attempt"]] = body["public_start"]
        elif entry.kind != ROLLOUT:
            continue
        elif body["act"] == Act.JUDGE and body["attempt"] in offered:
            starts[body["version"]] = offered[body["attempt"]]
        elif body["after"] == Stage.LIVE:
            served.append(body["version"])
        elif body["act"] == Act.ROLL_BACK:
            served.pop()
    return next((starts[version] for version in reversed(served) if version in starts), None)
