"""What a reader can check of a model's privacy claim (`privacy.claim`) with the public key alone.

* The statement was signed, and is about these very files (`read`, `about`).
* The round's debit, or the offer of what learned nothing private, is in the ledger whose head it carries (`read`).
* No epsilon in it is smaller than what its own parameters give, each access to private data included (`recompute`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from privacy import accountant, dsse, filters
from privacy.accountant import RoundEvent
from privacy.chain import Head, Inclusion
from privacy.claim import GROUP, PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE, TRAINING
from privacy.errors import ClaimBroken

REQUIRED = frozenset(
    {"adversary", "released", "unit", "adjacency", "contribution", "exclusions"}
    | {"delta", "round", "lifetime_of_worst_unit", "lifetime_cap", "group", "accountant", "sampler", "mechanism"}
    | {"accesses", "public_data", "audit", "erasures", "ledger"}
)
"""What a claim must say."""
_TOLERANCE = 1e-6


def read(envelope: Mapping[str, Any], public: bytes) -> dict[str, Any]:
    """The statement of an envelope signed by `public` (32 bytes), its fields and inclusion proof checked.

    Raises:
        ClaimBroken: not signed by this key, not a privacy claim, a field missing, or a debit that is not in
            the ledger under the head the claim carries.
    """
    payload = dsse.read(envelope, PAYLOAD_TYPE, public)
    try:
        statement = json.loads(payload)
    except (ValueError, RecursionError):
        raise ClaimBroken("Expected JSON in the envelope.") from None
    predicate = statement.get("predicate") if isinstance(statement, dict) else None
    kinds = (statement.get("_type"), statement.get("predicateType")) if isinstance(predicate, dict) else ()
    if not isinstance(predicate, dict) or kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise ClaimBroken(f"Expected a statement of type {PREDICATE_TYPE}, got another.")
    missing = sorted(REQUIRED - predicate.keys())
    if missing:
        raise ClaimBroken(f"The claim does not say what a claim must: {', '.join(missing)} missing.")
    if not _inclusion(predicate["ledger"]).holds(public):
        raise ClaimBroken("The claim's debit is not in the ledger whose head it carries.")
    return dict(statement)


def about(statement: Mapping[str, Any], files: Mapping[str, str]) -> bool:
    """Whether the claim is about exactly these files: SHA-256 (hex) by name."""
    return {entry["name"]: entry["digest"]["sha256"] for entry in statement["subject"]} == dict(files)


def recompute(statement: Mapping[str, Any]) -> list[str]:
    """What in the claim's figures is too small for its own parameters, by computing them again; empty is good."""
    predicate = statement["predicate"]
    now, life = predicate["round"], predicate["lifetime_of_worst_unit"]
    problems = []
    for name, loss in (("round", now), ("lifetime_of_worst_unit", life)):
        events = [RoundEvent.from_body(body) for body in loss["events"]]
        mixed = loss is life and (predicate["group"]["epsilon"] is None or not filters.is_of_one_rule(events))
        true = predicate["lifetime_cap"] if mixed else accountant.epsilon(events, predicate["delta"])
        if loss["epsilon"] < true - _TOLERANCE:
            problems.append(f"{name}: epsilon {loss['epsilon']} is stated, and its events give {true}")
        if (mu := loss.get("mu")) is None:
            continue
        if mixed or not filters.is_full_batch(accountant.merged(events)):
            problems.append(f"{name}: mu {mu} is stated, and not all is full batch")
        elif mu < accountant.composed_mu(events) - _TOLERANCE:
            problems.append(f"{name}: mu {mu} is stated, and its events give {accountant.composed_mu(events)}")
    mechanism = predicate["mechanism"]
    used = [] if mechanism is None else [RoundEvent.from_body(mechanism)]
    if [RoundEvent.from_body(body) for body in now["events"]] != used:
        problems.append("round: its event is not the mechanism's")
    if mechanism is None and any(access["purpose"] == TRAINING for access in predicate["accesses"]):
        problems.append("mechanism: none is stated, and there was training")
    least = {"the round's": now["epsilon"]} | {
        f"that of {access['purpose']}": accountant.epsilon([RoundEvent.from_body(access["event"])], predicate["delta"])
        for access in predicate["accesses"]
        if access["event"] is not None
    }
    below = [what for what, epsilon in least.items() if life["epsilon"] < epsilon - _TOLERANCE]
    problems += [f"lifetime_of_worst_unit: it is less than {what}" for what in below]
    problems += _group_problems(predicate)
    if life["epsilon"] > predicate["lifetime_cap"] + _TOLERANCE:
        problems.append("lifetime_of_worst_unit: it passes the cap")
    return problems


def _group_problems(predicate: Mapping[str, Any]) -> list[str]:
    group, life = predicate["group"], predicate["lifetime_of_worst_unit"]
    if group["epsilon"] is None:
        return []
    problems = []
    for body in (group["events"], life["events"]):
        true = accountant.group_epsilon([RoundEvent.from_body(event) for event in body], predicate["delta"], GROUP)
        if group["epsilon"] < true - _TOLERANCE:
            problems.append(f"group: epsilon {group['epsilon']} is stated, and events in the claim give {true}")
    return problems


def _inclusion(body: Mapping[str, Any]) -> Inclusion:
    try:
        return Inclusion(int(body["seq"]), body["hash"], tuple(body["path"]), Head(**body["head"]))
    except (KeyError, TypeError, ValueError):
        raise ClaimBroken("Expected an inclusion proof under 'ledger'.") from None
