"""A model's privacy claim: what was learned from whom at what cost, in a form that others can check.

An in-toto v1 Statement (https://github.com/in-toto/attestation) about the model's files, in a DSSE envelope
signed with Ed25519. Its predicate says what NIST SP 800-226 and Ponomareva et al. (2023, section 5.3) ask of
a differential privacy claim. What a reader can check of it is `privacy.claim_check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from privacy import accountant, dsse, filters
from privacy.accountant import RoundEvent
from privacy.chain import Inclusion, canonical
from privacy.odometer import dearest
from privacy.signing import SigningKey

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:x-ocrd-daemon:privacy-claim:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

ADVERSARY = (
    "Sees every released model, its claim, its roll-out states and their timing; knows every other document "
    "and all public numbers; does not see inside the operator's boundary."
)
RELEASED = ("model files", "claims", "roll-out states and their timing")
EXCLUSIONS = (
    "the inbox, the outbox, review, the journal and status, which lie inside the operator's boundary",
    "the number of slots, the times of arrival and which slots make up a unit, which are public",
    "a unit that was forgotten and comes again, which is a new one: nothing is kept by which it could be known",
    "what an operator sets or decides by hand on figures that were not charged",
    "timing and other side channels of the machine",
)
_UNITS = {
    "document": ("document", "several documents about one person count as several units: see group"),
    "source": (
        "source: everything under one sub-folder of the inbox, or a file directly in the inbox",
        "what is about one person in several sub-folders counts as several units: see group",
    ),
}
"""What the unit is, and what it leaves out."""
TRAINING = "training"
"""The purpose of the round's own access."""
GROUP = 10
"""Units that the claim's figure for a group is about."""
_COARSE = (0.2, 0.05)  # grids of a group's loss, in nats, multiples of the fine one: quicker, never lower


