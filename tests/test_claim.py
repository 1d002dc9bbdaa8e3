"""A claim says what a claim must, is signed, is about its files, and can be computed again by anybody."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy import accountant, claim, claim_check, dsse
from privacy.accountant import RoundEvent
from privacy.claim import Access, Claim
from privacy.errors import ClaimBroken
from privacy.ledger import Ledger
from privacy.signing import SigningKey

DELTA = 1e-6
EVENT = RoundEvent(1.0, 13.059, 100)
QUERY = RoundEvent(1.0, 80.0, 1)
FILES = {"rec.onnx": "a" * 64, "rec_paddle/inference.pdiparams": "b" * 64}


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.create(tmp_path / "key")


@pytest.fixture
def made(tmp_path: Path, key: SigningKey) -> Claim:
    with Ledger(tmp_path / "ledger.jsonl", key) as ledger:
        for number in range(5):
            ledger.append("debit", {"round": number, "event": EVENT.to_body(), "slots": [[0, 200]]})
        inclusion = ledger.prove(3)
    return Claim(
        files=FILES,
        unit="document",
        event=EVENT,
        max_grad_norm=0.2,
        capacity=200,
        history=[EVENT, QUERY, EVENT],
        extremes=[[EVENT, QUERY, EVENT], [QUERY]],
        cap=8.0,
        delta=DELTA,
        second_opinion=3.6156,
        accesses=[Access("training", EVENT), Access("gate", QUERY), Access("pseudo-labels", note="not released")],
        public_data=["generated documents 0.1.0"],
        erasures=2,
        inclusion=inclusion,
    )


@pytest.fixture
def envelope(made: Claim, key: SigningKey) -> dict[str, Any]:
    return json.loads(json.dumps(claim.sign(made.statement(), key)))


def test_a_signed_claim_comes_back(made: Claim, envelope: dict[str, Any], key: SigningKey) -> None:
    statement = claim_check.read(envelope, key.public)
    assert statement == json.loads(json.dumps(made.statement()))
    assert claim_check.about(statement, FILES)
    assert not claim_check.about(statement, {**FILES, "rec.onnx": "c" * 64})
    assert not claim_check.about(statement, {"rec.onnx": "a" * 64})
    assert claim_check.recompute(statement) == []


def test_it_says_what_a_claim_must(made: Claim) -> None:
    said = made.statement()["predicate"]
    assert said["unit"] == "document"
    assert "zero-out" in said["adjacency"]
    assert said["contribution"] == {"gradients_per_unit_and_step": 1, "max_grad_norm": 0.2}
    assert said["delta"] == DELTA
    assert said["round"]["epsilon"] == accountant.epsilon([EVENT], DELTA)
    assert said["round"]["mu"] == accountant.mu(EVENT)
    assert said["round"]["second_opinion"] == 3.6156
    assert said["lifetime_of_worst_unit"]["epsilon"] == accountant.epsilon([EVENT, QUERY, EVENT], DELTA)
    assert said["lifetime_cap"] == 8.0
    assert said["group"]["epsilon"] > 5 * said["lifetime_of_worst_unit"]["epsilon"]
    assert "dp-accounting 0." in said["accountant"]["poisson"]
    assert said["sampler"] == {"used": "full batch", "assumed": "full batch"}
    mechanism = said["mechanism"]
    assert {**EVENT.to_body(), "max_grad_norm": 0.2, "capacity": 200}.items() <= mechanism.items()
    assert mechanism["expected_documents"] == 200
    assert mechanism["name"] == "discrete-gaussian"
    assert "ChaCha20" in mechanism["noise_source"]
    assert [access["purpose"] for access in said["accesses"]] == ["training", "gate", "pseudo-labels"]
    assert said["public_data"] == ["generated documents 0.1.0"]
    assert said["audit"] is None
    assert said["erasures"] == 2
    assert any("inbox" in exclusion for exclusion in said["exclusions"])
    assert any("timing" in exclusion for exclusion in said["exclusions"])
    assert any("forgotten" in exclusion for exclusion in said["exclusions"])
    assert said["ledger"]["head"]["size"] == 5
    words = json.dumps(said).lower()
    assert "unlearned" not in words
    assert "anonymous" not in words


def test_a_sampled_round_names_its_sampler(made: Claim) -> None:
    event = RoundEvent(0.25, 3.388, 100)
    sampled = replace(made, event=event, history=[event], accesses=[Access("training", event)])
    said = sampled.statement()["predicate"]
    assert said["sampler"] == {"used": "poisson", "assumed": "poisson"}
    assert said["round"]["mu"] is None
    assert said["mechanism"]["expected_documents"] == 50
    assert claim_check.recompute(sampled.statement()) == []


def test_the_envelope_is_dsse(envelope: dict[str, Any], key: SigningKey) -> None:
    """Checked as the specification has it, without this program's own code."""
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"]
    assert kind == "application/vnd.in-toto+json"
    encoded = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    [signature] = envelope["signatures"]
    Ed25519PublicKey.from_public_bytes(key.public).verify(base64.b64decode(signature["sig"]), encoded)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"][0] == {"name": "rec.onnx", "digest": {"sha256": "a" * 64}}


