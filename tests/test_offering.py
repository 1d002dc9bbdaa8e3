"""The public start is offered before anything private is learned: what the ledger makes of it, and a whole round."""

import json
import os
import sqlite3
from contextlib import nullcontext
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from daemon import budget, offering, opening, round, start
from daemon.budget import Budget
from daemon.home import open_home
from daemon.learning import Learning
from daemon.offering import Standing, standing
from daemon.serving import ROLLOUT
from daemon.state import Database
from models.rollout import Rollout
from models.verdict import GATES, HOLDOUT, GateReport, GateResult, Verdict
from privacy import claim, ledger
from privacy.ledger import Ledger
from privacy.signing import SigningKey
from running import Running, drop_labels, ocrd

THIS, OTHER = "ab" * 32, "cd" * 32


class Book:
    """A ledger in which starts are offered and judged as the service does it."""

    def __init__(self, folder):
        self.ledger = Ledger(folder / "ledger.jsonl", SigningKey.create(folder / "key"))
        self.rollout = Rollout()
        self._record(self.rollout.install("released"))
        self._attempt = 0

    def _record(self, event):
        fields = asdict(event)
        del fields["reason"]
        self.ledger.append(ROLLOUT, fields)

    def judged(self, verdict, start=None, gain=0.1):
        """A candidate comes and is judged; with `start`, it is that start."""
        self._attempt += 1
        if start:
            offering.offer(self.ledger, self._attempt, start, self._attempt)
        version = f"v{self._attempt}"
        self._record(self.rollout.offer(version))
        results = {gate: GateResult(verdict, "", {"gain": gain} if gate == HOLDOUT else {}) for gate in GATES}
        report = GateReport(version, self.rollout.live, self._attempt, 0.05, frozenset(GATES), results)
        self._record(self.rollout.judge(report))
        if verdict is Verdict.PASS:
            self._record(self.rollout.advance())
        elif verdict is Verdict.INCONCLUSIVE:
            self._record(self.rollout.withdraw())

    def stands(self, start=THIS):
        return standing(self.ledger.entries, start)


@pytest.fixture
def book(tmp_path):
    made = Book(tmp_path)
    yield made
    made.ledger.close()


def test_a_start_is_due_until_the_gates_could_tell(book):
    assert book.stands() is Standing.DUE
    book.judged(Verdict.INCONCLUSIVE, THIS)
    assert book.stands() is Standing.DUE
    book.judged(Verdict.PASS, THIS)
    assert book.stands() is Standing.SERVED
    assert book.stands(OTHER) is Standing.DUE, "another charset's or recipe's start was taken for this one"


def test_a_start_that_the_gates_refused_does_not_come_back(book):
    book.judged(Verdict.FAIL, THIS)
    book.judged(Verdict.PASS)
    assert book.stands() is Standing.REFUSED


def test_a_start_that_was_rolled_back_is_refused_and_a_private_candidate_on_it_is_not_it(book):
    book.judged(Verdict.PASS, THIS)
    book.judged(Verdict.PASS)
    book._record(book.rollout.roll_back())
    assert book.stands() is Standing.SERVED
    book._record(book.rollout.roll_back())
    assert book.stands() is Standing.REFUSED


def test_a_start_whose_way_was_cut_short_is_due_again(book):
    """The service stopped between the gates' answer and the pointer: `daemon.serving` withdraws it then."""
    offering.offer(book.ledger, 1, THIS, 1)
    book._record(book.rollout.offer("cut"))
    results = {gate: GateResult(Verdict.PASS, "") for gate in GATES}
    book._record(book.rollout.judge(GateReport("cut", "released", 1, 0.05, frozenset(GATES), results)))
    book._record(book.rollout.withdraw())
    assert book.stands() is Standing.DUE


def test_a_start_that_the_gates_passed_is_not_served_before_it_serves(book):
    """A private round from it would be compared with the released model: the gates never chose between those two."""
    offering.offer(book.ledger, 1, THIS, 1)
    book._record(book.rollout.offer("cut"))
    results = {gate: GateResult(Verdict.PASS, "") for gate in GATES}
    book._record(book.rollout.judge(GateReport("cut", "released", 1, 0.05, frozenset(GATES), results)))
    assert book.stands() is Standing.DUE
    book._record(book.rollout.advance())
    assert book.stands() is Standing.SERVED


def test_the_ledger_says_which_start_lies_beneath_what_serves(book):
    def beneath():
        return offering.beneath(book.ledger.entries)

    book.judged(Verdict.FAIL, OTHER)
    assert beneath() is None
    book.judged(Verdict.PASS, THIS)
    book.judged(Verdict.PASS)
    assert beneath() == THIS
    book._record(book.rollout.roll_back())
    assert beneath() == THIS
    book._record(book.rollout.roll_back())
    assert beneath() is None


