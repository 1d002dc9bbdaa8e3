"""Faults that the harnesses must see: each is put into a process before its work, and into nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from daemon import receipts, restoring, retry, taking
from daemon.erasure import Erasure
from daemon.home import open_home
from daemon.pipeline import Pipeline
from daemon.state import Documents
from privacy import files, mirror, rotation, sealing
from privacy.group import Group
from privacy.keys import MasterKey
from privacy.ledger import Ledger


@dataclass(frozen=True)
class Plant:
    """A planted fault.

    Attributes:
        journey: where it shows.
        calls: the system calls at which to look for it.
        command: whether the command shows it, and not the journey in the service's way.
    """

    name: str
    plant: Callable[[], None]
    journey: str = "ingest"
    calls: tuple[str, ...] = ("unlinkat", "rename", "pwrite64", "fsync")
    command: bool = False


def unlink_before_commit() -> None:
    """The claimed file goes once it is sealed, and the database hears of it afterwards."""
    seal = Pipeline._seal

    def sealed(self: Pipeline, claim: taking.Claim, *given: Any) -> Any:
        ending = seal(self, claim, *given)
        taking.discard([claim])
        return ending

    Pipeline._seal = sealed  # type: ignore[method-assign]


def receipt_before_commit() -> None:
    """The user is told of an ending that is not committed."""
    end = Documents.end

    def told(self: Documents, id: str, ending: Any, now: float) -> Any:
        home = open_home(Path(self._db._path).parent)
        text = f'{{"document": "{id}", "state": "{ending.state}"}}'
        files.write_bytes(home.settings.outbox_dir / f"{id}.json", text.encode())
        return end(self, id, ending, now)

    Documents.end = told  # type: ignore[method-assign]


def commit_before_seal() -> None:
    """The ending is committed and the claim gone before what is sealed is there."""
    finish, seal, waiting = Pipeline.finish, sealing.commit, []

    def finished(self: Pipeline, claims: Sequence[taking.Claim]) -> None:
        compose, receipts.compose = receipts.compose, lambda home, database, id: {"state": "done"}
        try:
            finish(self, claims)
        finally:
            receipts.compose = compose
        for shelf, sealings in waiting:
            seal(shelf, sealings)
        waiting.clear()

    sealing.commit = lambda shelf, sealings: waiting.append((shelf, sealings))
    Pipeline.finish = finished  # type: ignore[method-assign]


def claims_put_back() -> None:
    """After a stop every claim goes back into the inbox, whatever had become of it: here, right after its ending."""
    finish = Pipeline.finish

    def finished(self: Pipeline, claims: Sequence[taking.Claim]) -> None:
        inbox = self._home.settings.inbox_dir
        for claim in claims:
            taking.Claims(inbox, self._home.settings.claimed_dir).undo(claim.folder)
            taken = inbox / claim.name
            claim.folder.mkdir()
            (claim.folder / claim.name).parent.mkdir(exist_ok=True)
            shutil.move(taken, claim.folder / claim.name)
        finish(self, claims)

    Pipeline.finish = finished  # type: ignore[method-assign]


def receipt_in_place() -> None:
    """Receipts, heads and the like are written where they lie."""

    def in_place(path: Path, data: bytes, mode: int = 0o600) -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    files.write_bytes = in_place
    Group.write_bytes = lambda self, path, data, mode=0o600: in_place(path, data)  # type: ignore[method-assign]


def head_before_entry() -> None:
    """The ledger's head covers an entry that is not there yet."""
    append, write_head = files.append_synced, Ledger._write_head
    waiting: list[tuple[Path, bytes]] = []

    def later(path: Path, data: bytes, mode: int = 0o600) -> None:
        waiting.append((path, data))

    def head_first(self: Ledger) -> None:
        write_head(self)
        for path, data in waiting:
            append(path, data)
        waiting.clear()

    files.append_synced, Ledger._write_head = later, head_first  # type: ignore[method-assign]


def keys_before_journal() -> None:
    """A document's key goes before the database has it marked: a stop between leaves a document that does not open."""
    forget = Erasure.forget

    def forgotten(self: Erasure, documents: Any) -> Any:
        for document in documents:
            self._home.vault.shred(document)
        return forget(self, documents)

    Erasure.forget = forgotten  # type: ignore[method-assign]