def _payload(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def edit(envelope: dict[str, Any]) -> None:
        statement = json.loads(base64.b64decode(envelope["payload"]))
        change(statement)
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        _payload(lambda s: s["predicate"]["round"].update(epsilon=0.1)),
        _payload(lambda s: s["subject"].pop()),
        _payload(lambda s: None),
        lambda e: e.update(payloadType="text/plain"),
        lambda e: e["signatures"].clear(),
        lambda e: e["signatures"][0].update(sig=base64.b64encode(bytes(64)).decode()),
        lambda e: e.pop("signatures"),
        lambda e: e.update(payload="?"),
        lambda e: e.update(signatures=3),
    ],
)
def test_an_edited_envelope_is_refused(
    envelope: dict[str, Any], key: SigningKey, edit: Callable[[dict[str, Any]], None]
) -> None:
    edit(envelope)
    with pytest.raises(ClaimBroken):
        claim_check.read(envelope, key.public)


def test_another_keys_claim_is_refused(made: Claim, key: SigningKey, tmp_path: Path) -> None:
    other = SigningKey.create(tmp_path / "other")
    with pytest.raises(ClaimBroken, match="expected key"):
        claim_check.read(claim.sign(made.statement(), other), key.public)


@pytest.mark.parametrize(
    "field", ["adversary", "unit", "delta", "round", "mechanism", "accesses", "audit", "exclusions", "ledger"]
)
def test_a_claim_that_leaves_something_out_is_refused(made: Claim, key: SigningKey, field: str) -> None:
    statement = made.statement()
    del statement["predicate"][field]
    with pytest.raises(ClaimBroken, match=f"{field} missing"):
        claim_check.read(claim.sign(statement, key), key.public)


@pytest.mark.parametrize("payload", [b"{", b"\xff", b"[" * 100_000])
def test_what_is_signed_and_no_json_is_refused(key: SigningKey, payload: bytes) -> None:
    with pytest.raises(ClaimBroken, match="JSON"):
        claim_check.read(dsse.sign(payload, claim.PAYLOAD_TYPE, key), key.public)


def test_a_statement_of_another_kind_is_refused(made: Claim, key: SigningKey) -> None:
    for change in ({"predicateType": "https://slsa.dev/provenance/v1"}, {"_type": "x"}, {"predicate": []}):
        with pytest.raises(ClaimBroken, match="Expected a statement"):
            claim_check.read(claim.sign({**made.statement(), **change}, key), key.public)
    with pytest.raises(ClaimBroken, match="Expected a statement"):
        claim_check.read(claim.sign([1], key), key.public)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"seq": 2}, {"hash": "0" * 64}, {"path": []}, {"head": {}}, {"seq": "x"}])
