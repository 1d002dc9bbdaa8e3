"""`unit = "source"`: everything under one sub-folder is one unit, for life, and mistakes in that are seen."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from daemon import cgroups, opening, wire
from daemon.budget import Budget
from daemon.errors import BadSetting, Interrupted
from daemon.home import Home, create, open_home
from daemon.learning import Learning
from daemon.pipeline import LINES_BLOB
from daemon.round import Units
from daemon.state import Database, Documents, Ending
from learners.adapters import ASCII, Charset, HeadAdapter
from learners.chunks import cache, collate, look
from learners.gradients import document_gradients
from learners.lines import MAX_LINES, TrainDocument, document, joined, pack
from learners.replay import MAX_DOCUMENTS, Pool, Snapshot
from learners.synthesis import thermal_label
from models import recogniser, weights
from models.ctc import Alphabet
from privacy import accountant
from privacy.accountant import RoundEvent
from privacy.chain import Entry
from privacy.dpsgd import clip
from privacy.keys import DigestKey
from privacy.ledger import Ledger
from privacy.noise import Grid
from privacy.page import Image
from running import SETTINGS, Running, drop, ocrd, png

CAPACITY, ROUNDS, LAST = 16, 2, 10**9
SOURCE_SETTINGS = f"""\
[learning]
unit = "source"
capacity = {CAPACITY}
holdout_share = 0.3
rounds_per_document = {ROUNDS}
gate_looks_per_document = 2
"""
History = Sequence[tuple[str, bytes]]
"""Arrivals in order: the path in the inbox, and the content (empty: it failed)."""
Taught = dict[Pool, dict[int, list[str]]]


@pytest.fixture
def opened(tmp_path, weights_dir):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "ocrd.toml").write_text(SOURCE_SETTINGS)
    create(tmp_path / "state", weights_dir, lambda text: None)
    home = open_home(tmp_path / "state")
    home.shelf.digests = DigestKey(bytes(32))  # the same coins in every run
    database = Database(home.settings.database_path)
    database.rows("PRAGMA synchronous = OFF")  # many histories; durability is test_state's
    book = Ledger(home.settings.ledger_path, home.signing)
    Budget(home, database, book)
    yield home, database, book
    book.close()
    database.close()


class Rules:
    """How arrivals are recorded: as the pipeline does it."""

    def __init__(self, home: Home, database: Database) -> None:
        self.home, self.database, self.documents = home, database, Documents(database)

    def take(self, path: str, content: bytes, labelled: bool = True) -> str:
        """A document's whole way through the database; returns its id."""
        id = f"{len(self.database.rows('SELECT id FROM documents')):016x}"
        self.arrive(id, path)
        done = Ending("done", digest=content, taught=2, labelled=labelled)
        self.end(id, done if content else Ending("failed", reason="test"))
        return id

    def arrive(self, id: str, path: str) -> None:
        self.documents.arrive(id, 1.0, b"name", self.home.pool_of, self.home.source_digest(path))

    def end(self, id: str, ending: Ending) -> None:
        self.documents.end(id, ending, 2.0)


class CoinBySlot(Rules):
    """Mutant: the pool is the slot's coin, not the unit's."""

    def arrive(self, id: str, path: str) -> None:
        super().arrive(id, path)
        slot = self.documents.find(id).slot
        with self.database.transaction() as db:
            db.execute("UPDATE documents SET pool = ? WHERE id = ?", (self.home.pool_of(slot), id))


class LateIsAnother(Rules):
    """Mutant: what comes later from a source is a unit of its own, with tickets of its own."""

    def arrive(self, id: str, path: str) -> None:
        digest = self.home.source_digest(path)
        known = self.database.row("SELECT 1 FROM documents WHERE source_digest = ?", digest)
        self.documents.arrive(id, 1.0, b"name", self.home.pool_of, None if known else digest)