def test_after_a_look_that_could_not_tell_an_offer_waits_until_one_could(book):
    def looked_for(start=THIS):
        return offering.looked_for(book.ledger.entries, start)

    assert looked_for() == offering.MOST_GAIN
    book.judged(Verdict.INCONCLUSIVE, THIS, gain=0.12)
    assert (looked_for(), looked_for(OTHER)) == (0.12, offering.MOST_GAIN)
    book.judged(Verdict.INCONCLUSIVE, THIS, gain=-0.3)
    assert looked_for() == offering.LEAST_GAIN
    book.judged(Verdict.INCONCLUSIVE, THIS, gain=0.8)
    assert looked_for() == offering.MOST_GAIN


@pytest.fixture
def conversed(monkeypatch):
    """A round's side of the conversation up to its first ask beyond progress: what it asks, its plan's settings."""

    def conversed(shown, **header):
        model = SimpleNamespace(weights=dict)
        monkeypatch.setattr(round.recogniser, "load", lambda _path: model)
        monkeypatch.setattr(round.weights, "characters", lambda _path: "ab")
        monkeypatch.setattr(round, "_shown", lambda *_: ("public", None, shown))
        event = SimpleNamespace(to_body=dict)
        plan = SimpleNamespace(event=event, delta=1e-6, to_body=dict)
        asked = []
        monkeypatch.setattr(round.planning, "plan", lambda settings, *_: asked.append(settings) or (plan, "adapter"))
        monkeypatch.setattr(round, "_epsilons", lambda *_: {})
        numbers = {"capacity": 16, "epsilon": 8.0, "delta": 1e-6, "rounds_per_document": 4, "closed": False}
        told = {
            "learning": {**numbers, "charset": "ascii", "adapter": "auto"},
            "gates": {"holdout_tolerance": 0.02},
            "gate_event": {"noise_multiplier": 1.306},
            "attempt": 1,
            "offer": None,
            "beneath": None,
            "members": [0],
            "holdout_members": 12,
        }
        paths = dict.fromkeys(("weights", "model", "scratch", "start"), "/nowhere")
        header = {**told, **paths, "train": [], "holdout": [], **header}
        talk = round.converse(SimpleNamespace(header=header, blob=lambda *_: b""))
        assert next(talk)["ask"] == "progress"
        return talk.send({}), asked

    return conversed


@pytest.mark.parametrize(("units", "offer", "attempt"), [(0, 0.25, 1), (9, 0.25, 1), (14, 0.25, 4), (20, 0.1, 1)])
def test_a_start_is_not_offered_to_a_hold_out_that_could_not_tell(conversed, units, offer, attempt):
    """It would spend a look of each of its units, and alpha, for an answer that is known before."""
    asked, _ = conversed(THIS, offer=offer, holdout_members=units, attempt=attempt)
    assert asked["ask"] == "refuse"
    assert f"{units} hold-out units cannot tell" in asked["reason"]


@pytest.mark.parametrize(("units", "offer", "attempt"), [(10, 0.25, 1), (15, 0.25, 4), (21, 0.1, 1)])
def test_a_start_is_offered_to_one_that_can(conversed, units, offer, attempt):
    asked, _ = conversed(THIS, offer=offer, holdout_members=units, attempt=attempt)
    assert asked == {"ask": "offer", "plan": asked["plan"]}


@pytest.mark.parametrize("start", ["/nowhere", None], ids=["public_start on", "switched off since"])
def test_what_goes_on_from_a_start_is_planned_so_and_says_so(conversed, start):
    asked, [settings] = conversed(None, start=start, beneath=THIS)
    assert settings.public_start, "a plan from the released model's bound: noise four times the signal"
    assert asked["plan"]["public_start"] == THIS, "the claim would not name it"
    asked, [settings] = conversed(None, start=None)
    assert (settings.public_start, asked["plan"]["public_start"]) == (False, None)


def test_a_roll_back_while_documents_are_unsealed_ends_the_round(tmp_path, monkeypatch):
    """The candidate is compared with the model that the round's process was given, and that serves no longer."""
    stub = SimpleNamespace(live="private")
    reply = nullcontext(SimpleNamespace(header={"ask": "evidence"}))
    decided = []
    self = SimpleNamespace(
        _settled=lambda: 3,
        evict=lambda _now: None,
        _budget=SimpleNamespace(snapshot=lambda *_: SimpleNamespace(members=(0,))),
        _start=lambda _scratch: None,
        _starting=lambda _kept: {},
        _serving=stub,
        _round_process=lambda _scratch: SimpleNamespace(call=lambda *_: reply),
        _home=None,
        _broken_off="",
        _decide=lambda _number, _scratch, current, *_: decided.append(current),
    )

    def compose(*_):
        stub.live = "released"
        return {}, []

    monkeypatch.setattr(opening, "compose", compose)
    Learning._converse(self, 1, tmp_path)
    assert decided == ["private"], "what the round went on from was taken for the model in service now"


