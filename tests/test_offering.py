"""The public start is offered before anything private is learned: what the ledger makes of it, and a whole round."""

import json
import os
import sqlite3
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest

from daemon import budget, offering, opening, round, start
from daemon.budget import Budget
from daemon.errors import Refused
from daemon.home import open_home
from daemon.learning import Learning
from daemon.offering import Beginning, Standing, standing
from daemon.serving import ROLLOUT
from daemon.state import Database
from learners import device
from learners.errors import TooFewDocuments
from learners.replay import Pool, Snapshot
from models.rollout import Rollout
from models.verdict import ANCHOR, GATES, HOLDOUT, LATENCY, GateReport, GateResult, Verdict
from privacy import claim_check, ledger
from privacy.accountant import RoundEvent
from privacy.ledger import Ledger
from privacy.signing import SigningKey
from running import Running, drop_labels, ocrd

THIS, OTHER = "start-of-this-name", "start-of-another"
DIGEST = "ab" * 32


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

    def judged(self, verdict, start=None, gain=0.1, digest=DIGEST, by=GATES):
        """A candidate comes and is judged, so by some gates; with `start`, it is that start."""
        self._attempt += 1
        if start:
            offering.offer(self.ledger, self._attempt, start, digest, self._attempt)
        version = f"v{self._attempt}"
        self._record(self.rollout.offer(version))
        said = {gate: verdict if gate in by else Verdict.PASS for gate in GATES}
        results = {g: GateResult(each, "", {"gain": gain} if g == HOLDOUT else {}) for g, each in said.items()}
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


@pytest.mark.parametrize("gate", GATES)
def test_a_start_is_refused_for_how_it_reads_alone(book, monkeypatch, gate):
    """Not for a slow machine, a lower cap, or a Paddle of another build."""
    book.judged(Verdict.FAIL, THIS, by=(gate,))
    assert book.stands() is (Standing.REFUSED if gate in (ANCHOR, HOLDOUT) else Standing.DUE)
    monkeypatch.setattr(offering, "QUALITY", frozenset(GATES))  # mutant: whatever gate said no
    assert book.stands() is Standing.REFUSED


def test_of_a_judgement_that_names_no_gate_the_worst_is_believed(book):
    book.judged(Verdict.FAIL, THIS, by=(LATENCY,))
    older = [replace(e, body={k: v for k, v in e.body.items() if k != "failed"}) for e in book.ledger.entries]
    assert standing(older, THIS) is Standing.REFUSED


def test_a_start_is_offered_three_times_at_most(book):
    """Each offer spends a look of every hold-out unit, and there are few."""
    for _ in range(offering.MOST_OFFERS - 1):
        book.judged(Verdict.INCONCLUSIVE, THIS)
        assert book.stands() is Standing.DUE
    book.judged(Verdict.FAIL, THIS, by=(LATENCY,))
    assert book.stands() is Standing.REFUSED
    assert book.stands(OTHER) is Standing.DUE


def test_a_start_that_was_rolled_back_is_refused_and_a_private_candidate_on_it_is_not_it(book):
    book.judged(Verdict.PASS, THIS)
    book.judged(Verdict.PASS)
    book._record(book.rollout.roll_back())
    assert book.stands() is Standing.SERVED
    book._record(book.rollout.roll_back())
    assert book.stands() is Standing.REFUSED


def test_a_start_whose_way_was_cut_short_is_due_again(book):
    """The service stopped between the gates' answer and the pointer: `daemon.serving` withdraws it then."""
    offering.offer(book.ledger, 1, THIS, DIGEST, 1)
    book._record(book.rollout.offer("cut"))
    results = {gate: GateResult(Verdict.PASS, "") for gate in GATES}
    book._record(book.rollout.judge(GateReport("cut", "released", 1, 0.05, frozenset(GATES), results)))
    book._record(book.rollout.withdraw())
    assert book.stands() is Standing.DUE


