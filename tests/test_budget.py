"""Debit before noise, for life: tickets, caps, and a ledger that remembers when the database does not."""

import json

import pytest

from daemon.budget import DEBIT, Budget
from daemon.home import create, open_home
from daemon.state import Database, Documents, Ending
from learners import replay
from learners.replay import Pool
from privacy import accountant, ledger
from privacy.accountant import RoundEvent
from privacy.errors import BudgetExhausted
from privacy.ledger import Ledger

LAST = 10**9
SETTINGS = "[learning]\ncapacity = 16\nholdout_share = 0.5\nrounds_per_document = 2\ngate_looks_per_document = 2\n"


@pytest.fixture
def opened(tmp_path, weights_dir):
    home = tmp_path / "state"
    home.mkdir()
    (home / "ocrd.toml").write_text(SETTINGS)
    create(home, weights_dir, lambda text: None)
    home = open_home(home)
    database = Database(home.settings.database_path)
    book = Ledger(home.settings.ledger_path, home.signing)
    yield home, database, book
    book.close()
    database.close()


def fill(home, database, count, **ending):
    documents = Documents(database)
    for n in range(count):
        documents.arrive(f"{n:016x}", 1.0, b"name", home.pool_of)
        documents.end(f"{n:016x}", Ending(**{"state": "done", "taught": 2, "labelled": True, **ending}), 2.0)


def ticket(home, rounds=2):
    learning = home.settings.learning
    return replay.ticket(learning.capacity, rounds, learning.epsilon, learning.delta)


def test_the_debit_is_in_the_ledger_when_charge_returns(opened):
    home, database, book = opened
    fill(home, database, 20)
    budget = Budget(home, database, book)
    members = budget.snapshot(Pool.TRAIN, LAST).members
    entry = budget.charge(1, "round", members, ticket(home), epsilon=1.0)
    report = ledger.verify(book.path, home.signing.public)
    assert report.ok
    assert report.entries[-1:] == (entry,)
    assert (entry.kind, entry.body["purpose"], entry.body["epsilon"]) == (DEBIT, "round", 1.0)


def test_a_pool_is_charged_by_its_window_whatever_became_of_its_documents(opened):
    home, database, book = opened
    fill(home, database, 60)
    before = Budget(home, database, book).snapshot(Pool.TRAIN, LAST)
    with database.transaction() as db:
        db.execute("UPDATE documents SET state = 'failed' WHERE slot % 3 = 0")
    after = Budget(home, database, book).snapshot(Pool.TRAIN, LAST)
    assert after.members == before.members
    assert len(before.members) == 16
    assert set(after.present) == {slot for slot in before.present if slot % 3}


def test_a_hold_out_document_judges_by_given_labels_alone(opened):
    home, database, book = opened
    fill(home, database, 20, labelled=False)
    budget = Budget(home, database, book)
    assert budget.snapshot(Pool.HOLDOUT, LAST).present == ()
    assert budget.snapshot(Pool.HOLDOUT, LAST).members
    assert budget.snapshot(Pool.TRAIN, LAST).present


def test_pools_never_share_a_slot(opened):
    home, database, book = opened
    fill(home, database, 40)
    budget = Budget(home, database, book)
    train, holdout = (set(budget.snapshot(pool, LAST).members) for pool in Pool)
    assert train
    assert holdout
    assert not train & holdout


def test_tickets_run_out_and_the_cap_is_kept(opened):
    home, database, book = opened
    fill(home, database, 20)
    budget = Budget(home, database, book)
    for number in (1, 2):
        budget.charge(number, "round", budget.snapshot(Pool.TRAIN, LAST).members, ticket(home))
    assert budget.snapshot(Pool.TRAIN, LAST).members == ()
    assert 7.9 < budget.worst() <= 8.0


def test_what_would_pass_the_cap_is_refused_and_not_written(opened):
    home, database, book = opened
    fill(home, database, 20)
    budget = Budget(home, database, book)
    members = budget.snapshot(Pool.TRAIN, LAST).members
    cheap = ticket(home)
    dear = RoundEvent(1.0, cheap.noise_multiplier / 2, cheap.steps)
    entries = len(book.entries)
    with pytest.raises(BudgetExhausted, match=r"lifetime epsilon of 8\.0"):
        budget.charge(1, "round", members, dear)
    assert len(book.entries) == entries
    assert budget.worst() == 0.0


def test_a_restart_remembers_from_the_ledger_alone(opened):
    home, database, book = opened
    fill(home, database, 20)
    budget = Budget(home, database, book)
    budget.charge(1, "round", budget.snapshot(Pool.TRAIN, LAST).members, ticket(home))
    spent = budget.worst()
    with database.transaction() as db:
        db.execute("DELETE FROM meta")
        db.execute("DELETE FROM rounds")
    again = Budget(home, database, book)
    assert again.worst() == spent > 0
    assert again.tries() == 1
    assert json.loads(database.get("worst epsilon"))["train"] == spent


def test_new_slots_start_with_all_their_tickets(opened):
    home, database, book = opened
    fill(home, database, 10)
    budget = Budget(home, database, book)
    for number in (1, 2):
        budget.charge(number, "round", budget.snapshot(Pool.TRAIN, LAST).members, ticket(home))
    documents = Documents(database)
    for n in range(10, 20):
        documents.arrive(f"{n:016x}", 1.0, b"name", home.pool_of)
    members = budget.snapshot(Pool.TRAIN, LAST).members
    assert members
    assert min(members) >= 10


def test_who_came_after_the_cutoff_is_not_in_the_round(opened):
    home, database, book = opened
    fill(home, database, 20)
    budget = Budget(home, database, book)
    assert max(budget.snapshot(Pool.TRAIN, 9).members) <= 9


def test_a_hold_out_slot_that_cannot_pay_for_a_look_is_left_out(opened):
    home, database, book = opened
    fill(home, database, 20)
    budget = Budget(home, database, book)
    members = budget.snapshot(Pool.HOLDOUT, LAST).members
    learning = home.settings.learning
    dear = RoundEvent(1.0, accountant.calibrate(1.0, 1, 1, learning.epsilon, learning.delta), 1)
    budget.charge(1, "gate", members[:1], dear)
    assert budget.snapshot(Pool.HOLDOUT, LAST).members == members[1:]


def test_a_training_slot_that_cannot_pay_for_a_round_is_left_out(opened):
    home, database, book = opened
    fill(home, database, 20)
    budget = Budget(home, database, book)
    members = budget.snapshot(Pool.TRAIN, LAST).members
    budget.charge(1, "round", members[:3], ticket(home, rounds=1))
    left = budget.snapshot(Pool.TRAIN, LAST)
    assert left.members == members[3:]
    budget.charge(2, "round", left.members, ticket(home))


def test_a_debit_whose_append_failed_and_that_is_in_the_ledger_is_spent(opened, monkeypatch):
    home, database, book = opened
    fill(home, database, 20)
    budget = Budget(home, database, book)
    members = budget.snapshot(Pool.TRAIN, LAST).members
    with monkeypatch.context() as failing:
        failing.setattr(Ledger, "_write_head", lambda self: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            budget.charge(1, "round", members, ticket(home))
    assert budget.worst() == 0
    assert budget.snapshot(Pool.TRAIN, LAST).members == members, "it has one ticket left"
    assert budget.worst() == pytest.approx(Budget(home, database, book).worst())
    assert budget.worst() > 0
