"""The whole inbox as a state machine: the real modules with a no-op reader, beside a model of what must come of it.

The model knows the files that were dropped and not withdrawn, and which of them are still in the inbox. Whatever
happens in between, at rest each of the others has exactly one document that has ended, and that one receipt; nothing
else has one; its bytes are sealed; of equal contents one teaches; every label file is
sealed with exactly one document. A crash stops the disk at a drawn change of it (`sealed.CHANGES`, and the begin and
end of each transaction): from there on nothing is written, as after SIGKILL, and the next start has what there is.
"""

from __future__ import annotations

import itertools
import json
import os
import types
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon import erasure, pipeline
from daemon import ingest as ingest_module
from daemon.errors import BadFile, Refused
from daemon.home import open_home
from daemon.ingest import Ingest
from daemon.operations import Operations
from daemon.pipeline import ORIGINAL_BLOB, SIDECAR_BLOB, Pipeline
from daemon.readers import Read
from daemon.state import Database
from privacy import files
from privacy.ledger import Ledger
from sealed import CHANGES, Kill, in_memory, state_folder

SETTINGS = """\
[ingest]
settle_seconds = 2.0
sidecar_wait_seconds = 50.0
min_free_bytes = 0
min_free_files = 0
[learning]
capacity = 16
"""
PATHS = ("a.png", "b.png", "ward 1/a.png", "ward 1/deep/c.png", "ward 2/a.png")
KINDS = ("good", "good", "good", "bad", "doubtful", "flaky")
CUT_SHORT = ("look", "work", "look_and_work", "forget", "retry")
ANY = st.integers(0, 11)
"""Which of those there are, counted round."""
ENDS = {"good": {"done", "duplicate"}, "bad": {"failed"}, "doubtful": {"quarantined"}}
HEADER = {
    "verdict": "done", "pages": 1, "lines": 1, "taught": 1, "labelled": True, "removed": {"name": 1},
    "confidence": 0.9, "brightness": 0.5, "contrast": 0.5,
}  # fmt: skip


@dataclass(eq=False)
class Drop:
    """A file that was dropped: its whole content, and, while it is being written, what is still to come."""

    content: bytes
    writer: object = None
    rest: bytes = b""

    @property
    def kind(self) -> str:
        return self.content.split()[0].decode()


