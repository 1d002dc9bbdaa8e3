"""Journeys through the daemon's state, each to be broken off anywhere: how it begins, what is done, what must hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import backups
import found
import parts
import retries
import sealed
from daemon.home import open_home
from daemon.serving import Serving
from daemon.state import Database
from driving import Try, candidate, drain, opened, promote, put, taken
from injecting import Tell
from parts import Verdict
from privacy.ledger import Ledger


def _nothing(path: Path) -> None: ...


@dataclass(frozen=True)
class Journey:
    """One journey.

    Attributes:
        prepare: makes a fresh state folder ready; what it returns `check` is given.
        work: is broken off; tells of each effect after the call has returned. Each step goes through `trying`.
        check: after the restart, with what was told and whether the work came to its end.
        first: what the operator does before a start, if the work was broken off.
        command: the same work as `ocrd` does it, after --home; told of when it ends with 0. None: there is none.
    """

    name: str
    prepare: Callable[[Path], Any]
    work: Callable[[Path, Tell, Try], None]
    check: Callable[[Path, Any, tuple[str, ...], bool], Verdict]
    first: Callable[[Path], object] = _nothing
    command: Callable[[Path], list[str]] | None = None
    tells: tuple[str, ...] = ()


FILES = {
    "ward/a.png": b"page a",
    "ward/a.json": b"labels of a",
    "b.png": b"page b" * 30_000,
    "ward/copy.png": b"page a",
    "ward/copy.txt": b"labels of the copy",
    "c.png": b"bad",
    "d.png": b"doubtful",
    "e.txt": b"labels without an image",
    "f.png": b"page f",
    "ward/deep/g.png": b"page g",
    "ward/h.png": b"bad as well",
    "i.png": b"page i",
}
STATES = {
    "ward/a.png": "done",
    "b.png": "done",
    "ward/copy.png": "duplicate",
    "c.png": "failed",
    "d.png": "quarantined",
    "e.txt": "failed",
    "f.png": "done",
    "ward/deep/g.png": "done",
    "ward/h.png": "failed",
    "i.png": "done",
}
COPIES = ("ward/a.png", "ward/copy.png")


def _prepare_ingest(path: Path) -> None:
    for number, (name, content) in enumerate(FILES.items()):
        put(path / "inbox", name, content, age=100 - number)


def _ingest(path: Path, tell: Tell, trying: Try) -> None:
    def serve() -> None:
        with opened(path) as state:
            drain(state.home, state.database, tell)

    trying(serve)


def check_ingest(path: Path, _: Any, told: tuple[str, ...], ended: bool, in_order: bool = True) -> Verdict:
    """Without `in_order` a copy may have been taken before what it would else be a copy of."""
    states = STATES if in_order else {**STATES, **found.first_of(path, COPIES)}
    expected = {name: (state, FILES[name]) for name, state in states.items()}
    sidecars = {"ward/a.png": b"labels of a", "ward/copy.png": b"labels of the copy", "e.txt": FILES["e.txt"]}
    return found.receipts_of(path, expected, sidecars, told) + found.rest(path)


PUTS = {"text": b"the new text", "page-1.png": b"new page" * 20_000, "lines": b"new lines", "audit": b"{}"}


def _seal(path: Path, tell: Tell, trying: Try) -> None:
    home = trying(lambda: open_home(path))
    ids = trying(home.vault.ids)
    for document in ids:
        for name, data in PUTS.items():
            trying(partial(home.vault.put, document, name, data))
            tell(f"{document} {name}")
    for slot, document in enumerate(ids):
        trying(partial(home.quarantine.create, document, slot))
        trying(partial(home.quarantine.put, document, "name", b"a name"))
        tell(f"{document} kept")


def _check_seal(path: Path, _: Any, told: tuple[str, ...], ended: bool) -> Verdict:
    home, verdict = open_home(path), Verdict()
    for vault in (home.vault, home.quarantine):  # a start sweeps what was being processed, and these have ended
        vault.sweep(folder.name for folder in vault.root.iterdir())
    for n in range(2):
        document, old = f"{n:016x}", f"ward {n}-/scan {n}-.png"
        before = {
            "text": json.dumps([[f"text of {old}"]]).encode(),
            "page-1.png": b"page of pixels of " + old.encode(),
            "lines": b"lines of pixels of " + old.encode(),
        }
        for name, data in PUTS.items():
            allowed = {data} if f"{document} {name}" in told else {data, before.get(name)}
            verdict += parts.blob(home.vault, document, name, allowed)
        kept = {b"a name"} if f"{document} kept" in told else {b"a name", None}
        verdict += parts.blob(home.quarantine, document, "name", kept)
    return verdict + found.rest(path, own_vaults=False)


def _prepare_forget(path: Path) -> Any:
    """Two documents and a copy of the first."""
    home = open_home(path)
    ids = taken(path)
    database = Database(home.settings.database_path)
    try:
        same = b"pixels of ward 0-/scan 0-.png"
        ids.append(sealed.take(home, database, f"{2:016x}", "duplicate", "ward 2-/scan 2-.png", content=same))
        wanted = {}
        for n in (0, 2):
            needles = sealed.needles(home, ids[n], f"ward {n}-/scan {n}-.png", same)
            wanted |= {f"{name} of {n}": needle for name, needle in needles.items()}
    finally:
        database.close()
    return ids, wanted


def _forget(path: Path, tell: Tell, trying: Try) -> None:
    with ExitStack() as stack:
        state = trying(lambda: stack.enter_context(opened(path)))

        def forget() -> None:
            state.operations.start()
            state.operations.forget([f"{0:016x}"])

        trying(forget)
        tell("forgotten")


def _check_forget(path: Path, prepared: Any, told: tuple[str, ...], ended: bool) -> Verdict:
    ids, wanted = prepared
    return found.forgotten(path, [ids[0], ids[2]], wanted, "forgotten" in told) + found.rest(path)


def _rotate(path: Path, tell: Tell, trying: Try) -> None:
    with ExitStack() as stack:
        state = trying(lambda: stack.enter_context(opened(path)))
        trying(state.operations.rotate)
        tell(f"generation {state.home.shelf.generation}")


def _prepare_rotate(path: Path) -> Any:
    ids = taken(path, 3)
    home = open_home(path)
    return ids, home.name_digest("scan.png"), (home.settings.keys_dir / "master.key").read_bytes()


def _check_rotate(path: Path, prepared: Any, told: tuple[str, ...], ended: bool) -> Verdict:
    ids, digest, old = prepared
    return found.rotated(path, ids, digest, old, bool(told)) + found.rest(path)


ENTRIES = 4


def _prepare_ledger(path: Path) -> None:
    """A ledger with a few entries and a torn line, as a crash leaves one."""
    home = open_home(path)
    with Ledger(home.settings.ledger_path, home.signing) as ledger:
        Serving(home, ledger)
    with home.settings.ledger_path.open("ab") as file:
        file.write(b'{"seq": 1, "ti')


def _append(path: Path, tell: Tell, trying: Try) -> None:
    home = trying(lambda: open_home(path))
    with trying(lambda: Ledger(home.settings.ledger_path, home.signing)) as ledger:
        for number in range(ENTRIES):

            def append(number: int = number) -> None:
                if not any(e.kind == "point" and e.body["number"] == number for e in ledger.entries):
                    ledger.append("point", {"number": number})

            trying(append)
            tell(str(number))


def _check_ledger(path: Path, _: Any, told: tuple[str, ...], ended: bool) -> Verdict:
    return found.appended(path, [int(each) for each in told], ENTRIES) + found.rest(path)


def _prepare_swap(path: Path) -> str:
    for text in CANDIDATES:
        candidate(path, text)
    home = open_home(path)
    with Ledger(home.settings.ledger_path, home.signing) as ledger:
        return Serving(home, ledger).live


def _swap(path: Path, tell: Tell, trying: Try) -> None:
    with ExitStack() as stack:
        state = trying(lambda: stack.enter_context(opened(path)))
        for attempt, text in enumerate(CANDIDATES, 1):
            tell(promote(state, path / "run" / text, attempt, trying))
        tell(trying(state.serving.roll_back))


CANDIDATES = ("second", "third")


def _check_swap(path: Path, first: str, told: tuple[str, ...], ended: bool) -> Verdict:
    return found.served(path, first, told) + found.rest(path)


JOURNEYS = {
    journey.name: journey
    for journey in (
        Journey("ingest", _prepare_ingest, _ingest, check_ingest),
        Journey("seal", taken, _seal, _check_seal),
        Journey(
            "forget",
            _prepare_forget,
            _forget,
            _check_forget,
            command=lambda home: ["forget", f"{0:016x}", "--yes"],
            tells=("forgotten",),
        ),
        Journey(
            "rotate",
            _prepare_rotate,
            _rotate,
            _check_rotate,
            command=lambda home: ["key", "rotate"],
            tells=("generation 1",),
        ),
        Journey("ledger", _prepare_ledger, _append, _check_ledger),
        Journey("swap", _prepare_swap, _swap, _check_swap),
        Journey(
            "retry",
            retries.prepare,
            retries.work,
            retries.check,
            command=lambda home: ["retry", "--all"],
            tells=("taken",),
        ),
        Journey(
            "backup",
            backups.prepare_backup,
            backups.make,
            backups.check_backup,
            command=lambda home: ["backup", str(backups.beside(home))],
            tells=("made",),
        ),
        Journey(
            "restore",
            backups.prepare_restore,
            backups.restore,
            backups.check_restore,
            backups.restore_again,
            command=lambda home: ["restore", str(backups.beside(home))],
            tells=("restored",),
        ),
    )
}
