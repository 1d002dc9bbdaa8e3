"""Finding documents by what they came as, and writing out all that is kept of one (an access request)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from daemon import config, workers
from daemon.erasure import with_copies
from daemon.errors import OcrdError
from daemon.home import Home, open_home
from daemon.membership import spent
from daemon.pipeline import LINES_BLOB, NAME_BLOB, ORIGINAL_BLOB, SIDECAR_BLOB
from daemon.receipts import TEXT_BLOB
from daemon.state import Database
from learners.lines import unpack
from privacy import files, ledger

EXPORT_VERSION = 1
_TIMES = ("arrived", "ended", "original_until")
_KEPT = ("slot", "unit", "pool", "state", "tries", "reason", "pages", "lines", "taught", "labelled", "confidence")
_KEPT_TOO = ("brightness", "contrast", "model", "original_of")


def select(home_dir: Path, documents: Sequence[str], source: str | None, name: str | None) -> list[Any]:
    """The rows that are meant, with copies of their contents, by slot; `came` is the arrival as text.

    Raises:
        OcrdError: none is.
    """
    workers.harden_memory()
    home = open_home(home_dir)
    database = _open(home.settings)
    try:
        ids = list(documents)
        if source is not None:
            ids += _by(database, "folder_digest", home.digests.digest("source", os.fsencode(source.strip("/"))))
        if name is not None:
            ids += _by(database, "name_digest", home.name_digest(Path(name).name))
        if not ids:
            raise OcrdError("no document came in that folder or under that name; names are compared byte for byte")
        rows = with_copies(database, ids)
        left = [row for row in rows if row["state"] != "forgotten" or row["erasing"]]  # the latter: broken off
        return [{**dict(row), "came": _time(row["arrived"])} for row in left] or _gone()
    finally:
        database.close()


def _gone() -> list[Any]:
    raise OcrdError("forgotten already: nothing is left of it but its slot")


def _by(database: Database, column: str, digest: bytes) -> list[str]:
    return [row["id"] for row in database.rows(f"SELECT id FROM documents WHERE {column} = ?", digest)]  # noqa: S608


def export(home_dir: Path, document: str, out: Path) -> list[Path]:
    """Writes `out/DOCUMENT/`: what is sealed of it in clear, and `document.json` with its row and its rounds.

    Raises:
        OcrdError: there is no such document, or that folder is there already.
    """
    workers.harden_memory()
    home = open_home(home_dir)
    database = _open(home.settings)
    try:
        row = database.row("SELECT * FROM documents WHERE id = ?", document)
        if row is None:
            raise OcrdError(f"There is no document {document}. `ocrd find NAME` looks one up.")
        try:
            (out / document).mkdir(mode=0o700)
        except FileExistsError as error:
            raise OcrdError(f"{out / document} is there already; choose another folder.") from error
        entries = _entries(home)
        charges = spent(home.settings, database, entries, [row["unit"]])[0]
        record = {**_record(row), "privacy": charges.as_json(), "labels": _labels(home, document)}
        return [
            _put(out / document / name, data)
            for name, data in [*_sealed(home, document), ("document.json", json.dumps(record, indent=1).encode())]
        ]
    finally:
        database.close()


def _record(row: Any) -> dict[str, Any]:
    """The row without its digests: they are of use to nobody without the key."""
    record: dict[str, Any] = {"version": EXPORT_VERSION, "document": row["id"]}
    record |= {name: row[name] for name in (*_KEPT, *_KEPT_TOO)}
    record |= {name: None if row[name] is None else _time(row[name]) for name in _TIMES}
    return record | {"removed": json.loads(row["removed"] or "{}")}


def _sealed(home: Home, document: str) -> list[tuple[str, bytes]]:
    """Every blob that is left, under the name it is written as."""
    found: list[tuple[str, bytes]] = []
    for vault in (vault for vault in home.vaults if vault.exists(document)):
        blobs = {name: vault.get(document, name) for name in vault.names(document)}
        came_as = PurePosixPath(os.fsdecode(blobs.pop(NAME_BLOB, b"original")))
        for name, data in blobs.items():
            if name == ORIGINAL_BLOB and data:
                found.append((f"original{came_as.suffix}", data))
            elif name == SIDECAR_BLOB:
                found.append(("labels.txt", data))
            elif name == TEXT_BLOB:
                found.append(("text.json", data))
            elif name == LINES_BLOB:
                found += _lines(data)
            elif name != ORIGINAL_BLOB:
                found.append((name, data))
        if came_as.suffix or str(came_as) != "original":
            found.append(("name.txt", os.fsencode(str(came_as)) + b"\n"))
    return found


def _lines(blob: bytes) -> list[tuple[str, bytes]]:
    """The line crops that are learned from, as PNG, with what they say."""
    lines = unpack(0, blob).lines
    images = [cv2.imencode(".png", np.ascontiguousarray(line.image[:, :, ::-1]))[1].tobytes() for line in lines]
    return [(f"line-{number}.png", image) for number, image in enumerate(images, 1)]


def _labels(home: Home, document: str) -> list[str]:
    """What the lines that are learned from say."""
    if not home.vault.exists(document) or LINES_BLOB not in home.vault.names(document):
        return []
    return [line.text for line in unpack(0, home.vault.get(document, LINES_BLOB)).lines]


def _entries(home: Home) -> Sequence[Any]:
    if not home.settings.ledger_path.exists():
        return ()
    return ledger.verify(home.settings.ledger_path, home.signing.public, every_signature=False).entries


def _put(path: Path, data: bytes) -> Path:
    files.create(path, data)
    return path


def _open(settings: config.Settings) -> Database:
    if not settings.database_path.exists():
        raise OcrdError("There are no documents yet.")
    return Database(settings.database_path, read_only=True)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