SETTINGS = """\
[ingest]
workers = 2
settle_seconds = 0.1
rescan_seconds = 0.5
[learning]
capacity = 16
holdout_share = 0.4
charset = "ascii"
epsilon = 20.0
delta = 1e-4
gate_looks_per_document = 1
public_start = true
[gates]
anchor_documents = 8
holdout_tolerance = 0.5
latency_ratio = 3.0
"""
DOCUMENTS = 12


@pytest.fixture(scope="module")
def home(tmp_path_factory, weights_dir):
    """A service that was given a small start, one round, and a roll-back."""
    home = tmp_path_factory.mktemp("offering") / "state"
    home.mkdir()
    (home / "ocrd.toml").write_text(SETTINGS)
    before = os.environ.pop("OCRD_LEARNING__PUBLIC_START")
    try:
        assert ocrd(home, "init", "--weights", str(weights_dir)).returncode == 0
        settings, scratch = open_home(home).settings, home.parent
        kept = start.path(settings.weights_dir, "ascii", closed=False)
        assert home in kept.parents, "a small start must not come into the machine's own folder"
        start.make(start.worker(settings.weights_dir, scratch, "warn"), "ascii", False, scratch, kept, (1, 8, 8))
        with Running(home) as service:
            drop_labels(home, range(7100, 7100 + DOCUMENTS))
            service.wait_for_receipts(DOCUMENTS, 600)
            trained = ocrd(home, "train", "--wait", seconds=900)
            assert trained.returncode == 0, trained.stderr
            (home / "status.json").write_text(ocrd(home, "status", "--json").stdout)
            assert ocrd(home, "rollback").returncode == 0, "the start did not go into service"
    finally:
        os.environ["OCRD_LEARNING__PUBLIC_START"] = before
    return home


@pytest.mark.timeout(1800)
def test_the_start_goes_into_service_and_charges_no_training_document(home):
    with sqlite3.connect(home / "state.db") as database:
        [(report, plan)] = database.execute("SELECT report, plan FROM rounds").fetchall()
    assert all(why.startswith("pass") for why in json.loads(report)["gates"].values())
    opened = open_home(home)
    found = ledger.verify(opened.settings.ledger_path, opened.signing.public)
    assert found.ok
    kinds = [(e.kind, e.body.get("purpose", e.body.get("act"))) for e in found.entries]
    assert kinds[:3] == [("rollout", "install"), ("offer", None), ("debit", "gate")]
    assert ("debit", "round") not in kinds
    stock = start.read(start.path(opened.settings.weights_dir, "ascii", False))[1]
    assert found.entries[1].body == {"round": 1, "public_start": stock, "attempt": 1}
    assert json.loads(plan)["public_start"] == stock


def test_status_says_what_it_was_and_what_it_cost(home):
    status = json.loads((home / "status.json").read_text())
    [line] = status["rounds"]
    assert (line["state"], line["epsilon"]) == ("live", 0.0)
    assert "generated documents alone" in line["plan"][0]
    assert set(status["worst_epsilon"]) == {"train", "holdout"}
    assert status["worst_epsilon"]["train"] == 0 < status["worst_epsilon"]["holdout"] <= 20.0


def test_the_start_carries_a_claim_without_a_mechanism(home):
    opened = open_home(home)
    with sqlite3.connect(home / "state.db") as database:
        [(version,)] = database.execute("SELECT version FROM rounds").fetchall()
    envelope = json.loads((opened.settings.models_dir / version / "claim.json").read_text())
    said = claim.read(envelope, opened.signing.public)
    assert claim.recompute(said) == []
    predicate = said["predicate"]
    assert (predicate["mechanism"], predicate["sampler"], predicate["audit"]) == (None, None, None)
    assert predicate["round"]["epsilon"] == 0.0
    assert 0 < predicate["lifetime_of_worst_unit"]["epsilon"] <= 20.0, "the look at the hold-out is private"
    assert predicate["accesses"][0]["purpose"] == "gate: hold-out gain"
    assert any("public start" in known for known in predicate["public_data"])


def test_a_try_is_a_try(home, monkeypatch):
    """The next candidate is tested at the share of alpha of a second try."""
    opened = open_home(home)
    database = Database(home / "state.db")
    with Ledger(opened.settings.ledger_path, opened.signing) as book:
        assert Budget(opened, database, book).tries() == 1
        monkeypatch.setattr(budget, "OFFER", "nothing")  # planted: an offer costs no share of alpha
        assert Budget(opened, database, book).tries() == 0, "the look above sees no offer"
        assert standing(book.entries, book.entries[1].body["public_start"]) is Standing.REFUSED  # rolled back by hand
    database.close()