def test_a_start_that_the_gates_passed_is_not_served_before_it_serves(book):
    """A private round from it would be compared with the released model: the gates never chose between those two."""
    offering.offer(book.ledger, 1, THIS, DIGEST, 1)
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
    assert beneath() == DIGEST
    book._record(book.rollout.roll_back())
    assert beneath() == DIGEST
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


LOOK = RoundEvent(1.0, 1.306, 1)
"""A look at the hold-out by the default settings."""


@pytest.mark.parametrize(("units", "gain", "attempt"), [(5, 0.25, 1), (8, 0.25, 4), (11, 0.1, 1)])
def test_a_hold_out_that_could_not_tell_is_too_small(units, gain, attempt):
    assert offering.too_few(units, LOOK, gain, attempt, 0.02) == ""
    assert f"{units} are needed" in offering.too_few(units - 1, LOOK, gain, attempt, 0.02)
    assert f"{units} are needed" in offering.too_few(0, LOOK, gain, attempt, 0.02)


@pytest.fixture
def conversed(monkeypatch):
    """A round's side of the conversation up to its first ask beyond progress: that, and its plan's settings."""

    def conversed(begins, train=(), device_asked="cpu", plan=None, talks=False, **header):
        monkeypatch.setattr(round.recogniser, "load", lambda _path: SimpleNamespace(weights=dict))
        monkeypatch.setattr(round.weights, "characters", lambda _path: "ab")
        monkeypatch.setattr(round, "_shown", lambda *_: ("public", None, begins))
        monkeypatch.setattr(round, "_both_write", lambda *_: None)
        monkeypatch.setattr(round, "Units", lambda _message, pool, _file: dict.fromkeys(train))
        found = SimpleNamespace(event=SimpleNamespace(to_body=dict), delta=1e-6, to_body=dict)
        asked = []
        planned = plan or (lambda settings, *_: asked.append(settings) or (found, "adapter"))
        monkeypatch.setattr(round.planning, "plan", planned)
        monkeypatch.setattr(round, "_epsilons", lambda *_: {})
        numbers = {"capacity": 16, "epsilon": 8.0, "delta": 1e-6, "rounds_per_document": 4, "closed": False}
        numbers |= {"device": device_asked}
        told = {"learning": {**numbers, "charset": "ascii", "adapter": "auto"}, "members": [0]}
        paths = dict.fromkeys(("weights", "model", "scratch"), "/nowhere")
        begun = {
            "start": None,
            "beneath": None,
            "memory": 2**34,
        }
        talk = round.converse(SimpleNamespace(header={**told, **paths, **begun, **header}))
        assert next(talk)["ask"] == "progress"
        return talk if talks else (talk.send({}), asked)

    return conversed


def test_a_round_that_offers_has_seen_no_document_that_might_teach(conversed):
    asked, _ = conversed(DIGEST, start="/nowhere")
    assert asked == {"ask": "offer", "plan": asked["plan"]}
    with pytest.raises(RuntimeError, match="no document to learn from"):
        conversed(DIGEST, train=(0,), start="/nowhere")
    with pytest.raises(RuntimeError, match="Expected the released model"):
        conversed(None, start="/nowhere")


def test_planning_is_heard_of_while_it_measures(conversed, monkeypatch):
    """Some minutes for the neck: a service that hears nothing takes the process for hung."""
    monkeypatch.setattr(round, "TICK_SECONDS", 0.01)
    heard = Event()

    def measures(*given):
        given[-1]("measuring what public documents teach neck")
        assert heard.wait(60), "nobody was told"
        raise TooFewDocuments(1, 2, ["neck"])

    talk = conversed(None, plan=measures, talks=True)
    assert talk.send({}) == {"ask": "progress", "text": "measuring what public documents teach neck"}
    heard.set()
    assert talk.send({})["ask"] == "refuse"