def test_a_debit_that_is_not_in_the_ledger_is_refused(made: Claim, key: SigningKey, change: dict[str, Any]) -> None:
    statement = made.statement()
    statement["predicate"]["ledger"].update(change)
    with pytest.raises(ClaimBroken, match=r"debit|inclusion"):
        claim_check.read(claim.sign(statement, key), key.public)


def test_figures_that_are_too_small_are_found(made: Claim) -> None:
    good = made.statement()
    for change, named in (
        (lambda p: p["round"].update(epsilon=1.0), "round: epsilon 1.0 is stated"),
        (lambda p: p["lifetime_of_worst_unit"].update(epsilon=3.7), "lifetime_of_worst_unit: epsilon 3.7"),
        (lambda p: p["mechanism"].update(noise_multiplier=5.0), "round: its event is not the mechanism's"),
        (lambda p: p.update(lifetime_cap=3.0), "lifetime_of_worst_unit: it passes the cap"),
        (lambda p: p.update(lifetime_of_worst_unit={"epsilon": 0.0, "events": []}), "less than the round's"),
    ):
        changed = copy.deepcopy(good)
        change(changed["predicate"])
        assert any(named in problem for problem in claim_check.recompute(changed)), named


def test_a_claim_must_list_its_own_round(made: Claim) -> None:
    with pytest.raises(ValueError, match="own event among the accesses"):
        replace(made, accesses=[Access("gate", QUERY)])
    with pytest.raises(ValueError, match="unit"):
        replace(made, unit="line")
    with pytest.raises(ValueError, match="file"):
        replace(made, files={})


def test_a_model_that_learned_nothing_private_states_no_mechanism_and_no_training(made: Claim, key: SigningKey) -> None:
    public = replace(
        made,
        event=None,
        max_grad_norm=None,
        second_opinion=None,
        history=[QUERY],
        extremes=[[QUERY]],
        accesses=[Access("gate", QUERY)],
    )
    said = claim_check.read(claim.sign(public.statement(), key), key.public)
    assert claim_check.recompute(said) == []
    predicate = said["predicate"]
    assert (predicate["mechanism"], predicate["round"]["epsilon"], predicate["round"]["events"]) == (None, 0.0, [])
    assert predicate["lifetime_of_worst_unit"]["epsilon"] == accountant.epsilon([QUERY], DELTA)
    with pytest.raises(ValueError, match="clipping norm"):
        replace(public, max_grad_norm=0.2)
    with pytest.raises(ValueError, match="clipping norm"):
        replace(made, max_grad_norm=None)
    trained = replace(public, accesses=[Access("training", EVENT)]).statement()
    assert "mechanism: none is stated, and there was training" in claim_check.recompute(trained)
    look = public.statement()
    look["predicate"]["lifetime_of_worst_unit"] |= {"epsilon": 0.0, "mu": 0.0, "events": []}
    look["predicate"]["group"] |= {"epsilon": 0.0, "events": []}
    assert "lifetime_of_worst_unit: it is less than that of gate" in claim_check.recompute(look)
    hidden = made.statement()
    hidden["predicate"]["mechanism"] = None
    assert "round: its event is not the mechanism's" in claim_check.recompute(hidden)


def test_a_source_is_said_to_be_a_sub_folder_and_what_it_leaves_out(made: Claim) -> None:
    said = replace(made, unit="source").statement()["predicate"]
    assert said["unit"].startswith("source: everything under one sub-folder of the inbox")
    assert (said["group"]["size"], said["group"]["of"]) == (10, "sources")
    assert any("several sub-folders" in exclusion for exclusion in said["exclusions"])
    assert not any("several documents" in exclusion for exclusion in said["exclusions"])


