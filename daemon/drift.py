"""The scheduled drift check: two detectors over the documents that ended since the last one.

One watches how sure the reader was of a document, one how bright its pages were. Detectors see each
document once, in the order of slots, and keep their state in the database. An alarm is shown inside
the operator's boundary (`ocrd status`) and starts nothing.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from typing import Any

from daemon.records import Detectors
from daemon.state import Database
from learners.drift import Kswin, PageHinkley

log = logging.getLogger("ocrd.drift")

DETECTORS: dict[str, tuple[type[PageHinkley] | type[Kswin], str]] = {
    "confidence": (PageHinkley, "1 - confidence"),
    "brightness": (Kswin, "brightness"),
}
"""Name -> detector and the column (an expression of the document's own numbers) it watches."""


def check(database: Database) -> list[str]:
    """Feeds the new documents to every detector; returns the names of those that gave an alarm."""
    store, alarmed = Detectors(database), []
    for name, (kind, column) in DETECTORS.items():
        with database.transaction():  # what is forgotten meanwhile is not written back
            saved, seen = store.load(name)
            detector: Any = kind() if saved is None else kind.from_dict(json.loads(saved))
            rows = store.fresh(column, seen)
            found = False
            for slot, value in rows:
                found = bool(detector.update(value)) or found
                seen = slot
            store.save(name, json.dumps(detector.to_dict()), seen, found, time.time())
        if found:
            log.warning("drift: the %s of the documents has changed; see ocrd status", name)
            alarmed.append(name)
    return alarmed


def forget(database: Database, rows: Sequence[Any]) -> None:
    """Takes the numbers of documents out of what the detectors keep; a part of the transaction that forgets them."""
    store = Detectors(database)
    for name, (kind, _) in DETECTORS.items():
        saved, seen = store.load(name)
        values = [row[name] for row in rows if row["state"] == "done" and row["slot"] <= seen]
        if saved is not None and values:
            detector: Any = kind.from_dict(json.loads(saved))
            for value in values:
                detector.forget(value)
            store.replace(name, json.dumps(detector.to_dict()))
