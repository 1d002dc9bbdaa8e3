"""Six journeys through the daemon's state, each to be broken off anywhere: how it begins, what is done, what must hold.

Database, vaults, key shelf, ledger, model store, claims and pipeline are the real ones, driven in one thread so that
the n-th system call is the same one each time. Not there: the decoder and the reader (`read_nothing`), and weights.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import found
import sealed
from daemon.errors import BadFile
from daemon.home import Home, create, lock, open_home
from daemon.ingest import Ingest
from daemon.operations import Operations
from daemon.pipeline import Prepared, Read
from daemon.serving import Serving
from daemon.state import Database
from found import Verdict
from injecting import Tell
from models.gates import GATES, GateReport
from models.manifest import MODEL_FILES
from models.store import ModelStore
from models.verdict import GateResult
from models.verdict import Verdict as Answer
from privacy.ledger import Ledger

SETTINGS = """\
[ingest]
settle_seconds = 0.05
min_free_bytes = 0
min_free_files = 0
[learning]
capacity = 16
holdout_share = 0.25
"""
PATIENCE = 20.0
"""Seconds after which a start that does not come to rest counts as one that does not restart."""


def new_home(path: Path, weights: Path) -> None:
    """A state folder that `ocrd init` made, but with a model of a few bytes: small enough to be copied often."""
    create(path, weights, lambda text: None)
    home = open_home(path)
    for name in ("weights", "models"):
        shutil.rmtree(path / name)
    store = ModelStore(home.settings.models_dir, home.signing)
    store.swap(store.add(model("first"), {"epsilon": 0.0}), "installed")
    (path / "ocrd.toml").write_text(SETTINGS)


def model(text: str) -> dict[str, Path | bytes]:
    return {name: f"{name} {text}".encode() for name in MODEL_FILES}


# What the service does, in one thread.


@dataclass(frozen=True)
class Opened:
    """What the running service holds."""

    home: Home
    database: Database
    ledger: Ledger
    serving: Serving
    operations: Operations


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """The state as `ocrd start` opens it, what a stop cut short finished, in the same order."""
    home = open_home(path)
    settings = home.settings
    with lock(settings):
        database = Database(settings.database_path)
        try:
            with Ledger(settings.ledger_path, home.signing) as ledger:
                serving = Serving(home, ledger)
                operations = Operations(home, database, ledger)
                operations.start()
                yield Opened(home, database, ledger, serving, operations)
        finally:
            database.close()


def drain(home: Home, database: Database, tell: Tell = lambda text: None) -> None:
    """Takes everything from the inbox to its receipt, and tells of each document when that has returned."""
    ingest = Ingest(home, database)
    pipeline = ingest._pipelines[0]
    commit = pipeline.commit

    def committed(batch: Sequence[Prepared]) -> int:
        count = commit(batch)
        for prepared in batch:
            arrival = pipeline._documents.find(prepared.claim.id)
            tell(f"{prepared.claim.id} {'' if arrival is None else arrival.state}")
        return count

    pipeline.commit, pipeline._read = committed, read_nothing  # type: ignore[method-assign,assignment]
    ingest._recover()
    ingest.inbox.scan(time.monotonic() - 3600)  # the first look was an hour ago: all has settled, labels wait no more
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError, sqlite3.OperationalError):  # as the service's loop does
            ingest.tick()
        while not ingest._queue.empty():
            ingest._end(pipeline, ingest._prepared(pipeline))
        half = ingest.backlog() or ingest._claims._taken_in_vain
        if not half and not found.dropped(home.settings.inbox_dir):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {PATIENCE:g} s there is still something to do: {ingest.inbox.waiting}")
        time.sleep(0.01)


def read_nothing(claim: Any, data: bytes, sidecar: bytes) -> Read:
    """In place of the decoder and the reader: the content says how it ends."""
    if data.startswith(b"bad"):
        raise BadFile("is none of the formats that are taken")
    if data.startswith(b"doubt"):
        return Read({"verdict": "quarantined", "reason": "two decoders disagree", "pages": 1}, {})
    numbers = {"pages": 1, "lines": 1, "taught": 1, "labelled": bool(sidecar), "removed": {"name": 1}}
    header = {"verdict": "done", **numbers, "confidence": 0.9, "brightness": 0.5, "contrast": 0.1}
    blobs = {"text": json.dumps([[data.decode()[:40]]]).encode(), "lines": b"lines of " + data, "page-1.png": data}
    return Read(header, blobs)


def restart(path: Path) -> None:
    """A start after which nothing is half done."""
    with opened(path) as state:
        drain(state.home, state.database)


# The journeys.


@dataclass(frozen=True)
class Journey:
    """One journey.

    Attributes:
        prepare: makes a fresh state folder ready; what it returns `check` is given.
        work: is broken off; tells of each effect after the call has returned.
        check: after the restart, with what was told and whether the work came to its end.
    """

    name: str
    prepare: Callable[[Path], Any]
    work: Callable[[Path, Tell], None]
    check: Callable[[Path, Any, tuple[str, ...], bool], Verdict]


FILES = {
    "ward/a.png": b"page a",
    "ward/a.json": b"labels of a",
    "b.png": b"page b" * 30_000,
    "ward/copy.png": b"page a",
    "ward/copy.txt": b"labels of the copy",
    "c.png": b"bad",
    "d.png": b"doubtful",
    "e.txt": b"labels without an image",
    "f.png": b"page f",
    "ward/deep/g.png": b"page g",
    "ward/h.png": b"bad as well",
    "i.png": b"page i",
}
STATES = {
    "ward/a.png": "done",
    "b.png": "done",
    "ward/copy.png": "duplicate",
    "c.png": "failed",
    "d.png": "quarantined",
    "e.txt": "failed",
    "f.png": "done",
    "ward/deep/g.png": "done",
    "ward/h.png": "failed",
    "i.png": "done",
}
COPIES = ("ward/a.png", "ward/copy.png")


def put(inbox: Path, name: str, content: bytes, age: float = 0.0) -> None:
    """Drops a file as a careful program does: whole, durable, and under its name at once."""
    path = inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.utime(part, (1e9 - age, 1e9 - age))
    part.rename(path)


def _prepare_ingest(path: Path) -> None:
    for number, (name, content) in enumerate(FILES.items()):
        put(path / "inbox", name, content, age=100 - number)


def _ingest(path: Path, tell: Tell) -> None:
    with opened(path) as state:
        drain(state.home, state.database, tell)


def check_ingest(path: Path, _: Any, told: tuple[str, ...], ended: bool, in_order: bool = True) -> Verdict:
    """Without `in_order` a copy may have been taken before what it would else be a copy of."""
    states = STATES if in_order else {**STATES, **found.first_of(path, COPIES)}
    expected = {name: (state, FILES[name]) for name, state in states.items()}
    sidecars = {"ward/a.png": b"labels of a", "ward/copy.png": b"labels of the copy", "e.txt": FILES["e.txt"]}
    return found.receipts_of(path, expected, sidecars, told) + found.rest(path)


def _taken(path: Path, count: int = 2, **more: Any) -> list[str]:
    home = open_home(path)
    database = Database(home.settings.database_path)
    try:
        return [sealed.take(home, database, f"{n:016x}", path=f"ward {n}-/scan {n}-.png", **more) for n in range(count)]
    finally:
        database.close()


PUTS = {"text": b"the new text", "page-1.png": b"new page" * 20_000, "lines": b"new lines", "audit": b"{}"}


def _seal(path: Path, tell: Tell) -> None:
    home = open_home(path)
    for document in home.vault.ids():
        for name, data in PUTS.items():
            home.vault.put(document, name, data)
            tell(f"{document} {name}")
    for slot, document in enumerate(home.vault.ids()):
        home.quarantine.create(document, slot)
        home.quarantine.put(document, "name", b"a name")
        tell(f"{document} kept")


def _check_seal(path: Path, _: Any, told: tuple[str, ...], ended: bool) -> Verdict:
    home, verdict = open_home(path), Verdict()
    for vault in (home.vault, home.quarantine):  # a start sweeps what was being processed, and these have ended
        vault.sweep(folder.name for folder in vault.root.iterdir())
    for n in range(2):
        document, old = f"{n:016x}", f"ward {n}-/scan {n}-.png"
        before = {
            "text": json.dumps([[f"text of {old}"]]).encode(),
            "page-1.png": b"page of pixels of " + old.encode(),
            "lines": b"lines of pixels of " + old.encode(),
        }
        for name, data in PUTS.items():
            allowed = {data} if f"{document} {name}" in told else {data, before.get(name)}
            verdict += found.blob(home.vault, document, name, allowed)
        kept = {b"a name"} if f"{document} kept" in told else {b"a name", None}
        verdict += found.blob(home.quarantine, document, "name", kept)
    return verdict + found.rest(path, own_vaults=False)


def _prepare_forget(path: Path) -> Any:
    """Two documents and a copy of the first."""
    home = open_home(path)
    ids = _taken(path)
    database = Database(home.settings.database_path)
    try:
        same = b"pixels of ward 0-/scan 0-.png"
        ids.append(sealed.take(home, database, f"{2:016x}", "duplicate", "ward 2-/scan 2-.png", content=same))
        wanted = {}
        for n in (0, 2):
            needles = sealed.needles(home, ids[n], f"ward {n}-/scan {n}-.png", same)
            wanted |= {f"{name} of {n}": needle for name, needle in needles.items()}
    finally:
        database.close()
    return ids, wanted


def _forget(path: Path, tell: Tell) -> None:
    with opened(path) as state:
        state.operations.forget([f"{0:016x}"])
        tell("forgotten")


def _check_forget(path: Path, prepared: Any, told: tuple[str, ...], ended: bool) -> Verdict:
    ids, wanted = prepared
    return found.forgotten(path, [ids[0], ids[2]], wanted, "forgotten" in told) + found.rest(path)


def _rotate(path: Path, tell: Tell) -> None:
    with opened(path) as state:
        state.operations.rotate()
        tell(f"generation {state.home.shelf.generation}")


def _prepare_rotate(path: Path) -> Any:
    ids = _taken(path, 3)
    home = open_home(path)
    return ids, home.name_digest("scan.png"), (home.settings.keys_dir / "master.key").read_bytes()


def _check_rotate(path: Path, prepared: Any, told: tuple[str, ...], ended: bool) -> Verdict:
    ids, digest, old = prepared
    return found.rotated(path, ids, digest, old, bool(told)) + found.rest(path)


ENTRIES = 4


def _prepare_ledger(path: Path) -> None:
    """A ledger with a few entries and a torn line, as a crash leaves one."""
    home = open_home(path)
    with Ledger(home.settings.ledger_path, home.signing) as ledger:
        Serving(home, ledger)
    with home.settings.ledger_path.open("ab") as file:
        file.write(b'{"seq": 1, "ti')


def _append(path: Path, tell: Tell) -> None:
    home = open_home(path)
    with Ledger(home.settings.ledger_path, home.signing) as ledger:
        for number in range(ENTRIES):
            ledger.append("point", {"number": number})
            tell(str(number))


def _check_ledger(path: Path, _: Any, told: tuple[str, ...], ended: bool) -> Verdict:
    return found.appended(path, [int(each) for each in told], ENTRIES) + found.rest(path)


def _prepare_swap(path: Path) -> str:
    for text in CANDIDATES:
        candidate(path, text)
    home = open_home(path)
    with Ledger(home.settings.ledger_path, home.signing) as ledger:
        return Serving(home, ledger).live


def _swap(path: Path, tell: Tell) -> None:
    with opened(path) as state:
        for attempt, text in enumerate(CANDIDATES, 1):
            tell(promote(state, path / "run" / text, attempt))
        tell(state.serving.roll_back())


CANDIDATES = ("second", "third")
Try = Callable[[Callable[[], Any]], Any]


def once(step: Callable[[], Any]) -> Any:
    return step()


def candidate(path: Path, text: str) -> Path:
    """What a round left in a folder."""
    folder = path / "run" / text
    for name, content in model(text).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)  # type: ignore[arg-type]
    return folder


def promote(state: Opened, folder: Path, attempt: int, trying: Try = once) -> str:
    """Offers a candidate with a report that passes every gate; returns its version, which is in service then."""
    version: str = trying(lambda: state.serving.add(folder, {"epsilon": 1.0}))
    results = {gate: GateResult(Answer.PASS, "because") for gate in GATES}
    report = GateReport(version, state.serving.live, attempt, 0.05, frozenset(GATES), results)
    trying(lambda: state.serving.decide(report))
    return version


def _check_swap(path: Path, first: str, told: tuple[str, ...], ended: bool) -> Verdict:
    return found.served(path, first, told) + found.rest(path)


JOURNEYS = {
    journey.name: journey
    for journey in (
        Journey("ingest", _prepare_ingest, _ingest, check_ingest),
        Journey("seal", _taken, _seal, _check_seal),
        Journey("forget", _prepare_forget, _forget, _check_forget),
        Journey("rotate", _prepare_rotate, _rotate, _check_rotate),
        Journey("ledger", _prepare_ledger, _append, _check_ledger),
        Journey("swap", _prepare_swap, _swap, _check_swap),
    )
}
