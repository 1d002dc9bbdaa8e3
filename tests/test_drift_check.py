"""The scheduled check over the database: a planted change is found, shown in status, and starts nothing."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from daemon import config, drift
from daemon.schedule import Schedule
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


def all_but_the_detectors(database, folder, schedule):
    """Whatever a round, a model or a setting could come of: tables, the jobs' next times, files."""
    tables = {row["name"] for row in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    rows = {table: [tuple(row) for row in database.rows(f"SELECT * FROM {table}")] for table in tables - {"detectors"}}
    rows["meta"] = [row for row in rows["meta"] if row[0] != "began drift"]
    jobs = {job.id: job.next_run_time for job in schedule._scheduler.get_jobs()}
    files = {path: path.read_bytes() for path in folder.glob("*") if not path.name.startswith("state.db")}
    return rows, jobs, files


def checked(database, folder, also=lambda schedule: None):
    """The real schedule's drift check on documents that changed: the rounds it begins, and whether it changes more.

    `also` is what a wrong check does besides.
    """
    begun, right = [], drift.check
    schedule = Schedule(config.load(folder), database, begun.append, lambda: None)
    read(database, 0, 200, 0.9)
    read(database, 200, 200, 0.6)
    schedule.start()
    try:
        before = all_but_the_detectors(database, folder, schedule)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drift, "check", lambda database: (right(database), also(schedule)))
            schedule._scheduler.get_job("drift").func()
        after = all_but_the_detectors(database, folder, schedule)
    finally:
        schedule.stop()
    assert collect(folder).drift["confidence"]["alarmed"]
    return begun, before == after


def test_an_alarm_begins_nothing_and_changes_nothing(database, tmp_path):
    assert checked(database, tmp_path) == ([], True)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda schedule: schedule._start_round("drift"),
        lambda schedule: schedule._scheduler.modify_job(
            "round", next_run_time=datetime.now(UTC) + timedelta(minutes=1)
        ),
        lambda schedule: schedule._database.set("began round", "2000-01-01T00:00:00+00:00"),
        lambda schedule: (schedule._settings.home / "ocrd.toml").write_text("[learning]\nadapter = 'all'\n"),
    ],
    ids=["begins a round", "brings a round forward", "moves the calendar", "changes a setting"],
)
def test_an_alarm_that_does_more_is_seen(database, tmp_path, mutant):
    assert checked(database, tmp_path, mutant) != ([], True)
