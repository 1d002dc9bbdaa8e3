"""A state folder with a million documents in its database, and what the commands and the service's start take on it.

The part "million" of bench/ingest.py. The rows are made up; nothing of them is sealed, but for the one that is
forgotten.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import running
from daemon import drift, erasure, status
from daemon.budget import Budget
from daemon.erasure import Erasure
from daemon.home import Home, create, open_home
from daemon.ingest import Ingest
from daemon.records import Detectors
from daemon.state import Database
from learners.replay import Pool
from models import weights
from privacy.ledger import Ledger

SETTINGS = "[ingest]\nretain_documents = 0\nretain_days = 0\n[learning]\ncapacity = 2000\n"
REMOVED = ('{"name": 2, "phone": 1}', '{"address": 1, "email": 3}', "{}", '{"face": 1}', '{"iban": 1, "name": 1}')
_ROWS = """
WITH RECURSIVE n (slot) AS (SELECT 0 UNION ALL SELECT slot + 1 FROM n WHERE slot + 1 < :count)
INSERT INTO documents (id, slot, unit, pool, state, arrived, ended, digest, name_digest, folder_digest, pages, lines,
    taught, labelled, removed, confidence, brightness, contrast, model, original_until)
SELECT lower(hex(randomblob(8))), slot, slot,
    CASE WHEN abs(random()) % 5 THEN 'train' ELSE 'holdout' END,
    CASE WHEN abs(random()) % 50 THEN 'done' ELSE 'failed' END,
    1e9 + slot, 1e9 + slot + 1, randomblob(32), randomblob(32), randomblob(32), 1, 20, 16, 0,
    json_extract(:removed, '$[' || (slot % 5) || ']'), 0.9, 0.8, 0.5, 'e16abd8a5b0f09d6',
    CASE WHEN slot % 50 THEN NULL ELSE 4e9 END
FROM n
"""

_MEASURED = """
import resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""
"""A process between: a child's peak of memory begins with that of whoever started it."""


def fill(database: Database, count: int) -> None:
    """Rows of ended documents, with digests as random as real ones."""
    database._connection.execute("PRAGMA cache_size = -400000")
    with database.transaction() as db:
        db.execute(_ROWS, {"count": count, "removed": json.dumps(REMOVED)})
    database._connection.execute("PRAGMA cache_size = -2000")
    database._empty_log()


def measure(count: int, seed: int, place: Path | None = None) -> dict[str, Any]:
    """Seconds of each command on `count` documents, and the peak of memory of a process that does it all."""
    folder = Path(tempfile.mkdtemp(prefix=".bench-million-", dir=place or Path.cwd()))
    try:
        (folder / "ocrd.toml").write_text(SETTINGS)
        create(folder, weights.default_folder(), lambda text: None)
        home = open_home(folder)
        database = Database(home.settings.database_path)
        making = _timed(lambda: fill(database, count))
        database.close()
        size = home.settings.database_path.stat().st_size
        found = {"documents": count, "database MiB": size // 2**20, "making it (s)": making}
        return found | _commands(home, count, random.Random(seed).randrange(count)) | _backup(folder)
    finally:
        shutil.rmtree(folder)


def _commands(home: Home, count: int, slot: int) -> dict[str, Any]:
    found: dict[str, Any] = {"status (s)": min(_timed(lambda: status.collect(home.settings.home)) for _ in range(3))}
    found["opening (s)"] = _timed(lambda: Database(home.settings.database_path).close())
    database = Database(home.settings.database_path)
    ingest = Ingest(home, database)
    found["start: recovery (s)"] = _timed(ingest._recover)
    found["a tick of an empty inbox (s)"] = _timed(ingest.tick)
    row = database.row("SELECT * FROM documents WHERE slot = ?", slot)
    if row is None:
        sys.exit("the database is not what it should be")
    by_name = "SELECT id FROM documents WHERE name_digest = ?"
    found["find (s)"] = _timed(lambda: database.rows(by_name, row["name_digest"]))
    for name in drift.DETECTORS:  # as after the check before
        Detectors(database).save(name, json.dumps(drift.DETECTORS[name][0]().to_dict()), count - 1000, False, 0.0)
    found["drift check, 1,000 unseen (s)"] = _timed(lambda: drift.check(database))
    found["drift check, none unseen (s)"] = _timed(lambda: drift.check(database))
    with Ledger(home.settings.ledger_path, home.signing) as book:
        budget = Budget(home, database, book)
        found["a round's snapshot (s)"] = _timed(lambda: budget.snapshot(Pool.TRAIN, 10**9))
        destroyer = Erasure(home, database, book)
        found["eviction, nothing due (s)"] = _timed(lambda: destroyer.evict(time.time()))
        found["originals, nothing due (s)"] = _timed(lambda: erasure.shred_originals(home, database))
        found["forget one, the first (s)"] = _timed(lambda: destroyer.forget([row["id"]]))
        other = database.rows("SELECT id FROM documents WHERE state = 'done' LIMIT 1")[0]["id"]
        found["forget one, the second (s)"] = _timed(lambda: destroyer.forget([other]))
        some = [row["id"] for row in database.rows("SELECT id FROM documents WHERE state = 'done' LIMIT 500")]
        found["forget 500 in one request (s)"] = _timed(lambda: destroyer.forget(some))
    database.close()
    found["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def _backup(folder: Path) -> dict[str, Any]:
    """`ocrd backup` of the rows, in a process of its own: what it takes, and its peak of memory."""
    copy = folder.with_name(folder.name + "-backup")
    command = [sys.executable, "-c", _MEASURED, running.OCRD, "--home", folder, "backup", copy]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    size = (copy / "state.db").stat().st_size
    shutil.rmtree(copy)
    names = ("backup (s)", "backup, processor s", "backup, peak MiB")
    return {**dict(zip(names, map(float, found), strict=True)), "backup, database MiB": size // 2**20}


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