def test_the_group_figure_is_that_of_the_worst_history_for_a_group(made: Claim) -> None:
    """One that is the worst for a single unit need not be: the order changes with the size."""
    ticket = RoundEvent(0.1, 0.9, 200)
    said = replace(made, extremes=[*made.extremes, [ticket]]).statement()["predicate"]["group"]
    assert said["epsilon"] == max(accountant.group_epsilon(h, DELTA, 10) for h in ([ticket], made.history))
    mixed = replace(made, extremes=[[EVENT, ticket]]).statement()["predicate"]["group"]
    assert mixed["epsilon"] is None


KINDS = [
    RoundEvent(rate, noise, 200)  # four rounds of accountant.calibrate(rate, 50, 4, 8.0, DELTA)
    for rate, noise in [(0.02, 0.617), (0.145, 1.577), (0.27, 2.653), (0.395, 3.764), (0.495, 4.662)]
]


def test_the_worst_group_of_many_is_found_by_bounds(made: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fine figure takes a second or two; it is asked of those alone whose coarse bound is above the others'."""
    fine, group_epsilon = [], accountant.group_epsilon

    def counted(events: Sequence[RoundEvent], delta: float, size: int, *coarse: float) -> float:
        fine.extend([] if coarse else [events])
        return group_epsilon(events, delta, size, *coarse)

    monkeypatch.setattr(accountant, "group_epsilon", counted)
    said = replace(made, extremes=[[event] for event in KINDS]).statement()["predicate"]["group"]
    asked = {tuple(events) for events in fine}
    assert said["epsilon"] == max(group_epsilon([event], DELTA, 10) for event in KINDS)
    assert len(asked) < len(KINDS) - 1


@pytest.mark.parametrize("event", [*KINDS[:3], RoundEvent(0.02, 4.0, 200), RoundEvent(0.05, 10.0, 50)])
def test_a_coarse_figure_of_a_group_is_never_lower(event: RoundEvent) -> None:
    figures = [accountant.group_epsilon([event], DELTA, 10, interval) for interval in (0.2, 0.05)]
    assert figures == sorted(figures, reverse=True)
    assert accountant.group_epsilon([event], DELTA, 10) <= figures[-1] < figures[0]


def test_a_schedule_that_mixed_its_rules_states_the_cap_not_what_is_spent_so_far(made: Claim) -> None:
    """Its filter promises that the cap is never passed, and nothing of a sum that later rounds were chosen by."""
    ticket = RoundEvent(0.1, 3.0, 200)
    plain = made.statement()["predicate"]["lifetime_of_worst_unit"]["epsilon"]
    for history, extremes in (([EVENT, ticket], [[EVENT, ticket]]), (made.history, [*made.extremes, [EVENT, ticket]])):
        statement = replace(made, history=history, extremes=extremes).statement()
        stated = statement["predicate"]["lifetime_of_worst_unit"]
        assert stated["epsilon"] == made.cap > plain
        assert stated["mu"] is None
        assert claim_check.recompute(statement) == []
        stated["mu"] = 100.0
        assert claim_check.recompute(statement) == [
            "lifetime_of_worst_unit: mu 100.0 is stated, and not all is full batch"
        ]
        stated["mu"] = None
        stated["epsilon"] = made.cap - 0.01  # above what the events give
        [problem] = claim_check.recompute(statement)
        assert problem.startswith("lifetime_of_worst_unit: epsilon 7.99 is stated")


@pytest.mark.parametrize(("part", "figure"), [("group", "epsilon"), ("round", "mu"), ("lifetime_of_worst_unit", "mu")])
def test_a_figure_that_is_too_small_is_seen(made: Claim, part: str, figure: str) -> None:
    statement = made.statement()
    assert claim_check.recompute(statement) == []
    statement["predicate"][part][figure] = 0.01
    assert [problem for problem in claim_check.recompute(statement) if problem.startswith(part)]
