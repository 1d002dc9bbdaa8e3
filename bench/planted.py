"""Faults that the harnesses must see: each is put into a process before its work, and into nothing else."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from daemon import database, receipts, restoring, retry, schema, taking, trouble
from daemon.erasure import Erasure
from daemon.errors import BadFile
from daemon.home import open_home
from daemon.ingest import Ingest
from daemon.pipeline import Pipeline
from daemon.serving import Serving
from daemon.state import Documents
from daemon.taking import Claims
from privacy import files, group, mirror, rotation, sealing
from privacy.errors import LedgerBroken
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


def synchronous_normal() -> None:
    """SQLite commits without a sync: kill -9 can't show it."""

    def normal(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    database.durable = schema.durable = normal


def _without_fsync(kind: Callable[[int], bool]) -> None:
    fsync = os.fsync
    os.fsync = lambda fd: None if kind(os.fstat(fd).st_mode) else fsync(fd)  # type: ignore[assignment]


def no_file_fsync() -> None:
    _without_fsync(stat.S_ISREG)


def no_directory_fsync() -> None:
    _without_fsync(stat.S_ISDIR)


def no_file_system_sync() -> None:
    """Where many files are written at once, nothing syncs them."""
    files.sync_file_system = lambda path, since=None: None


def rename_before_fsync() -> None:
    """The name is there before the content: a journal that is written in between has an empty file under it."""

    @contextmanager
    def replace(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
        with files._temporary(path, mode) as (file, temporary):
            yield file
            file.flush()
            temporary.replace(path)
            os.fsync(file.fileno())
            files.sync_dir(path.parent)

    rename = group.rename_written

    def renamed(groups: Iterable[Group]) -> set[Path]:
        each = list(groups)
        paths = [path for one in each for _, path in one.written]
        folders = rename(each)
        group.sync(paths)
        return folders

    files.replace, group.rename_written, group.sync_written = replace, renamed, lambda groups: None


CUTS = (
    Plant("synchronous=NORMAL", synchronous_normal),
    Plant("no fsync of files", no_file_fsync),
    Plant("no fsync of directories", no_directory_fsync),
    Plant("no sync of many files at once", no_file_system_sync),
    Plant("claim removed before the commit", unlink_before_commit),
    Plant("rename before fsync", rename_before_fsync),
)


def disk_blamed_on_the_document() -> None:
    """What the machine refuses goes to `failed/`, as if the document were bad."""
    end_of = Pipeline._end_of

    def ended(self: Pipeline, claim: taking.Claim, sealed: Any) -> Any:
        try:
            return end_of(self, claim, sealed)
        except OSError as error:
            self._read = _refusing(error)  # type: ignore[method-assign]
            return end_of(self, claim, sealed)

    Pipeline._end_of = ended  # type: ignore[method-assign]


def _refusing(error: OSError) -> Callable[..., Any]:
    def read(*_: Any) -> Any:
        raise BadFile(str(error.strerror))

    return read


def seal_given_up() -> None:
    """An error while the sealed files are put in place is passed over: the ending is committed all the same."""
    seal = sealing.commit

    def committed(shelf: Any, sealings: Any) -> None:
        with suppress(OSError):
            seal(shelf, sealings)

    sealing.commit = committed


def taken_in_vain() -> None:
    """What was taken before the rename that failed stays where it is."""
    Claims._give_back = lambda self, folder: None  # type: ignore[method-assign]


def slots_out_of_order() -> None:
    """Claims that the database refused their slots get them in another order."""
    admit = Ingest._admit

    def admitted(self: Ingest, claims: Sequence[taking.Claim]) -> bool:
        done = admit(self, claims)
        self._slotless.reverse()
        return done

    Ingest._admit = admitted  # type: ignore[method-assign]


def ledger_given_up() -> None:
    """After one failed append the ledger takes no other."""

    def settle(self: Ledger) -> None:
        if not self._usable:
            raise LedgerBroken("an append failed")

    Ledger._settle = settle  # type: ignore[method-assign]


def another_step_back() -> None:
    """A roll-back that is tried again begins anew: it goes back another version."""
    roll_back = Serving.roll_back

    def again(self: Serving, *given: Any) -> str:
        self._begun = None
        return roll_back(self, *given)

    Serving.roll_back = again  # type: ignore[method-assign]


def forgotten_already() -> None:
    """A forgetting that the disk broke off is called done when it is asked for again, and is not gone on with."""
    Erasure.finish = lambda self: 0  # type: ignore[method-assign]


def says_nothing() -> None:
    """The message of a command is the error's name alone."""
    trouble.explain = lambda error, home: type(error).__name__


FAULTS = (
    Plant("the disk's trouble blamed on the document", disk_blamed_on_the_document, calls=("openat", "write")),
    Plant("an error of sealing passed over", seal_given_up, calls=("rename",)),
    Plant("labels taken in vain not put back", taken_in_vain, calls=("renameat",)),
    Plant("slots in another order after a refusal", slots_out_of_order, calls=("pwrite64",)),
    Plant("no entry after a failed append", ledger_given_up, "ledger", ("fsync",)),
    Plant("a roll-back tried again goes back twice", another_step_back, "swap", ("fsync",)),
    Plant("a forgetting broken off is not gone on with", forgotten_already, "forget", ("rename",), command=True),
    Plant("a message without where and what to do", says_nothing, "rotate", ("fsync",), command=True),
)
