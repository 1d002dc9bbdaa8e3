"""One frozen snapshot of the state folder, and its two prints: text and JSON.

Works with the service dead, reads only, needs no private key and imports neither torch nor any model.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon import config, mounts
from daemon.state import Database
from privacy import ledger
from privacy.signing import read_public

VERSION = 1
ROUNDS_SHOWN = 5
FULL_BYTES = 16 * 2**20
BUDGET_KEY = "worst epsilon"
"""In `meta`: JSON of each pool's worst lifetime epsilon, written with every charge."""

WAITING_KEY, REFUSED_KEY = "waiting", "refused"
"""In `meta`: JSON of the reasons for which files stay in the inbox, and how many."""


@dataclass(frozen=True)
class RoundLine:
    """One round, newest first."""

    id: int
    started: str
    cause: str
    state: str
    epsilon: float | None
    reason: str | None
    plan: tuple[str, ...] = ()
    """Which adapters were considered, and why each was taken or passed over."""
    gates: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """Everything `ocrd status` says. `problems` is what `--check` fails on."""

    version: int
    home: str
    time: str
    serving: bool
    model: str | None
    documents: dict[str, int]
    inbox_waiting: int
    removed: dict[str, int]
    coverage: float | None
    """Of the documents that were read, the share on which a second look found nothing more; None without any."""
    unit: str
    """What is protected as one: "document" or "source"."""
    units: dict[str, int]
    capacity: int
    epsilon_cap: float
    delta: float
    worst_epsilon: dict[str, float]
    rounds: tuple[RoundLine, ...]
    ledger: dict[str, Any]
    drift: dict[str, dict[str, str | None]]
    problems: tuple[str, ...]


def collect(home: Path) -> Status:
    """Reads a state folder. Raises NotInitialised or BadSetting when there is none to read."""
    settings = config.load(home)
    serving = _serving(settings)
    model = _model(settings)
    ledger_state, problems = _ledger(settings)
    if not serving:
        problems.append("the service does not run")
    if (free := mounts.free_bytes(settings.home)) < FULL_BYTES:  # then the service can't leave word of it either
        problems.append(f"the disk is full: {free // 2**20} MiB free under {settings.home}")
    if model is None:
        problems.append("no model is in service yet: start the service once")
    empty: dict[str, int] = {}
    documents, removed, units = empty, empty, empty
    budget: dict[str, float] = {}
    rounds: tuple[RoundLine, ...] = ()
    drift: dict[str, dict[str, str | None]] = {}
    if settings.database_path.exists():
        database = Database(settings.database_path, read_only=True)
        try:
            documents, removed, units = _documents(database)
            budget = json.loads(database.get(BUDGET_KEY) or "{}")
            waiting = json.loads(database.get(WAITING_KEY) or "{}")
            if serving and (refused := database.get(REFUSED_KEY)):
                problems.append(refused)
            problems += [f"{n} in the inbox: {why}" for why, n in waiting.items() if "waits for" not in why]
            rounds = _rounds(database)
            drift = _drift(database)
        finally:
            database.close()
    problems += [f"the documents' {name} has drifted since {d['alarmed']}" for name, d in drift.items() if d["alarmed"]]
    return Status(
        version=VERSION,
        home=str(home),
        time=_iso(time.time()) or "",
        serving=serving,
        model=model,
        documents=documents,
        inbox_waiting=_waiting(settings.inbox_dir),
        removed=removed,
        coverage=_coverage(documents),
        unit=settings.learning.unit,
        units=units,
        capacity=settings.learning.capacity,
        epsilon_cap=settings.learning.epsilon,
        delta=settings.learning.delta,
        worst_epsilon=budget,
        rounds=rounds,
        ledger=ledger_state,
        drift=drift,
        problems=tuple(problems),
    )


def as_json(status: Status) -> str:
    return json.dumps(asdict(status), indent=1)


def _serving(settings: config.Settings) -> bool:
    try:
        fd = os.open(settings.run_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def _model(settings: config.Settings) -> str | None:
    current = settings.models_dir / "current"
    return current.resolve().name if current.exists() else None


def _ledger(settings: config.Settings) -> tuple[dict[str, Any], list[str]]:
    if not settings.ledger_path.exists():
        return {"entries": 0, "debits": 0, "verified": True, "head": None}, []
    report = ledger.verify(settings.ledger_path, read_public(settings.keys_dir / "signing.pub"), every_signature=False)
    state = {
        "entries": len(report.entries),
        "debits": sum(entry.kind == "debit" for entry in report.entries),
        "verified": report.ok,
        "head": None if report.head is None else report.head.hash,
    }
    return state, [f"the ledger does not check: {problem}" for problem in report.problems]


def _coverage(states: dict[str, int]) -> float | None:
    read = states.get("done", 0) + states.get("quarantined", 0)
    return states.get("done", 0) / read if read else None


def _documents(database: Database) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    found: dict[str, dict[str, int]] = {"state": {}, "removed": {}, "units": {}}
    for row in database.rows("SELECT kind, name, n FROM totals WHERE n > 0"):
        found[row["kind"]][row["name"]] = row["n"]
    taught = (  # read from that index alone, which is why it repeats the columns of its own condition
        "SELECT COUNT(DISTINCT unit) FROM documents INDEXED BY documents_teaching "
        "WHERE state = 'done' AND taught > 0 AND pool = 'train'"
    )
    found["units"]["teaching"] = _count(database, taught)
    return found["state"], found["removed"], found["units"]


def _count(database: Database, sql: str) -> int:
    row = database.row(sql)
    return 0 if row is None else int(row[0])


def _rounds(database: Database) -> tuple[RoundLine, ...]:
    lines = []
    for row in database.rows("SELECT * FROM rounds ORDER BY id DESC LIMIT ?", ROUNDS_SHOWN):
        plan = json.loads(row["plan"]) if row["plan"] else {}
        report = json.loads(row["report"]) if row["report"] else {}
        lines.append(
            RoundLine(
                id=row["id"],
                started=_iso(row["started"]) or "",
                cause=row["cause"],
                state=row["state"],
                epsilon=plan.get("epsilon_round"),
                reason=row["reason"],
                plan=tuple(plan.get("considered", ())),
                gates=report.get("gates", {}),
            )
        )
    return tuple(lines)


def _drift(database: Database) -> dict[str, dict[str, str | None]]:
    rows = database.rows("SELECT name, alarmed, checked FROM detectors")
    return {r["name"]: {"checked": _iso(r["checked"]), "alarmed": _iso(r["alarmed"])} for r in rows}


def _waiting(inbox: Path) -> int:
    """Files in the inbox, its hidden folders left out."""
    total = 0
    for _folder, folders, names in os.walk(inbox):
        folders[:] = [f for f in folders if not f.startswith(".")]
        total += sum(not name.startswith(".") for name in names)
    return total


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