class FirstOwnsEverywhere(Rules):
    """Mutant: a content teaches in the source that brought it first, and in no other."""

    def end(self, id: str, ending: Ending) -> None:
        known = self.database.row("SELECT 1 FROM documents WHERE digest = ? AND state = 'done'", ending.digest)
        super().end(id, Ending("duplicate", digest=ending.digest) if known else ending)


class ChargesDocuments(Budget):
    """Mutant: charges the documents of the members, not the members."""

    def charge(
        self, number: int, purpose: str, members: Sequence[int], event: RoundEvent, **more: float | None
    ) -> Entry:
        rows = self._database.rows("SELECT slot, unit FROM documents")
        slots = [row["slot"] for row in rows if row["unit"] in set(members)]
        return super().charge(number, purpose, slots, event, **more)


def ticket(home: Home) -> RoundEvent:
    learning = home.settings.learning
    return RoundEvent(1.0, accountant.calibrate(1.0, 10, ROUNDS, learning.epsilon, learning.delta), 10)


def top(path: str) -> str:
    """What makes one unit, said in another way than the daemon does: a folder's name, or a file's own path."""
    return path.split("/")[0] + "/" if "/" in path else path


def outcome(opened, rules: type[Rules], history: History) -> tuple[Taught, Taught]:
    """Members (their ids left empty) and taught documents of both pools, after this history alone."""
    home, database, book = opened
    with database.transaction() as db:
        db.execute("DELETE FROM documents")
    recorder = rules(home, database)
    for path, content in history:
        recorder.take(path, content)
    budget = Budget(home, database, book)
    snapshots = {pool: budget.snapshot(pool, LAST) for pool in Pool}
    members: Taught = {pool: {unit: [] for unit in found.members} for pool, found in snapshots.items()}
    return members, {pool: budget.documents(pool, LAST, found.present) for pool, found in snapshots.items()}


def neighbours_differ_in_one_unit(opened, rules: type[Rules], history: History) -> bool:
    """For each unit: nothing in its slots (for a lone file: nor in its copies) changes that unit's documents alone."""
    members, taught = outcome(opened, rules, history)
    contents = [content for _, content in history]
    for name in {top(path) for path, _ in history}:
        own = [slot for slot, (path, _) in enumerate(history) if top(path) == name]
        its = set() if name.endswith("/") else {contents[slot] for slot in own}
        copies = {path for path, content in history if "/" not in path and content in its}
        neighbour = [(path, b"" if top(path) == name or path in copies else content) for path, content in history]
        others, them = outcome(opened, rules, neighbour)
        if others != members or any(_without(taught[p], own[0]) != _without(them[p], own[0]) for p in Pool):
            return False
    return True


def _without(found: dict[int, list[str]], unit: int) -> dict[int, list[str]]:
    return {number: ids for number, ids in found.items() if number != unit}


def no_unit_is_in_both_pools(opened, rules: type[Rules], history: History) -> bool:
    _, taught = outcome(opened, rules, history)
    pools = [{top(history[int(id, 16)][0]) for ids in taught[pool].values() for id in ids} for pool in Pool]
    return not pools[0] & pools[1]


def a_source_teaches_in_its_rounds_only(opened, rules: type[Rules], history: History) -> bool:
    """A source that goes on and on: one document arrives before each round."""
    home, database, _ = opened
    outcome(opened, rules, ())
    recorder, rounds = rules(home, database), Counter[str]()
    with Ledger(home.settings.home / f"{rules.__name__}.jsonl", home.signing) as book:
        budget = Budget(home, database, book)
        for number, (path, content) in enumerate(history):
            recorder.take(path, content)
            found = budget.snapshot(Pool.TRAIN, LAST)
            ids = [id for each in budget.documents(Pool.TRAIN, LAST, found.present).values() for id in each]
            rounds.update({top(history[int(id, 16)][0]) for id in ids})
            budget.charge(number, "round", found.members, ticket(home))
    return max(rounds.values()) == ROUNDS


