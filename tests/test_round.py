"""One private round, whole: real service, real processes, real models, few and small documents."""

import json
import sqlite3

import pytest

from daemon.home import open_home
from learners import signals
from learners.recipes import RECIPES
from learners.settings import Settings
from models import recogniser
from models.manifest import MODEL_FILES
from privacy import claim_check, ledger
from running import Running, drop_labels, ocrd

# So few documents can only teach at a loose budget; the mechanism, the ledger and the gates are the real ones.
pytestmark = pytest.mark.timeout(1800)
SETTINGS = """\
[ingest]
workers = 2
settle_seconds = 0.1
rescan_seconds = 0.5
[learning]
capacity = 32
holdout_share = 0.25
charset = "ascii"
epsilon = 20.0
delta = 1e-4
rounds_per_document = 1
gate_looks_per_document = 1
[gates]
anchor_documents = 20
"""
DOCUMENTS = 40


@pytest.fixture(scope="module")
def home(tmp_path_factory, weights_dir):
    home = tmp_path_factory.mktemp("round") / "state"
    home.mkdir()
    (home / "ocrd.toml").write_text(SETTINGS)
    assert ocrd(home, "init", "--weights", str(weights_dir)).returncode == 0
    with Running(home) as service:
        drop_labels(home, range(7000, 7000 + DOCUMENTS))
        service.wait_for_receipts(DOCUMENTS, 600)
        first = ocrd(home, "train", "--wait", seconds=900)
        assert first.returncode == 0, first.stderr
        second = ocrd(home, "train", "--wait", seconds=900)
        (home / "second.txt").write_text(second.stdout)
        back = ocrd(home, "rollback")
        (home / "back.txt").write_text(f"{back.returncode} {back.stdout}{back.stderr}")
    return home


def rounds(home):
    with sqlite3.connect(home / "state.db") as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM rounds ORDER BY id")]


def test_the_round_was_judged_on_all_its_evidence(home):
    row = rounds(home)[0]
    assert row["state"] in ("rolled back", "rejected"), row["reason"]
    gates = json.loads(row["report"])["gates"]
    assert set(gates) == {"export-rapidocr", "export-paddle", "anchor", "latency", "holdout", "privacy"}
    assert not any("no evidence" in why for why in gates.values())
    assert gates["export-rapidocr"].startswith("pass"), gates
    assert gates["export-paddle"].startswith("pass"), gates
    assert gates["privacy"].startswith("pass"), gates
    passed = all(why.startswith("pass") for why in gates.values())
    assert row["state"] == ("rolled back" if passed else "rejected")


def test_the_round_was_paid_for_first(home):
    opened = open_home(home)
    report = ledger.verify(opened.settings.ledger_path, opened.signing.public)
    assert report.ok
    kinds = [(e.kind, e.body.get("purpose")) for e in report.entries]
    assert kinds[:3] == [("rollout", None), ("debit", "round"), ("debit", "gate")]
    debit = report.entries[1].body
    assert debit["epsilon"] <= 20.0
    assert debit["second_opinion"] == pytest.approx(debit["epsilon"], rel=0.01)


def test_a_document_without_a_ticket_is_not_asked_again(home):
    assert "refused: no unit is left" in (home / "second.txt").read_text()


def test_the_candidate_carries_a_claim_that_checks(home):
    opened = open_home(home)
    version = rounds(home)[0]["version"]
    folder = opened.settings.models_dir / version
    statement = claim_check.read(json.loads((folder / "claim.json").read_text()), opened.signing.public)
    assert claim_check.recompute(statement) == []
    assert {s["name"] for s in statement["subject"]} == set(MODEL_FILES)
    assert statement["predicate"]["audit"]["canaries"] >= 1000


def test_status_tells_the_round_and_its_price(home):
    status = json.loads(ocrd(home, "status", "--json").stdout)
    assert status["worst_epsilon"]["train"] == pytest.approx(20.0, abs=0.05)
    assert status["rounds"][-1]["gates"]["privacy"].startswith("pass")
    assert sum("taken: noise" in each for each in status["rounds"][-1]["plan"]) == 1
    assert status["ledger"]["debits"] == 2


def test_the_signal_that_it_measured_is_the_recorded_one(home, weights_dir):
    """learners/signals.json tells of every adapter what a plan would find."""
    plan = json.loads(rounds(home)[0]["plan"])
    noise = plan["noise_multiplier"] * (plan["parameters"] / plan["steps"]) ** 0.5 / plan["members"]
    released = recogniser.load(weights_dir / "rec.onnx")
    kept = signals.recorded(released, "ascii", closed=False, rank=Settings().rank)
    clip = RECIPES[plan["adapter"]].max_grad_norm
    assert clip * noise / plan["noise_over_signal"] == pytest.approx(kept[plan["adapter"]], rel=1e-3)


def test_rollback_returns_to_the_released_model_or_says_why_not(home):
    said = (home / "back.txt").read_text()
    if rounds(home)[0]["state"] == "rolled back":
        opened = open_home(home)
        released = ledger.verify(opened.settings.ledger_path, opened.signing.public).entries[0].body["version"]
        assert said.startswith(f"0 model {released} is in service")
    else:
        assert said.startswith("8 ")
        assert "no earlier model" in said