def test_what_goes_on_from_a_start_is_planned_so_and_says_so(conversed):
    """Whatever the settings say of starts since."""
    asked, [settings] = conversed(None, beneath=DIGEST)
    assert settings.public_start, "a plan by the released model's bound: noise four times the signal"
    assert asked["plan"]["public_start"] == DIGEST, "the claim would not name it"
    asked, [settings] = conversed(None)
    assert (settings.public_start, asked["plan"]["public_start"]) == (False, None)


@pytest.mark.skipif(device.trouble() is None, reason="there is a card")
def test_a_round_that_must_have_a_card_is_refused_before_it_is_charged(conversed):
    asked, _ = conversed(None, device_asked="cuda")
    assert asked["ask"] == "refuse"
    assert 'learning.device = "cuda"' in asked["reason"]


@pytest.fixture
def serving(book, tmp_path, monkeypatch):
    """As much of the service as asks what a round begins from, over that ledger, with 20 looks left in the hold-out."""
    settings = SimpleNamespace(
        weights_dir=tmp_path / "weights",
        models_dir=tmp_path / "models",
        learning=SimpleNamespace(public_start=True, charset="ascii", closed=False),
        gates=SimpleNamespace(holdout_tolerance=0.02),
    )
    for folder in (settings.weights_dir, settings.models_dir / "current"):
        folder.mkdir(parents=True)
        (folder / "rec.onnx").write_bytes(b"released")
    monkeypatch.setattr(start, "path", lambda *_: settings.weights_dir / f"{THIS}.npz")
    kept = start.path()
    self = SimpleNamespace(
        _home=SimpleNamespace(settings=settings),
        _ledger=book.ledger,
        _budget=SimpleNamespace(tries=lambda: 0, gate_event=LOOK),
        _make=lambda kept, _scratch: np.savez(kept, allow_pickle=False, weights=np.arange(100)),
    )
    self.begins = lambda looks=20: Learning._begins(self, tmp_path, looks)
    self.kept, self.model = kept, settings.models_dir / "current" / "rec.onnx"
    return self


def test_a_start_is_made_only_to_be_offered_and_offered_only_where_it_can_pass(serving, book):
    with pytest.raises(Refused, match="4 hold-out units cannot tell"):
        serving.begins(4)
    with pytest.raises(Refused, match="0 hold-out units cannot tell"):
        serving.begins(0)
    serving.model.write_bytes(b"another model")
    without = Beginning(None, None)
    assert serving.begins() == without
    with pytest.raises(Refused, match="4 hold-out units cannot tell"):
        serving.begins(4)  # a private round would charge its documents for an answer known in advance
    assert not serving.kept.exists(), "twenty processor minutes for nothing"
    serving.model.write_bytes(b"released")
    assert serving.begins() == Beginning(serving.kept, None)
    assert start.read(serving.kept)
    serving._home.settings.learning.public_start = False
    assert serving.begins() == without
    serving._home.settings.learning.public_start = True
    book.judged(Verdict.FAIL, THIS)
    serving.kept.unlink()
    assert serving.begins() == without
    assert not serving.kept.exists()


def test_on_top_of_a_start_the_hold_out_must_tell_a_smaller_gain(serving, book):
    book.judged(Verdict.PASS, THIS)
    serving.model.write_bytes(b"the start")
    with pytest.raises(Refused, match="17 hold-out units cannot tell whether a candidate is better: 18 are needed"):
        serving.begins(17)
    assert serving.begins(18) == Beginning(None, DIGEST)


@pytest.mark.parametrize("harm", ["cut", "turned", "emptied"])
def test_a_start_that_the_disk_spoilt_is_made_anew(serving, harm):
    """No round could read it, and each would fail."""
    serving.begins()
    whole = serving.kept.read_bytes()
    middle = len(whole) // 2
    turned = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    serving.kept.write_bytes({"cut": whole[:middle], "turned": turned, "emptied": b""}[harm])
    serving.begins()
    assert serving.kept.read_bytes() == whole


