"""Giving originals back, and finding a document by the name it came under."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from daemon import workers
from daemon.errors import OcrdError
from daemon.home import open_home
from daemon.pipeline import NAME_BLOB, ORIGINAL_BLOB, SIDECAR_BLOB
from daemon.state import Database
from privacy import files

_LONG = 240
"""Bytes of a name that leave room for an ending."""


def recover(home_dir: Path, document: str, out: Path) -> list[Path]:
    """Writes the original (and its label file) into `out` under the name it came with; replaces nothing.

    Raises:
        OcrdError: there is no sealed original of this document, or a file of its name is there already.
    """
    workers.harden_memory()
    home = open_home(home_dir)
    vault = next((v for v in (home.originals, home.quarantine, home.failed) if v.exists(document)), None)
    if vault is None:
        raise OcrdError(
            f"There is no sealed original of document {document}: shredded after originals_days, or never kept."
        )
    name = PurePosixPath(os.fsdecode(vault.get(document, NAME_BLOB))).name
    written = []
    labels = name if len(os.fsencode(name)) < _LONG else document
    for blob, target in ((ORIGINAL_BLOB, out / name), (SIDECAR_BLOB, out / f"{labels}.labels")):
        if blob not in vault.names(document) or (blob == ORIGINAL_BLOB and not vault.get(document, blob)):
            continue
        try:
            files.create(target, vault.get(document, blob))
        except FileExistsError as error:
            raise OcrdError(f"A file of the original's name is already in {out}; choose an empty folder.") from error
        written.append(target)
    return written


def find(home_dir: Path, name: str) -> list[str]:
    """One line a document that came under this file name."""
    workers.harden_memory()
    home = open_home(home_dir)
    if not home.settings.database_path.exists():  # the first start makes it
        return []
    database = Database(home.settings.database_path, read_only=True)
    try:
        columns = "id, state, datetime(arrived, 'unixepoch') AS came"
        sql = f"SELECT {columns} FROM documents WHERE name_digest = ? ORDER BY slot"  # noqa: S608
        return [
            f"{r['id']}  {r['state']}  {r['came']} UTC" for r in database.rows(sql, home.name_digest(Path(name).name))
        ]
    finally:
        database.close()