def history(seed: int) -> list[tuple[str, bytes]]:
    """30 arrivals of five sources and of nobody, with failures and with copies within and across sources."""
    rng = random.Random(seed)
    made = []
    for n in range(30):
        folder = rng.choice(["a/", "a/deep/", "b/", "c/", "d/", "e/", ""])
        made.append((f"{folder}{n}.png", rng.choice([b"", b"x", b"y", *[b"%d" % n] * 5])))
    return made


def test_neighbours_differ_in_one_whole_source_alone(opened):
    assert all(neighbours_differ_in_one_unit(opened, Rules, history(seed)) for seed in range(6))
    assert all(no_unit_is_in_both_pools(opened, Rules, history(seed)) for seed in range(6))


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (CoinBySlot, no_unit_is_in_both_pools),
        (LateIsAnother, neighbours_differ_in_one_unit),
        (FirstOwnsEverywhere, neighbours_differ_in_one_unit),
        (LateIsAnother, a_source_teaches_in_its_rounds_only),
    ],
)
def test_mistakes_are_seen(opened, mutant, check):
    assert check(opened, Rules, history(1))
    assert not check(opened, mutant, history(1))


def test_a_unit_is_charged_once_a_round_however_many_documents_it_has(opened):
    home, database, book = opened

    def charged(kind: type[Budget]) -> set[int]:
        budget = kind(home, database, book)
        members = budget.snapshot(Pool.TRAIN, LAST).members
        body = budget.charge(1, "round", members, ticket(home)).body
        return {slot for first, after in body["slots"] for slot in range(first, after)}

    recorder = Rules(home, database)
    for n in range(12):
        recorder.take(f"{'abc'[n % 3]}/{n}.png", b"%d" % n)
    assert charged(Budget) <= {0, 1, 2}
    assert not charged(ChargesDocuments) <= {0, 1, 2}


def test_all_of_a_source_is_one_unit_and_keeps_its_pool_whatever_the_settings_become(opened):
    home, database, _ = opened
    documents = Documents(database)
    for id, path, coin in (("1", "w/1.png", "train"), ("2", "2.png", "holdout"), ("3", "w/deep/3.png", "holdout")):
        documents.arrive(id, 1.0, b"", lambda unit, coin=coin: coin, home.source_digest(path))
    found = [(a.slot, a.unit, a.pool) for a in map(documents.find, "123")]
    assert found == [(0, 0, "train"), (1, 1, "holdout"), (2, 0, "train")]


def test_a_source_is_the_top_sub_folder_by_keyed_digest(opened):
    home, _, _ = opened
    digest = home.source_digest
    assert digest("ward/a.png") == digest("ward/deep/b.png") == home.digests.digest("source", b"ward")
    assert digest("Ward/a.png") != digest("ward/a.png")
    assert digest("ward") is None
    as_documents = home.settings.model_copy(update={"learning": replace_unit(home, "document")})
    assert replace(home, settings=as_documents).source_digest("ward/a.png") is None


def replace_unit(home, unit):
    return home.settings.learning.model_copy(update={"unit": unit})


def test_what_came_after_the_cut_off_waits_although_its_source_is_in(opened):
    home, database, book = opened
    recorder = Rules(home, database)
    source = next(n for n in range(20) if home.pool_of(n) == "train")
    ids = [recorder.take("first.png" if n < source else "w/1.png", b"%d" % n) for n in range(source + 3)]
    budget = Budget(home, database, book)
    cut = budget.documents(Pool.TRAIN, source + 1, [source])
    assert cut == {source: ids[source : source + 2]}


def test_only_the_labelled_documents_of_a_hold_out_source_judge(opened):
    home, database, book = opened
    recorder = Rules(home, database)
    source = next(n for n in range(50) if home.pool_of(n) == "holdout")
    for n in range(source):
        recorder.take(f"{n}.png", b"%d" % n)
    recorder.take("w/1.png", b"own reading", labelled=False)
    labelled = recorder.take("w/2.png", b"labels")
    budget = Budget(home, database, book)
    assert source in budget.snapshot(Pool.HOLDOUT, LAST).present
    assert budget.documents(Pool.HOLDOUT, LAST, [source]) == {source: [labelled]}