@dataclass(frozen=True)
class Access:
    """One kind of access to private data: what for, and the event charged (None: nothing was released)."""

    purpose: str
    event: RoundEvent | None = None
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """What the daemon knows of a round, from which `statement` makes the claim. Numbers and ids only.

    Attributes:
        files: SHA-256 (hex) of each of the model's files, by name.
        unit: "document" or "source".
        event: the round's event; `max_grad_norm` its clipping norm; `capacity` its slots. None: it learned nothing
            private.
        history: all events of the unit that has spent most, this round's included.
        extremes: the histories of which one is the worst for several units together (`Odometer.extremes`).
        cap, delta: the lifetime epsilon that no unit passes, at this delta.
        second_opinion: `accountant.epsilon_second_opinion` of the round.
        accesses: every access to private data: training, tuning, gating, drift, metrics.
        public_data: what public data was used, by name and version.
        erasures: how many units had been erased from the pool when the round ran.
        audit: the bound that an empirical audit of this code found, and with how many canaries; None if none was run.
        inclusion: the proof that the round's debit (or the offer of a model without one) is in the ledger.
    """

    files: Mapping[str, str]
    unit: str
    event: RoundEvent | None
    max_grad_norm: float | None
    capacity: int
    history: Sequence[RoundEvent]
    extremes: Sequence[Sequence[RoundEvent]]
    cap: float
    delta: float
    second_opinion: float | None
    accesses: Sequence[Access]
    public_data: Sequence[str]
    erasures: int
    inclusion: Inclusion
    audit: Mapping[str, Any] | None = None
    notes: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise ValueError(f"Expected unit 'document' or 'source', got {self.unit!r}.")
        if not self.files:
            raise ValueError("Expected at least one file that the claim is about.")
        if self.event is not None and not any(access.event == self.event for access in self.accesses):
            raise ValueError("Expected the round's own event among the accesses.")
        if (self.event is None) is not (self.max_grad_norm is None):
            raise ValueError(f"Expected a clipping norm for a round that learned, got {self.max_grad_norm}.")

    def statement(self) -> dict[str, Any]:
        """The in-toto Statement. Epsilons are computed here, from the events."""
        subject = [{"name": name, "digest": {"sha256": self.files[name]}} for name in sorted(self.files)]
        return {
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": PREDICATE_TYPE,
            "predicate": {**self._definition(), **self._cost(), **self._circumstances()},
        }

    def _definition(self) -> dict[str, Any]:
        unit, left_out = _UNITS[self.unit]
        return {
            "adversary": ADVERSARY,
            "released": list(RELEASED),
            "unit": unit,
            "adjacency": "zero-out of all slots of one unit (dp-accounting: REPLACE_SPECIAL)",
            "contribution": {"gradients_per_unit_and_step": 1, "max_grad_norm": self.max_grad_norm},
            "exclusions": [*EXCLUSIONS, left_out],
        }

    def _cost(self) -> dict[str, Any]:
        events = [] if self.event is None else [self.event]
        return {
            "delta": self.delta,
            "round": {**_loss(events, self.delta), "second_opinion": self.second_opinion},
            "lifetime_of_worst_unit": self._lifetime(),
            "lifetime_cap": self.cap,
            "group": {"size": GROUP, "of": f"{self.unit}s", **group_figure(self.extremes, self.delta)},
            "accountant": _accountant(),
            **self._mechanism(),
        }

    def _lifetime(self) -> dict[str, Any]:
        """What the worst unit has spent; the cap where a schedule mixed its rules: that is what its filter promises."""
        loss = _loss(self.history, self.delta)
        if all(map(filters.is_of_one_rule, (self.history, *self.extremes))):
            return loss
        return loss | {"epsilon": self.cap, "mu": None}

    def _mechanism(self) -> dict[str, Any]:
        if self.event is None:
            return {"sampler": None, "mechanism": None}
        sampler = "full batch" if self.event.sample_rate == 1.0 else "poisson"
        return {
            "sampler": {"used": sampler, "assumed": sampler},
            "mechanism": {
                "name": "discrete-gaussian",
                "noise_source": "ChaCha20 keyed by the operating system, exact rejection sampling, integer grid",
                **self.event.to_body(),
                "max_grad_norm": self.max_grad_norm,
                "capacity": self.capacity,
                "expected_documents": self.event.sample_rate * self.capacity,
            },
        }

    def _circumstances(self) -> dict[str, Any]:
        return {
            "accesses": [asdict(access) for access in self.accesses],
            "public_data": list(self.public_data),
            "audit": dict(self.audit) if self.audit else None,
            "erasures": self.erasures,
            "ledger": asdict(self.inclusion),
            "notes": list(self.notes),
        }


def sign(statement: Mapping[str, Any], key: SigningKey) -> dict[str, Any]:
    """The statement in a DSSE envelope."""
    return dsse.sign(canonical(statement), PAYLOAD_TYPE, key)


def _loss(events: Sequence[RoundEvent], delta: float) -> dict[str, Any]:
    merged = accountant.merged(events)
    full = all(event.sample_rate == 1.0 for event in merged)
    return {
        "epsilon": accountant.epsilon(merged, delta),
        "mu": accountant.composed_mu(merged) if full else None,
        "events": [event.to_body() for event in merged],
    }


def group_figure(extremes: Sequence[Sequence[RoundEvent]], delta: float) -> dict[str, Any]:
    """The worst of these histories for `GROUP` units together; no figure where a schedule mixed its rules.

    There no filter holds for a group, so nothing is promised.
    """
    histories = [accountant.merged(history) for history in extremes]
    if not all(map(filters.is_of_one_rule, histories)):
        return {"epsilon": None, "events": None}

    def bounds(history: tuple[RoundEvent, ...]) -> Iterator[float]:
        for interval in _COARSE:
            yield accountant.group_epsilon(history, delta, GROUP, interval)
        yield accountant.group_epsilon(history, delta, GROUP)

    worst = dearest(histories, bounds)
    return {"epsilon": accountant.group_epsilon(worst, delta, GROUP), "events": [event.to_body() for event in worst]}


def _accountant() -> dict[str, str]:
    return {
        "full_batch": "closed form of Gaussian differential privacy",
        "poisson": f"dp-accounting {version('dp-accounting')}, privacy loss distributions",
        "mixed": f"dp-accounting {version('dp-accounting')}, a Renyi filter of one order",
        "second_opinion": f"opacus {version('opacus')}, privacy random variables",
    }
