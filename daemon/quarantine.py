"""Documents in quarantine: what an operator sees of them, and the three ways out.

Nothing that leaves quarantine is ever learned from: its slot stays empty, as if the document had not come
(docs/adr/0002-unit-of-privacy.md). What is released are the pages as the anonymiser filled them, never the original.
The service alone changes its records: it is asked to close a case, and destroys the sealed original.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from pathlib import Path

from daemon import control, offline, receipts, workers
from daemon.errors import OcrdError
from daemon.home import Home, open_home
from daemon.pipeline import ORIGINAL_BLOB
from daemon.state import Database, Documents

Box = tuple[int, int, int, int, int]
"""A page, from 1, and x0, y0, x1, y1 on it, upright."""
HOW = ("released", "redacted", "discarded")


def listed(home_dir: Path) -> list[str]:
    """One line a document that waits: id, when it came, how many pages, why.

    A case that was closed after the backup from which it came back has nothing left to look at, and does not wait.
    """
    workers.harden_memory()
    home = open_home(home_dir)
    if not home.settings.database_path.exists():  # the first start makes it
        return []
    database = Database(home.settings.database_path, read_only=True)
    try:
        columns = "id, slot, datetime(arrived, 'unixepoch') AS came, pages, reason"
        rows = database.rows(f"SELECT {columns} FROM documents WHERE state = 'quarantined' ORDER BY slot")  # noqa: S608
        return [
            f"{r['id']}  {r['came']} UTC  {r['pages']} page(s)  {r['reason']}"
            for r in rows
            if home.quarantine.exists(r["id"]) and home.shelf.holds("quarantine", r["slot"])
        ]
    finally:
        database.close()


def show(home_dir: Path, document: str, out: Path) -> tuple[list[Path], list[str]]:
    """Writes each page before and after, side by side, into `out`: these pictures hold what is personal.

    Raises:
        OcrdError: the document is not in quarantine, or a file is in the way.
    """
    done = _again(home_dir, document, ())
    return offline.write_all(out, f"{document}-preview", done.previews), offline.summary(done.audit)


def let_out(home_dir: Path, document: str, out: Path, boxes: Sequence[Box] = ()) -> list[Path]:
    """Writes the filled pages, with `boxes` filled besides, and closes the case: the original is destroyed.

    Raises:
        NotRunning: the service does not run.
        OcrdError: the document is not in quarantine, a box fills nothing of it, or a file is in the way. Then nothing
            is written or destroyed.
    """
    settings = open_home(home_dir).settings
    control.ask(settings.run_dir, "ping")
    done = _again(home_dir, document, boxes)
    check_boxes(boxes, done.pages)
    written = offline.write_all(out, document, done.pages)
    control.ask(settings.run_dir, "quarantine", document=document, how="redacted" if boxes else "released")
    return written


def check_boxes(boxes: Sequence[Box], pages: Sequence[bytes]) -> None:
    """Returns only if each box holds a part of its page: else a slip of the pen would let out what it was to fill.

    Args:
        pages: as PNG.

    Raises:
        OcrdError: one does not.
    """
    for page, x0, y0, x1, y1 in boxes:
        if not 1 <= page <= len(pages):
            raise OcrdError(f"Expected a box on a page from 1 to {len(pages)}, got page {page}; nothing was let out.")
        width, height = struct.unpack(">II", pages[page - 1][16:24])
        if not (max(x0, 0) < min(x1, width) and max(y0, 0) < min(y1, height)):
            raise OcrdError(
                f"Expected a box X0 Y0 X1 Y1 with X0 < X1 and Y0 < Y1 on page {page} of {width} x {height} pixels, got "
                f"{x0} {y0} {x1} {y1}; nothing was let out."
            )


def discard(home_dir: Path, document: str) -> None:
    """Destroys the sealed original; nothing is written.

    Raises:
        NotRunning: the service does not run.
        Refused: the document is not in quarantine.
    """
    control.ask(open_home(home_dir).settings.run_dir, "quarantine", document=document, how="discarded")


def close(home: Home, database: Database, document: str, how: str) -> dict[str, str]:
    """The service's part: shreds the original, in backups too, and says so in the row and in the receipt.

    Safe to repeat after a crash.

    Raises:
        OcrdError: the document is not in quarantine.
    """
    if how not in HOW:
        raise OcrdError(f"Expected one of {', '.join(HOW)}, got {how!r}.")
    _check(home, document)
    if (arrival := Documents(database).find(document)) is None:
        raise OcrdError(f"Document {document} has no record here.")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    Documents(database).closed(document, f"{how} from quarantine at {now}")
    receipts.write(home, database, document)
    home.shelf.puncture({"quarantine": [(arrival.slot, arrival.slot + 1)]})
    home.quarantine.shred(document)
    Documents(database).receipt_written(document)  # last: until then a start finishes a shred that was cut short
    return {"document": document, "how": how}


def _again(home_dir: Path, document: str, boxes: Sequence[Box]) -> offline.Anonymised:
    workers.harden_memory()
    home = open_home(home_dir)
    _check(home, document)
    with offline.opened(home_dir) as anew:
        return anew.anonymise(home.quarantine.get(document, ORIGINAL_BLOB), boxes)


def _check(home: Home, document: str) -> None:
    if not home.quarantine.exists(document):
        raise OcrdError(f"Document {document} is not in quarantine; `ocrd quarantine list` names those that are.")