def forget_without_mark() -> None:
    """Nothing says that a forgetting was begun: a stop leaves the rest for ever."""
    finish = Erasure._finish

    def unmarked(self: Erasure, rows: Any, needles: Any) -> None:
        with self._database.transaction() as db:
            db.execute("UPDATE documents SET erasing = 0")
        finish(self, rows, needles)

    Erasure._finish = unmarked  # type: ignore[method-assign]


def master_first() -> None:
    """The new master key takes the old one's place before the shelf opens with it."""

    def rotate(keys: Path, shelf: Any, vaults: Any) -> int:
        path = keys / rotation.NEXT_MASTER
        master = MasterKey.create(path)
        files.move_destroying(path, keys / rotation.MASTER)
        shelf.begin(master)
        count = sum(vault.rewrap() for vault in vaults)
        shelf.finish(master)
        return count

    rotation.rotate = rotate


def finish_before_rewrap() -> None:
    """The old generation is dropped while data keys are still wrapped under it."""

    def rotate(keys: Path, shelf: Any, vaults: Any) -> int:
        path = keys / rotation.NEXT_MASTER
        master = MasterKey.create(path)
        shelf.begin(master)
        trees = shelf._trees
        shelf.finish(master)
        shelf._trees = trees
        count = sum(vault.rewrap() for vault in vaults)
        files.move_destroying(path, keys / rotation.MASTER)
        return count

    rotation.rotate = rotate


def pointer_in_two_steps() -> None:
    """The old pointer is removed, then the new one made."""

    def point(link: Path, target: str) -> None:
        link.unlink()
        link.symlink_to(target)
        files.sync_dir(link.parent)

    files.point = point


def key_in_place() -> None:
    """A data key is written anew where it lies."""

    Group.write_bytes = lambda self, path, data, mode=0o600: path.write_bytes(data)  # type: ignore[method-assign]


def row_before_claim() -> None:
    """A document that is tried again is `claimed` before its claim is there: the next start takes it for withdrawn."""
    take_up = retry.take_up

    def taken(home: Any, database: Any, document: str) -> Any:
        Documents(database).reopen(document)
        database.row, row = (lambda sql, *values: (1,) if "SELECT 1" in sql else row(sql, *values)), database.row
        find, reopen = Documents.find, Documents.reopen
        Documents.find = lambda self, id: replace(find(self, id), state="failed")  # type: ignore[assignment,method-assign,type-var]
        Documents.reopen = lambda self, id: True  # type: ignore[method-assign]
        try:
            return take_up(home, database, document)
        finally:
            database.row, Documents.find, Documents.reopen = row, find, reopen  # type: ignore[method-assign]

    retry.take_up = taken


def backup_made_anew() -> None:
    """The backup that is there goes before the next one is made."""
    copy = mirror.mirror

    def anew(source: Path, target: Path, *given: Any) -> int:
        shutil.rmtree(target, ignore_errors=True)
        return copy(source, target, *given)

    mirror.mirror = anew


def database_before_blobs() -> None:
    """A restore has its database in place, and looks done, before what it tells of is there."""
    copy, count, waiting = mirror.mirror, restoring._count, []

    def last(*given: Any) -> Any:
        for call in waiting:
            call()
        return count(*given)

    mirror.mirror = lambda *given, **more: waiting.append(partial(copy, *given, **more)) or 0
    restoring._count = last


KILLS = (
    Plant("claim removed before the commit", unlink_before_commit),
    Plant("receipt before the commit", receipt_before_commit, calls=("unlink",)),
    Plant("commit before the seal", commit_before_seal, calls=("rename",)),
    Plant("claims put back after their ending", claims_put_back, calls=("rename",)),
    Plant("receipts written in place", receipt_in_place, calls=("write",)),
    Plant("head before entry", head_before_entry, "ledger", ("write",)),
    Plant("keys destroyed before the journal", keys_before_journal, "forget", ("fdatasync",)),
    Plant("forgetting without its mark", forget_without_mark, "forget", ("rename",)),
    Plant("master key before the shelf", master_first, "rotate", ("rename", "link")),
    Plant("old keys dropped before the new wrapping", finish_before_rewrap, "rotate", ("rename", "syncfs")),
    Plant("data keys written in place", key_in_place, "rotate", ("write",)),
    Plant("pointer in two steps", pointer_in_two_steps, "swap", ("symlink",)),
    Plant("a retry's row before its claim", row_before_claim, "retry", ("rename",)),
    Plant("the old backup removed before the new one", backup_made_anew, "backup", ("mkdir", "rename")),
    Plant("a restore's database before its blobs", database_before_blobs, "restore", ("rename", "mkdir")),
)