def test_the_unit_cannot_change_once_documents_were_taken(opened):
    home, database, book = opened
    other = replace(home, settings=home.settings.model_copy(update={"learning": replace_unit(home, "document")}))
    Budget(other, database, book)
    Budget(home, database, book)
    Rules(home, database).take("w/1.png", b"1")
    with pytest.raises(BadSetting, match='Expected learning.unit = "source".*got "document"'):
        Budget(other, database, book)
    Budget(home, database, book)


def test_a_source_of_many_documents_has_one_clipped_gradient(
    weights_dir: Path, draw_lines: Callable[[int], list[tuple[Image, str]]]
) -> None:
    lines = draw_lines(8)
    made = [document(k, lines[2 * k : 2 * k + 2]) for k in range(4)]
    parts = [(7, pack(each)) for each in made[:3] if each] + [(9, pack(made[3]))]
    taught = unpacked(Units(message(parts), "train", 0))
    assert {unit: len(each.lines) for unit, each in taught.items()} == {7: 6, 9: 2}

    model = recogniser.load(weights_dir / "rec.onnx")
    charset = Charset.of(ASCII, Alphabet(weights.characters(weights_dir / "rec.onnx")))
    adapter = HeadAdapter(model, charset, torch.eye(model.head.in_features)[:, :8])
    bound = Grid(1e-4)

    def moved(documents: Sequence[TrainDocument]) -> float:
        """How far these documents move the sum of a step, in L2 norm."""
        chunk = collate(cache(adapter, look(model, documents)))
        contributions = clip(document_gradients(adapter, torch.zeros(adapter.size), chunk), bound)
        return float((contributions.sum(0).double() * bound.step).norm())

    assert moved([taught[7]]) <= bound.bound
    assert moved([each for each in made[:3] if each]) > 1.5 * bound.bound, "a mutant: a gradient a document"


def unpacked(units: Units) -> dict[int, TrainDocument]:
    return {each.slot: each for each in filter(None, map(units.get, units.keys()))}


def message(parts: Sequence[tuple[int, bytes]]) -> wire.Message:
    """As the service sends a pool: rows of unit, offset and size, and one blob."""
    offsets = [sum(len(blob) for _, blob in parts[:k]) for k in range(len(parts))]
    rows = [(unit, start, len(blob)) for (unit, blob), start in zip(parts, offsets, strict=True)]
    return wire.Message({"train": rows}, [wire.memfd(b"".join(blob for _, blob in parts))])


def test_the_service_sends_a_source_of_any_size_as_one_unit_of_few_documents(opened, draw_lines):
    home, database, book = opened
    book.close()
    recorder, made = Rules(home, database), document(0, draw_lines(3))
    ids = [recorder.take(f"w/{n}.png", b"%d" % n) for n in range(MAX_DOCUMENTS + 5)]
    for slot, id in enumerate(ids):
        home.vault.create(id, slot)
        home.vault.put(id, LINES_BLOB, pack(made))
    learning = Learning(home, database)
    both = [Snapshot(CAPACITY, (0,), (0,)) if pool == home.pool_of(0) else Snapshot(CAPACITY, (), ()) for pool in Pool]
    pool = home.pool_of(0)
    with opening.composed(home, learning._budget, both[0], both[1], LAST) as (header, files):
        taught = Units(wire.Message(header, files), pool, list(Pool).index(pool))
    assert header["memory"] == cgroups.memory_of_a_round(home.settings.learning.memory_share)
    assert not any(Path(f"/proc/self/fd/{file}").exists() for file in files)
    assert [unit for unit, _, _ in header[pool]] == [0] * MAX_DOCUMENTS
    assert {unit: len(each.lines) for unit, each in unpacked(taught).items()} == {0: MAX_LINES}
    before, unsealed = set(os.listdir("/proc/self/fd")), iter(range(3))

    def broken_off() -> None:
        if next(unsealed, None) is None:
            raise Interrupted("forget")

    with (
        pytest.raises(Interrupted),
        opening.composed(home, learning._budget, both[0], both[1], LAST, broken_off),
    ):
        pytest.fail("a round that was broken off began")
    learning.stop()
    assert set(os.listdir("/proc/self/fd")) <= before, "what was unsealed by then is gone"