def test_a_start_that_was_made_again_is_the_same_start(book):
    """Sums in another order, on another machine: its last bits differ, and what the gates said of it holds."""
    book.judged(Verdict.FAIL, THIS, digest="ef" * 32)
    book.judged(Verdict.INCONCLUSIVE, OTHER, digest="01" * 32)
    assert (book.stands(THIS), book.stands(OTHER)) == (Standing.REFUSED, Standing.DUE)


TWO = Snapshot(16, (0, 1), (1,))


@pytest.fixture
def talked(tmp_path, monkeypatch):
    """The service's side of a conversation in which the process asks this at once: the live version, what was shown."""

    def talked(ask, begins, meanwhile="private", train=TWO):
        serving, shown, decided = SimpleNamespace(live="private"), [], []
        self = SimpleNamespace(
            _settled=lambda: 3,
            evict=lambda _now: None,
            _budget=SimpleNamespace(
                snapshot=lambda pool, _last: train if pool is Pool.TRAIN else Snapshot(16, (2,), (2,))
            ),
            _begins=lambda *_: begins,
            _serving=serving,
            _round_process=lambda _scratch: None,
            _ask=lambda *_: ask,
            _go_on=lambda: None,
            _home=None,
            _broken_off="",
            _decide=lambda _number, _scratch, current, *_: decided.append(current),
        )

        def composed(_home, _budget, train, *_):
            shown.append(train)
            serving.live = meanwhile
            return nullcontext(({}, []))

        monkeypatch.setattr(opening, "composed", composed)
        Learning._converse(self, 1, tmp_path)
        return decided, shown

    return talked


NOTHING, OFFERS = Beginning(None, None), Beginning(Path("nowhere.npz"), None)


def test_a_roll_back_while_documents_are_unsealed_ends_the_round(talked):
    """What the round goes on from serves no longer, and must not be taken for the model in service."""
    assert talked({"ask": "evidence"}, NOTHING, meanwhile="released")[0] == ["private"]


def test_a_round_that_offers_is_shown_no_training_document(talked):
    assert talked({"ask": "evidence"}, NOTHING)[1] == [Snapshot(16, (0, 1), (1,))]
    assert talked({"ask": "evidence"}, OFFERS)[1] == [Snapshot(16, (0, 1), ())]


def test_an_offer_needs_no_training_unit_and_a_private_round_does(talked):
    nobody = Snapshot(16, (), ())
    assert talked({"ask": "evidence"}, OFFERS, train=nobody)[1] == [nobody]
    with pytest.raises(Refused, match="no unit is left"):
        talked({"ask": "evidence"}, NOTHING, train=nobody)


def test_an_offer_that_is_not_due_is_not_taken(talked):
    """Its claim would state no mechanism, and the process has training documents."""
    with pytest.raises(RuntimeError, match="not due"):
        talked({"ask": "offer", "plan": {"public_start": DIGEST}}, NOTHING)


SETTINGS = """\
[ingest]
workers = 2
settle_seconds = 0.1
rescan_seconds = 0.5
[learning]
capacity = 16
holdout_share = 0.5
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
DOCUMENTS = 16
"""Who is held out is drawn by chance: of so many, at least three, all but twice in a thousand homes; fewer may all be
documents that a start this small reads worse, and it would be refused rightly."""


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
            [line] = json.loads((home / "status.json").read_text())["rounds"]
            assert ocrd(home, "rollback").returncode == 0, f"{line['state']}: {line['gates']}"
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
    kept = start.path(opened.settings.weights_dir, "ascii", False)
    stock = start.read(kept)[1]
    assert found.entries[1].body == {"round": 1, "name": kept.stem, "public_start": stock, "attempt": 1}
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
    said = claim_check.read(envelope, opened.signing.public)
    assert claim_check.recompute(said) == []
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
        assert standing(book.entries, book.entries[1].body["name"]) is Standing.REFUSED  # rolled back by hand
    database.close()
