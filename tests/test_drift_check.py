"""The scheduled check over the database: a planted change is found, shown in status, and starts nothing."""

import json
import random

import pytest

from daemon import drift
from daemon.state import Database, Documents, Ending
from daemon.status import collect


@pytest.fixture
def database(tmp_path):
    (tmp_path / "ocrd.toml").write_text("")
    database = Database(tmp_path / "state.db")
    yield database
    database.close()


def read(database, first, count, confidence):
    rng, documents = random.Random(first), Documents(database)
    for n in range(first, first + count):
        documents.arrive(f"{n:016x}", 1.0, b"", lambda slot: "train")
        sure = min(1.0, max(0.0, rng.gauss(confidence, 0.05)))
        documents.end(f"{n:016x}", Ending("done", confidence=sure, brightness=rng.gauss(0.8, 0.02)), 2.0)


def test_a_reader_that_became_less_sure_is_noticed_and_shown(database, tmp_path):
    read(database, 0, 200, 0.9)
    assert drift.check(database) == []
    read(database, 200, 200, 0.6)
    assert drift.check(database) == ["confidence"]
    assert database.rows("SELECT * FROM rounds") == []
    found = collect(tmp_path)
    assert found.drift["confidence"]["alarmed"]
    assert found.drift["brightness"]["alarmed"] is None
    assert any("confidence has drifted" in problem for problem in found.problems)


def test_each_document_is_seen_once_across_restarts(database):
    read(database, 0, 50, 0.9)
    drift.check(database)
    once = {row["name"]: json.loads(row["state"]) for row in database.rows("SELECT name, state FROM detectors")}
    drift.check(database)
    again = {row["name"]: json.loads(row["state"]) for row in database.rows("SELECT name, state FROM detectors")}
    assert once == again
    assert set(once) == set(drift.DETECTORS)
