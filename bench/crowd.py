"""A crowd: three writers fill the inbox, beside a watch that loses most of its events; nobody may be lost or doubled.

The part "crowd" of bench/ingest.py. A third of the files is renamed in, a third written in two parts (some with a pause
that is longer than the settling time), a third comes in nested folders.
"""

from __future__ import annotations

import multiprocessing
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.hints import watch
from daemon.home import Home
from daemon.ingest import Ingest
from daemon.state import Database

WRITERS = 3
QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")
_PATIENCE = 1800.0


def crowd(home: Home, database: Database, count: int, seed: int) -> dict[str, Any]:
    """Files from three writers until the last receipt.

    "Looks" are listings of the inbox. A file that was there before a look is found by it or, if it must settle, by the
    next one; none waits for an event.
    """
    with _tiny_queue() as queue:
        share = count // WRITERS
        context = multiprocessing.get_context("fork")
        inbox = home.settings.inbox_dir
        writers = [context.Process(target=_write, args=(inbox, number, share, seed)) for number in range(WRITERS)]
        wake = threading.Event()
        observer = watch(home.settings, wake)
        ingest = Ingest(home, database)
        ingest.start()
        begun = time.perf_counter()
        for writer in writers:
            writer.start()
        looks = []
        while any(writer.is_alive() for writer in writers):
            looks.append(_look(home, ingest, wake))
        written, while_writing = time.perf_counter() - begun, len(looks)
        while time.perf_counter() - begun < _PATIENCE and _count(database, "1") < share * WRITERS:
            looks.append(_look(home, ingest, wake))
        claimed, until_claimed = time.perf_counter() - begun, len(looks)
        while _count(database, "state = 'claimed' OR receipt_pending = 1"):
            looks.append(_look(home, ingest, wake))
        ended = time.perf_counter() - begun
        ingest.stop(time.monotonic() + 10)
        if observer is not None:
            observer.stop()
        return {
            "files": share * WRITERS,
            "inotify queue": queue,
            "rescan every (s)": home.settings.ingest.rescan_seconds,
            "seconds to write": written,
            "looks meanwhile": while_writing,
            "from the last write to all claimed (s)": claimed - written,
            "looks for that": until_claimed - while_writing,
            "longest look (s)": max(looks),
            "seconds to the last receipt": ended,
            "receipts/s": share * WRITERS / ended,
            "wrong": _wrong(home, database, share * WRITERS),
        }


def _count(database: Database, condition: str) -> int:
    row = database.row(f"SELECT COUNT(*) FROM documents WHERE {condition}")
    return 0 if row is None else int(row[0])


def _look(home: Home, ingest: Ingest, wake: threading.Event) -> float:
    """One turn of the service's loop; how long it took."""
    begun = time.perf_counter()
    ingest.tick()
    taken = time.perf_counter() - begun
    settings = home.settings.ingest
    if wake.wait(settings.settle_seconds / 2 if ingest.inbox.busy() else settings.rescan_seconds):
        wake.clear()
        time.sleep(0.05)
    return taken


def _write(inbox: Path, number: int, count: int, seed: int) -> None:
    """One writer: a third is renamed in, a third is copied in two parts, a third comes in nested folders."""
    rng = random.Random(f"{seed} {number}")
    for n in range(count):
        name, data = f"w{number}-{n}.png", f"{number} {n} ".encode() + rng.randbytes(300)
        if n % 3 == 0:
            part = inbox / f"{name}.part"
            part.write_bytes(data)
            part.rename(inbox / name)
        elif n % 3 == 1:
            with (inbox / name).open("wb") as file:
                file.write(data[:100])
                if n % 300 == 1:
                    file.flush()
                    time.sleep(0.7)  # longer than the settling time
                file.write(data[100:])
        else:
            folder = inbox / f"source {n % 40}" / f"deep {number}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def _wrong(home: Home, database: Database, count: int) -> int:
    """Files that have not exactly one document, ended, with one receipt of its own, and all of its bytes sealed."""
    rows = database.rows("SELECT id, state, name_digest FROM documents WHERE state != 'withdrawn'")
    by_name = Counter(row["name_digest"] for row in rows)
    names = [home.name_digest(f"w{w}-{n}.png") for w in range(WRITERS) for n in range(count // WRITERS)]
    wrong = sum(by_name[name] != 1 for name in names) + max(0, len(rows) - count)
    wrong += sum(row["state"] != "done" for row in rows)
    receipts = {path.stem for path in home.settings.outbox_dir.glob("*.json")}
    wrong += len(receipts.symmetric_difference(row["id"] for row in rows))
    wrong += len(list(home.settings.claimed_dir.iterdir()))
    sealed = random.Random(1).sample(rows, min(500, len(rows)))
    return wrong + sum(len(home.originals.get(row["id"], "original")) < 300 for row in sealed)


@contextmanager
def _tiny_queue(events: int = 16) -> Iterator[str]:
    """The kernel's queue of events, made tiny where that is allowed."""
    before = QUEUED_EVENTS.read_text()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the queue is the machine's: it must not stay tiny
    try:
        QUEUED_EVENTS.write_text(str(events))
    except OSError as error:
        yield f"{before.strip()} events (not made smaller: {error.strerror})"
        return
    try:
        yield f"{events} events"
    finally:
        QUEUED_EVENTS.write_text(before)