class InboxMachine(RuleBasedStateMachine):
    """Rules are what users, operators and power do; `rest` is where the model is asked."""

    weights: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = in_memory()
        self.home = state_folder(self.folder.__enter__() / "home", self.weights, SETTINGS)
        self.inbox = self.home.settings.inbox_dir
        self.now, self.mended, self.labels = 1000.0, False, itertools.count()
        self.there: dict[str, Drop] = {}
        """What lies in the inbox, by path: images and label files."""
        self.taken: list[tuple[str, Drop]] = []
        """What was taken out of it; each owes a receipt, or lies with a document that does."""
        self.known: dict[str, tuple[tuple[bytes, bytes], list[bytes]]] = {}
        """Of documents before a forgetting: whose they are, and the labels sealed with them."""
        self.undo = self._patched()
        self._start()

    # Users

    @rule(path=st.sampled_from(PATHS), kind=st.sampled_from(KINDS), number=st.integers(0, 2))
    def drop(self, path: str, kind: str, number: int) -> None:
        """Renamed in, complete; what lies there under that name is replaced."""
        self._put(path, Drop(f"{kind} {number}".encode()))

    @rule(path=st.sampled_from(PATHS), number=st.integers(0, 2), behind=st.booleans())
    def write_slowly(self, path: str, number: int, behind: bool) -> None:
        """The first half, under the final name or a passing one; the rest comes some time."""
        path = f"{path}.part" if behind else path
        if path not in self.there:
            content = f"good slow {number}".encode()
            writer = self._at(path).open("wb", buffering=0)
            writer.write(content[:7])
            self.there[path] = Drop(content, writer, content[7:])

    @rule(which=ANY, early=st.booleans())
    def write_on(self, which: int, early: bool) -> None:
        """A slow writer ends; one under a passing name may rename its file before it does."""
        paths = [path for path, drop in self.there.items() if drop.writer]
        slow = [drop for _, drop in self.taken if drop.writer] + [self.there[path] for path in paths]
        if slow:
            drop = slow[which % len(slow)]
            path = next((p for p in paths if self.there[p] is drop), None)
            if path is not None and path.endswith(".part"):
                if early and self._rename(path, path.removesuffix(".part")):
                    return
                self._finish(drop)
                self._rename(path, path.removesuffix(".part"))
            else:
                self._finish(drop)

    @rule(path=st.sampled_from(PATHS))
    def drop_labels(self, path: str) -> None:
        """Before its image, after it, or without one."""
        self._put(str(Path(path).with_suffix(".txt")), Drop(f"labels {next(self.labels)}".encode()))

    @rule(which=ANY, path=st.sampled_from(PATHS))
    def rename(self, which: int, path: str) -> None:
        found = [p for p in self.there if p.endswith(".png")]
        if found:
            self._rename(found[which % len(found)], path)

    @rule(which=ANY)
    def withdraw(self, which: int) -> None:
        if self.there:
            path = sorted(self.there)[which % len(self.there)]
            drop = self.there.pop(path)
            (self.inbox / path).unlink()
            if drop.writer:
                drop.writer.close()

    # The service

    @rule(seconds=st.sampled_from((0.5, 2.0, 60.0)), looks=st.integers(1, 2))
    def look(self, seconds: float, looks: int = 1) -> None:
        for _ in range(looks):
            self.now += seconds
            self.ingest.tick()
            self._see()

    @rule()
    def look_and_work(self) -> None:
        """What is there settles, is claimed, and processed."""
        self.look(2.0, 2)
        self.work(True)

    @rule(together=st.booleans())
    def work(self, together: bool) -> None:
        """Processes what waits: together, or each by itself."""
        ingest_module.GROUP_MOST = 64 if together else 1
        one = self.ingest._pipelines[0]
        while not self.ingest._queue.empty():
            self.ingest._end(one, self.ingest._prepared(one))

    @rule()
    def restart(self) -> None:
        self._stop()
        self._start()

    @rule(
        which=ANY, after=st.integers(0, 60), what=st.sampled_from(("look", "work", "look_and_work", "forget", "retry"))
    )
    def crash(self, which: int, after: int, what: str) -> None:
        """The machine stops at a change of the disk, or between two rules."""
        arguments = {"look": (2.0, 2), "work": (True,), "look_and_work": (), "forget": (which,), "retry": ()}[what]
        with self._dying(after):
            getattr(self, what)(*arguments)
        self._stop()
        self._start()

    # The operator

    @rule(which=ANY)
    def forget(self, which: int) -> None:
        """A document that has ended, with all copies of its content."""
        rows = self._rows("state NOT IN ('claimed', 'withdrawn', 'forgotten') AND receipt_pending = 0")
        if rows:
            row = rows[which % len(rows)]
            self.known |= {each["id"]: (_key_of(each), self._labels_of(each["id"])) for each in rows}
            try:
                self.operations.forget([row["id"]])
            except Refused:  # a copy is still being processed
                return

    @precondition(lambda self: not self.mended)
    @rule()
    def mend(self) -> None:
        """The reason for which flaky files fail is gone."""
        self.mended = True

    @rule()
    def retry(self) -> None:
        self.operations.retry(all=True)

    # The model

    @invariant()
    def nothing_is_doubled(self) -> None:
        receipts = {path.stem for path in self.home.settings.outbox_dir.glob("*.json")}
        rows = {row["id"]: row for row in self._rows("state != 'withdrawn'")}
        assert receipts <= rows.keys(), "a receipt without a document"
        assert not any(rows[id]["state"] == "forgotten" and not rows[id]["erasing"] for id in receipts), (
            "a receipt of a forgotten document"
        )
        assert len([row for row in rows.values() if row["digest"] is not None]) <= len(self.taken), "made up"

    def rest(self) -> None:
        """Everything comes to its end; then exactly what the model says is there."""
        for drop in [*self.there.values(), *(drop for _, drop in self.taken)]:
            self._finish(drop)
        for path in [path for path in self.there if path.endswith(".part")]:
            self._rename(path, path.removesuffix(".part"))
        for _ in range(8):
            self.look(61.0)
            self.work(True)
        assert {p for p in self.there if not p.endswith(".part")} == set(), "left in the inbox"
        self._check()

    def _check(self) -> None:
        rows = self._rows("state NOT IN ('withdrawn', 'forgotten')")
        assert all(row["state"] != "claimed" and not row["receipt_pending"] for row in rows), "not ended"
        receipts = {p.stem: json.loads(p.read_text()) for p in self.home.settings.outbox_dir.glob("*.json")}
        assert {row["id"]: row["state"] for row in rows} == {id: r["state"] for id, r in receipts.items()}, "receipts"
        assert list(self.home.settings.claimed_dir.iterdir()) == [], "left among the claims"
        self._check_images([row for row in rows if row["digest"] is not None])
        self._check_labels(rows)

    def _check_images(self, rows: list) -> None:
        home, gone = self.home, Counter(key for key, _ in self._gone() if key[1] is not None)
        wanted = Counter(_key(home, path, drop.content) for path, drop in self.taken if drop.kind != "labels")
        assert Counter(map(_key_of, rows)) + gone == wanted, "a file has not exactly one document"
        contents = {home.digests.digest("content", drop.content): drop for _, drop in self.taken}
        teaching: dict[bytes, int] = {}
        for row in rows:
            drop = contents[row["digest"]]
            assert row["state"] in ENDS.get(drop.kind, {"done", "duplicate", "failed"}), drop.kind
            if row["state"] in ("done", "duplicate"):
                teaching[row["digest"]] = teaching.get(row["digest"], 0) + (row["taught"] or 0)
            vault = {"done": home.originals, "failed": home.failed, "quarantined": home.quarantine}.get(row["state"])
            if vault is not None:
                assert vault.get(row["id"], ORIGINAL_BLOB) == drop.content, "not the whole file"
            if row["state"] == "duplicate" and home.failed.exists(row["id"]):
                assert home.failed.get(row["id"], ORIGINAL_BLOB) == b"", "the original of a copy is kept"
            if row["state"] == "done":
                assert home.vault.get(row["id"], "page-1.png") == drop.content, "not the whole page"
        assert set(teaching.values()) <= {1}, "of equal contents one teaches"

    def _check_labels(self, rows: list) -> None:
        sealed = Counter(label for row in rows for label in self._labels_of(row["id"]))
        gone = Counter(label for _, labels in self._gone() for label in labels)
        wanted = Counter(drop.content for _, drop in self.taken if drop.kind == "labels")
        assert sealed + gone == wanted, "labels were lost, or are there twice"

    def _gone(self) -> list:
        """What the model knew of the documents that are forgotten."""
        return [self.known[row["id"]] for row in self._rows("state = 'forgotten'")]

    def _labels_of(self, document: str) -> list[bytes]:
        vaults = (vault for vault in self.home.vaults if vault.exists(document))
        return [vault.get(document, SIDECAR_BLOB) for vault in vaults if SIDECAR_BLOB in vault.names(document)]

    # Underneath

    def _start(self) -> None:
        self.home = open_home(self.home.settings.home)
        self.database = Database(self.home.settings.database_path)
        self.book = Ledger(self.home.settings.ledger_path, self.home.signing)
        self.ingest = Ingest(self.home, self.database)
        self.operations = Operations(self.home, self.database, self.book, readmit=self.ingest.readmit)
        self.operations.start()
        self.ingest._recover()
        self._see()

    def _stop(self) -> None:
        self.book.close()
        self.database.close()

    def _see(self) -> None:
        """What is not in the inbox any more was taken; labels that were put back are there again."""
        found = {p.relative_to(self.inbox).as_posix() for p in self.inbox.rglob("*") if p.is_file()}
        for path in [path for path in self.there if path not in found]:
            self.taken.append((path, self.there.pop(path)))
        for path in found - self.there.keys():
            content = (self.inbox / path).read_bytes()
            back = next(each for each in self.taken if each[1].content == content and each[1].kind == "labels")
            self.taken.remove(back)
            self.there[path] = back[1]

    def _rows(self, condition: str) -> list:
        return self.database.rows(f"SELECT * FROM documents WHERE {condition} ORDER BY slot")

    def _at(self, path: str) -> Path:
        target = self.inbox / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _put(self, path: str, drop: Drop) -> None:
        part = self._at(path).with_name(".dropped")
        part.write_bytes(drop.content)
        part.replace(self.inbox / path)
        before = self.there.get(path)
        if before is not None and before.writer:
            before.writer.close()
        self.there[path] = drop

    def _rename(self, path: str, target: str) -> bool:
        if target in self.there:
            return False
        (self.inbox / path).rename(self._at(target))
        self.there[target] = self.there.pop(path)
        return True

    @staticmethod
    def _finish(drop: Drop) -> None:
        if drop.writer:
            drop.writer.write(drop.rest)
            drop.writer.close()
            drop.writer = None

    def _read(self, content: bytes) -> Read:
        kind = content.split()[0]
        if kind == b"bad" or (kind == b"flaky" and not self.mended):
            raise BadFile("is not an image")
        if kind == b"doubtful":
            return Read({"verdict": "quarantined", "reason": "a doubt", "pages": 1}, {})
        return Read(HEADER, {"text": b"[]", "lines": content, "page-1.png": content})

    @contextmanager
    def _dying(self, after: int):
        changes = [*((os, name) for name in CHANGES), (files, "move_new")]
        left, real = [after], {(module, name): getattr(module, name) for module, name in changes}

        def step() -> None:
            if left[0] == 0:
                raise Kill
            left[0] -= 1

        def guarded(call):
            def change(*arguments, **more):
                step()
                return call(*arguments, **more)

            return change

        transaction = Database.transaction

        @contextmanager
        def committing(database):
            step()
            with transaction(database) as db:
                yield db
                step()
            step()

        try:
            for (module, name), call in real.items():
                setattr(module, name, guarded(call))
            Database.transaction = committing
            yield
        except Kill:
            pass
        finally:
            for (module, name), call in real.items():
                setattr(module, name, call)
            Database.transaction = transaction

    def _patched(self):
        """A no-op reader, and a clock of our own for the looks at the inbox."""
        real = Pipeline._read, ingest_module.time, ingest_module.GROUP_MOST
        busy, erasure.BUSY_SECONDS = erasure.BUSY_SECONDS, 0.0
        Pipeline._read = lambda _, claim, data, sidecar: self._read(data)
        clock = types.SimpleNamespace(monotonic=lambda: self.now, time=pipeline.time.time)
        ingest_module.time = clock

        def undo() -> None:
            Pipeline._read, ingest_module.time, ingest_module.GROUP_MOST = real
            erasure.BUSY_SECONDS = busy

        return undo

    def teardown(self) -> None:
        try:
            self.rest()
        finally:
            self._stop()
            self.undo()
            self.folder.__exit__(None, None, None)


def _key(home, path: str, content: bytes) -> tuple[bytes, bytes]:
    return home.name_digest(path.rpartition("/")[2]), home.digests.digest("content", content)


def _key_of(row) -> tuple[bytes, bytes]:
    return row["name_digest"], row["digest"]
