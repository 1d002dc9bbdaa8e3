"""The database: slots, endings, twins; what is committed is there after a reopening."""

import os
import sqlite3
import subprocess

import pytest

from daemon.records import Detectors, Rounds
from daemon.state import Database, Documents, Ending


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "state.db")
    yield database
    database.close()


def arrive(documents, id, now=1.0):
    return documents.arrive(id, now, b"name", lambda slot: "holdout" if slot % 2 else "train")


def test_every_arrival_takes_the_next_slot_once(database):
    documents = Documents(database)
    assert [arrive(documents, i).slot for i in ("a", "b", "a", "c")] == [0, 1, 0, 2]
    assert [documents.find(i).pool for i in ("a", "b", "c")] == ["train", "holdout", "train"]


def test_the_second_of_two_equal_documents_becomes_the_duplicate(database):
    documents = Documents(database)
    for id in ("a", "b"):
        arrive(documents, id)
    assert documents.end("a", Ending("done", digest=b"d"), 2.0).state == "done"
    second = documents.end("b", Ending("done", digest=b"d", confidence=0.5), 3.0)
    assert (second.state, second.original_of, second.confidence) == ("duplicate", "a", None)
    assert documents.original_of("b", b"d") == "a"
    assert documents.original_of("a", b"d") is None


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c"), ("b", "c", "a")])
def test_of_equal_documents_the_lowest_slot_teaches_in_whatever_order_they_end(database, order):
    documents = Documents(database)
    for id in ("a", "b", "c"):
        arrive(documents, id)
    for id in order:
        documents.end(id, Ending("done", digest=b"d", taught=3, labelled=True), 2.0)
    teach = database.rows("SELECT id FROM documents WHERE state = 'done' AND taught > 0")
    assert [row["id"] for row in teach] == ["a"]


def test_a_document_that_failed_takes_nothing_from_its_copy(database):
    documents = Documents(database)
    for id in ("a", "b"):
        arrive(documents, id)
    documents.end("a", Ending("failed", reason="first"), 2.0)
    documents.end("b", Ending("done", digest=b"d", taught=3), 2.0)
    documents.end("a", Ending("done", digest=b"d", taught=3), 3.0)  # too late: it has ended
    assert [tuple(row) for row in database.rows("SELECT state, taught FROM documents")] == [
        ("failed", None),
        ("done", 3),
    ]


def test_copies_in_other_sources_are_no_copies(database):
    documents = Documents(database)
    for id, source in (("a", b"x"), ("b", b"y"), ("c", None), ("d", b"x")):
        documents.arrive(id, 1.0, b"name", lambda slot: "train", source)
    states = [documents.end(id, Ending("done", digest=b"d", taught=1), 2.0).state for id in "abcd"]
    assert states == ["done", "done", "done", "duplicate"]


def test_an_ending_is_final(database):
    documents = Documents(database)
    arrive(documents, "a")
    documents.end("a", Ending("failed", reason="first"), 2.0)
    documents.end("a", Ending("done", reason="second"), 3.0)
    assert documents.find("a").state == "failed"


def test_unfinished_work_is_found_again(tmp_path):
    database = Database(tmp_path / "state.db")
    documents = Documents(database)
    for id in ("a", "b", "c"):
        arrive(documents, id)
    documents.end("b", Ending("done"), 2.0)
    documents.end("c", Ending("done"), 2.0)
    documents.receipt_written("c")
    database.close()
    again = Database(tmp_path / "state.db")
    assert Documents(again).unfinished() == (["a"], ["b"])
    again.close()


def test_a_failed_transaction_leaves_nothing(database):
    with pytest.raises(sqlite3.IntegrityError), database.transaction() as db:
        db.execute("INSERT INTO meta VALUES ('a', '1')")
        db.execute("INSERT INTO meta VALUES ('a', '2')")
    assert database.get("a") is None


def test_durability_is_full(database):
    assert database.row("PRAGMA journal_mode")[0] == "wal"
    assert database.row("PRAGMA synchronous")[0] == 2


def test_a_running_round_is_interrupted_by_a_crash(database):
    rounds = Rounds(database)
    rounds.begin("calendar", 1.0)
    assert rounds.interrupt_running(2.0) == 1
    assert database.row("SELECT state FROM rounds")["state"] == "interrupted"


def test_detectors_see_documents_in_order_and_never_past_an_unfinished_one(database):
    documents, detectors = Documents(database), Detectors(database)
    for id in "abcd":
        arrive(documents, id)
    for id, confidence in (("a", 0.9), ("b", 0.8), ("d", 0.6)):
        documents.end(id, Ending("done", confidence=confidence), 2.0)
    assert detectors.fresh("confidence", -1) == [(0, 0.9), (1, 0.8)]
    documents.end("c", Ending("failed"), 3.0)
    assert detectors.fresh("confidence", 1) == [(3, 0.6)]


def test_a_reader_needs_no_writer(tmp_path):
    Database(tmp_path / "state.db").close()
    reader = Database(tmp_path / "state.db", read_only=True)
    assert reader.rows("SELECT * FROM documents") == []
    with pytest.raises(sqlite3.OperationalError, match="readonly"), reader.transaction() as db:
        db.execute("DELETE FROM documents")
    reader.close()


def test_a_database_that_may_not_be_written_is_not_kept(tmp_path, monkeypatch):
    """SQLite then opens it for reading, without a word, and would say so at every commit, for ever."""
    path, connect = tmp_path / "state.db", sqlite3.connect
    Database(path).close()
    monkeypatch.setattr(sqlite3, "connect", lambda name, **more: connect(name.replace("rwc", "ro"), **more))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        Database(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_became_read_only_can_still_be_looked_at(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        database = Database(tmp_path / "state.db")
        arrive(Documents(database), "a")
        database.close()
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        database = Database(tmp_path / "state.db", read_only=True)
        assert [row["id"] for row in database.rows("SELECT id FROM documents")] == ["a"]
        database.close()
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def plans(database, change=lambda sql: sql):
    """How SQLite finds the rows of what is asked when a document ends, after a change of the text."""
    asked = []
    database._connection.set_trace_callback(asked.append)
    Documents(database).end("a", Ending("done", digest=b"d", taught=3), 2.0)
    database._connection.set_trace_callback(None)
    explained = [
        f"EXPLAIN QUERY PLAN {change(sql)}" for sql in asked if "documents" in sql and not sql.startswith("--")
    ]
    return [row["detail"] for sql in explained for row in database.rows(sql)]


def test_copies_are_looked_for_by_content_and_not_among_all_documents(database):
    arrive(Documents(database), "a")
    found = plans(database)
    assert any("documents_by_digest" in plan for plan in found)
    assert not any("documents_by_state" in plan or plan.startswith("SCAN") for plan in found)


def test_without_its_plus_signs_the_search_goes_through_all_documents_of_a_state(database):
    arrive(Documents(database), "a")
    assert any(
        "documents_by_state" in plan for plan in plans(database, lambda sql: sql.replace("+documents.", "documents."))
    )