def test_a_document_that_cannot_be_unpacked_costs_its_unit_no_other(draw_lines):
    good = document(0, draw_lines(2))
    taught = Units(message([(3, b"rubbish"), (3, pack(good)), (4, b"rubbish")]), "train", 0)
    assert {unit: len(each.lines) for unit, each in unpacked(taught).items()} == {3: 2}


def test_the_lines_of_a_unit_are_spread_over_all_its_documents(draw_lines):
    (line,) = document(0, draw_lines(1)).lines
    documents = [TrainDocument(0, tuple(replace(line, text=f"{d}") for _ in range(8))) for d in range(5)]
    whole = joined(2, documents)
    assert (whole.slot, len(whole.lines)) == (2, MAX_LINES)
    shares = [sum(each.text == f"{d}" for each in whole.lines) for d in range(5)]
    assert max(shares) - min(shares) <= 1
    assert joined(2, documents[:1]).lines == documents[0].lines


@pytest.fixture
def served(tmp_path, weights_dir):
    home = tmp_path / "state"
    home.mkdir()
    (home / "ocrd.toml").write_text(SETTINGS.replace("[learning]\n", '[learning]\nunit = "source"\n'))
    assert ocrd(home, "init", "--weights", str(weights_dir)).returncode == 0
    return home


def test_sub_folders_become_units_in_the_real_service(served):
    first = png(thermal_label(1))
    with Running(served) as service:
        for folder in ("ward 7/deep", "ward 8"):
            (served / "inbox" / folder).mkdir(parents=True)
        for name, data in (("ward 7/one.png", first), ("ward 8/two.png", first), ("three.png", b"no image")):
            drop(served, name, data)
        service.wait_for_receipts(3)
    with Running(served) as service:
        drop(served, "ward 7/deep/four.png", b"no image either")
        service.wait_for_receipts(4)
    _check_rows(served)
    _check_no_name_in_clear(served)
    status = json.loads(ocrd(served, "status", "--json").stdout)
    assert (status["unit"], sum(status["units"].get(pool, 0) for pool in Pool)) == ("source", 3)
    _check_the_unit_is_kept(served)


def _check_rows(home: Path) -> None:
    opened = open_home(home)
    with sqlite3.connect(home / "state.db") as database:
        database.row_factory = sqlite3.Row
        rows = {row["name_digest"]: row for row in database.execute("SELECT * FROM documents")}
    one, two, three, four = (rows[opened.name_digest(f"{n}.png")] for n in ("one", "two", "three", "four"))
    assert (one["state"], two["state"]) == ("done", "done")  # a copy in another source is that source's own
    assert four["unit"] == one["unit"] == one["slot"] != four["slot"] == 3
    assert (two["unit"], three["unit"]) == (two["slot"], three["slot"])
    assert one["source_digest"] == four["source_digest"] == opened.source_digest("ward 7/any")
    assert (two["source_digest"], three["source_digest"]) == (opened.source_digest("ward 8/any"), None)
    assert all(row["pool"] == opened.pool_of(row["unit"]) for row in rows.values())


def _check_no_name_in_clear(home: Path) -> None:
    for path in (home.parent / f"{home.name}.log", *home.glob("state.db*"), *home.glob("outbox/*")):
        assert b"ward" not in path.read_bytes(), path.name


def _check_the_unit_is_kept(home: Path) -> None:
    settings = home / "ocrd.toml"
    settings.write_text(settings.read_text().replace('unit = "source"', 'unit = "document"'))
    refused = ocrd(home, "start")
    assert refused.returncode == 3
    assert 'learning.unit = "source"' in refused.stderr
    assert 'got "document"' in refused.stderr
