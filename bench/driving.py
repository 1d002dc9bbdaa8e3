"""What the running service does, in one thread, so that the n-th system call is the same one each time.

Database, vaults, key shelf, ledger, model store, claims and pipeline are the real ones. Not there: the decoder and the
reader (`read_nothing`), and weights.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
import tomllib
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
from daemon.pipeline import Prepared
from daemon.readers import Read
from daemon.serving import Serving
from daemon.state import Database
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
sidecar_wait_seconds = 2.0
min_free_bytes = 0
min_free_files = 0
[learning]
capacity = 16
holdout_share = 0.25
"""
tomllib.loads("")  # has all of it imported before anything is counted
PATIENCE = 120.0
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


def put(inbox: Path, name: str, content: bytes, age: float = 0.0) -> None:
    """Drops a file as a careful program does: whole, durable, and under its name at once."""
    path = inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.utime(part, (1e9 - age, 1e9 - age))
    part.rename(path)


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


def taken(path: Path, count: int = 2, **more: Any) -> list[str]:
    """Has so many documents in a state folder, and returns their ids."""
    home = open_home(path)
    database = Database(home.settings.database_path)
    try:
        return [sealed.take(home, database, f"{n:016x}", path=f"ward {n}-/scan {n}-.png", **more) for n in range(count)]
    finally:
        database.close()
