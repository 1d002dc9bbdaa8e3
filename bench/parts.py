"""The parts of a state folder, each looked at by itself: its documents, ledger, models, database and blobs."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.home import Home, open_home
from daemon.state import Database
from models.store import ModelStore, history
from privacy import ledger
from privacy.errors import NotSealed, PrivacyError
from privacy.vault import Vault


@dataclass(frozen=True)
class Verdict:
    """What is wrong, each as a sentence; nothing of it holds content."""

    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(self.lost + other.lost, self.doubled + other.doubled, self.torn + other.torn)

    @property
    def problems(self) -> tuple[str, ...]:
        return self.lost + self.doubled + self.torn


def lost(*facts: str) -> Verdict:
    return Verdict(lost=facts)


def doubled(*facts: str) -> Verdict:
    return Verdict(doubled=facts)


def torn(*facts: str) -> Verdict:
    return Verdict(torn=facts)


_HOMES: dict[tuple[Path, int, int], Home] = {}


def opened(path: Path) -> Home:
    """The state folder with the keys that are there now: opening it costs a tenth of a second."""
    keys = path / "keys"
    now = (path, (keys / "master.key").stat().st_ino, (keys / "shelf").stat().st_ino)
    if now not in _HOMES:
        _HOMES[now] = open_home(path)
    return _HOMES[now]


def blob(vault: Vault, document: str, name: str, allowed: set[bytes | None] | None) -> Verdict:
    """A blob is one of those allowed (None in the set: it may be absent; None instead of a set: any, but there)."""
    try:
        data: bytes | None = vault.get(document, name)
    except NotSealed:
        data = None
    except PrivacyError:
        return torn(f"a blob {name} does not open")
    if allowed is None:
        return Verdict() if data is not None else lost(f"a blob {name} is not there")
    return Verdict() if data in allowed else lost(f"a blob {name} is not what was sealed")


def rows(home: Home) -> dict[str, Any]:
    """The documents by id; none while there is no database yet."""
    if not home.settings.database_path.exists():
        return {}
    connected = Database(home.settings.database_path, read_only=True)
    try:
        return {row["id"]: dict(row) for row in connected.rows("SELECT * FROM documents")}
    finally:
        connected.close()


def entries(home: Home, kind: str) -> list[Any]:
    report = ledger.verify(home.settings.ledger_path, home.signing.public)
    return [entry for entry in report.entries if entry.kind == kind]


def book(home: Home, settled: bool = False) -> Verdict:
    report = ledger.verify(home.settings.ledger_path, home.signing.public)
    verdict = torn(*(f"the ledger: {problem}" for problem in report.problems))
    return verdict + (torn("the ledger's end is open") if settled and (report.pending or report.torn) else Verdict())


def models(home: Home) -> Verdict:
    store = ModelStore(home.settings.models_dir, home.signing.public)
    try:
        store.verify(store.current() or "")
        history(home.settings.models_dir)
    except Exception as error:
        return torn(f"the model in service: {type(error).__name__}")
    return Verdict()


def database(home: Home) -> Verdict:
    with sqlite3.connect(f"{home.settings.database_path.as_uri()}?mode=ro", uri=True) as connected:
        found = [row[0] for row in connected.execute("PRAGMA integrity_check")]
    connected.close()
    return Verdict() if found == ["ok"] else torn("the database fails its integrity check")


def opens(vault: Vault, document: str) -> Verdict:
    verdict = Verdict()
    for name in vault.names(document):
        try:
            vault.get(document, name)
        except PrivacyError:
            verdict += torn(f"a blob in {vault.root.name} does not open")
    return verdict
