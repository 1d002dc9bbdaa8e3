"""Forgetting at size: how long, what a search of every byte finds afterwards, and what backup and rotation take.

    python bench/forgetting.py [--documents N] [--forget N] [--folder N] [--seed N] [--quick] [--json FILE] [--home DIR]

Seals N made-up documents (blobs of random bytes with planted marks; nothing is read by a model), forgets some of
them one by one, a folder of fifty at once and a large one as `ocrd forget --source` does, and searches the state folder
for marks, names, digests and keys. Exits with 1 if anything is found, if a document that was not forgotten does not
open, or if the ledger does not check.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import running
from daemon import receipts
from daemon.backup import backup
from daemon.cli_documents import _AT_ONCE
from daemon.home import Home, open_home
from daemon.operations import Operations
from daemon.pipeline import NAME_BLOB, ORIGINAL_BLOB
from daemon.restoring import restore
from daemon.state import Database, Documents, Ending
from privacy import ledger, sealing
from privacy.ledger import Ledger
from privacy.sealing import Sealing

IN_FOLDER = 50
SEARCHED = 200
"""Documents whose marks are looked for in every byte."""


def main() -> int:
    arguments = _arguments()
    random.seed(arguments.seed)
    home_dir = arguments.home.absolute()
    running.prepare(home_dir, "[learning]\ncapacity = 16\n")
    home = open_home(home_dir)
    database, book = Database(home.settings.database_path), Ledger(home.settings.ledger_path, home.signing)
    figures: dict[str, Any] = {"documents": arguments.documents}
    figures["seal_seconds"] = _timed(lambda: _fill(home, database, arguments.documents))
    small, large = range(IN_FOLDER), range(IN_FOLDER, IN_FOLDER + arguments.folder)
    one_by_one = random.sample(range(large.stop, arguments.documents), arguments.forget)
    gone = [*one_by_one, *small, *large]
    looked_for = random.sample(gone, min(SEARCHED, len(gone)))
    needles = [needle for n in looked_for for needle in _needles(home, n)]
    found_before = _found(home, needles)
    operations = Operations(home, database, book)
    seconds = [_timed(lambda n=n: operations.forget([_id(n)])) for n in one_by_one]
    figures |= {"forget_median": statistics.median(seconds), "forget_max": max(seconds)}
    figures["forget_folder_of_50"] = _timed(lambda: operations.forget([_id(n) for n in small]))
    pieces = [[_id(n) for n in large[at : at + _AT_ONCE]] for at in range(0, len(large), _AT_ONCE)]
    seconds = [_timed(lambda piece=piece: operations.forget(piece)) for piece in pieces]
    figures |= {"folder": len(large), "forget_folder": sum(seconds), "forget_request_max": max(seconds, default=0.0)}
    figures |= {"needles": len(needles), "found_before": found_before, "found_after": _found(home, needles)}
    figures["shelf_bytes"] = (home.settings.keys_dir / "shelf").stat().st_size
    copy = home_dir.with_name(home_dir.name + "-backup")
    shutil.rmtree(copy, ignore_errors=True)
    figures["rotate_seconds"] = _timed(operations.rotate)
    figures["backup_seconds"] = _timed(lambda: backup(home_dir, copy))
    figures["backup_again_seconds"] = _timed(lambda: backup(home_dir, copy))
    kept = sorted(set(range(arguments.documents)) - set(gone))
    figures["unreadable"] = sum(home.vault.get(_id(n), "page-1.png")[:4] != b"page" for n in kept)
    figures["ledger_verified"] = ledger.verify(home.settings.ledger_path, home.signing.public).ok
    book.close()
    database.close()
    for path in home_dir.iterdir():
        if path.name not in ("keys", "ledger"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    figures["restore_seconds"] = _timed(lambda: restore(home_dir, copy))
    figures["found_after_restore"] = _found(open_home(home_dir), needles)
    shutil.rmtree(copy)
    for name, value in figures.items():
        print(f"{name:22} {value:.3f}" if isinstance(value, float) else f"{name:22} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    bad = figures["found_after"] or figures["found_after_restore"] or figures["unreadable"]
    return 1 if bad or not figures["ledger_verified"] else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=3000)
    parser.add_argument("--forget", type=int, default=40)
    parser.add_argument("--folder", type=int, default=2000, help="documents of the large folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="300 documents, 10 and folders of 50 forgotten")
    parser.add_argument("--data", type=Path, default=None, help="not used: the documents are made up")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--home", type=Path, default=Path(".bench-forgetting"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.documents, arguments.forget, arguments.folder = 300, 10, 50
    if arguments.documents < IN_FOLDER + arguments.folder + arguments.forget:
        parser.error("Expected more --documents than are forgotten.")
    return arguments


def _id(n: int) -> str:
    return f"{n:016x}"


def _path(n: int) -> str:
    return f"patient {n // IN_FOLDER}/scan of {n}, Jane Doe {n}.png"


def _content(n: int) -> bytes:
    return b"original mark %d;" % n + random.Random(n).randbytes(2000)


def _fill(home: Home, database: Database, count: int) -> None:
    documents = Documents(database)
    for start in range(0, count, 250):
        some, sealed = range(start, min(start + 250, count)), Sealing(home.shelf)
        for n in some:
            text, path = json.dumps([[f"text mark {n};"]]).encode(), _path(n)
            home.vault.seal(_id(n), n, {"text": text, "page-1.png": b"page" + _content(n)}, sealed)
            home.originals.seal(_id(n), n, {NAME_BLOB: path.encode(), ORIGINAL_BLOB: _content(n)}, sealed)
        sealing.commit(home.shelf, [sealed])
        with database.transaction():
            for n in some:
                id, path = _id(n), _path(n)
                name, source = home.name_digest(path.rpartition("/")[2]), home.source_digest(path)
                documents.arrive(id, 1.0, name, home.pool_of, source, home.folder_digest(path))
                digest = home.digests.digest("content", _content(n))
                documents.end(id, Ending("done", digest=digest, lines=1, original_until=time.time() + 1e6), 2.0)
        receipts.write(home, database, *map(_id, some))
        documents.receipt_written(*map(_id, some))


def _needles(home: Home, n: int) -> list[bytes]:
    path = _path(n)
    keys = [part for vault in (home.vault, home.originals) for part in (_key(vault.root, n), vault.keys.opened(_id(n)))]
    return [
        _content(n)[:40],
        b"text mark %d;" % n,
        path.rpartition("/")[2].encode(),
        home.name_digest(path.rpartition("/")[2]),
        home.digests.digest("content", _content(n)),
        *keys,
    ]


def _key(root: Path, n: int) -> bytes:
    return (root / _id(n) / "key").read_bytes()[-60:]


def _found(home: Home, needles: list[bytes]) -> int:
    """How many of the needles are anywhere in the state folder, in contents or in names."""
    parts = []
    for folder, folders, names in os.walk(home.settings.home):
        folders[:] = [name for name in folders if name not in ("weights", "models")]
        parts += [f"{folder}/{name}".encode() + b"\0" + (Path(folder) / name).read_bytes() for name in names]
    everything = b"\0".join(parts)
    return sum(needle in everything for needle in needles)


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
