"""The writer of bench/power_cuts.py: it changes a state folder for ever, tells of each effect, and can be frozen."""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import random
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon import retry
from driving import candidate, drain, opened, promote, put
from privacy import syncfs

PAGES = 16
STEPS = ("fsync", "rename", "replace", "unlink", "rmdir", "link", "mkdir", "pwrite", "ftruncate")
WAIT = 120.0

Told = tuple[str, ...]


class Writer:
    """A process that changes the state for ever, and can be frozen at a chosen moment."""

    def __init__(self, home: Path, seed: int, plant: Callable[[], None] | None = None) -> None:
        self._shared = mmap.mmap(-1, 8)
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            try:
                if plant is not None:
                    plant()
                _Writing(home, self._shared, theirs, seed).run()
            except BaseException as error:
                theirs.sendall(_packed(("error", f"{type(error).__name__}: {error}")))
            os._exit(3)
        theirs.close()
        self._sock, self._data = ours, b""
        self.told: list[Told] = []

    def freeze(self, moment: str, chance: random.Random) -> None:
        """Lets it run, and stops it at a moment of this kind."""
        steps, tells = chance.randint(1, 90), chance.randint(1, 6)
        plan = {"before a step": (steps, 0), "after telling": (0, tells)}.get(moment, (0, 0))
        self._shared[:] = struct.pack("ii", *plan)
        os.kill(self.pid, signal.SIGCONT)
        if moment == "at any time":
            self._read(time.monotonic() + chance.uniform(0.0, 0.4))
            os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + WAIT
        while os.waitpid(self.pid, os.WUNTRACED | os.WNOHANG) == (0, 0):
            self._read(time.monotonic() + 0.002)
            if time.monotonic() > deadline:
                raise TimeoutError("the writer does not come to a stop")
        self._read(0.0)

    def _read(self, until: float) -> None:
        """Takes what was told, for so long, and at least what is there."""
        while True:
            left = until - time.monotonic()
            self._sock.settimeout(max(left, 0.0))
            try:
                part = self._sock.recv(65536)
            except (TimeoutError, BlockingIOError):
                break
            if not part:
                break
            self._data += part
        while len(self._data) >= 4 and len(self._data) >= 4 + (size := int.from_bytes(self._data[:4], "big")):
            told = pickle.loads(self._data[4 : 4 + size])
            self._data = self._data[4 + size :]
            if told[0] == "error":
                raise RuntimeError(f"the writer failed by itself: {told[1]}")
            self.told.append(told)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._sock.close()


def _packed(told: Told) -> bytes:
    data = pickle.dumps(told)
    return len(data).to_bytes(4, "big") + data


class _Writing:
    """The writer's side."""

    def __init__(self, home: Path, shared: mmap.mmap, sock: socket.socket, seed: int) -> None:
        self._home, self._shared, self._sock = home, shared, sock
        self._chance = random.Random(seed)
        for name in STEPS:
            setattr(os, name, self._stepping(getattr(os, name)))

    def _stepping(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*given: Any, **more: Any) -> Any:
            self._count(0)
            return call(*given, **more)

        return stepped

    def _count(self, which: int) -> None:
        """Freezes this process if it was asked to stop at this step (0) or telling (1)."""
        left = list(struct.unpack("ii", self._shared[:]))
        if left[which] > 0:
            left[which] -= 1
            self._shared[:] = struct.pack("ii", *left)
            if left[which] == 0:
                signal.raise_signal(signal.SIGSTOP)

    def tell(self, *told: str) -> None:
        self._sock.sendall(_packed(told))
        self._count(1)

    def run(self) -> None:
        signal.raise_signal(signal.SIGSTOP)
        with opened(self._home) as state:
            # SQLite then writes over its log from the start, as it does anyhow after 1,000 pages: such a commit does
            # not take unsynced names along
            state.database._connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES}")
            forgets, number = self._chance.random() < 0.5, 0
            while True:
                self._take_in(state, number)
                state.ledger.append("point", {"number": number})
                self.tell("entry", str(number))
                if forgets and number % 2:
                    self._forget(state)
                if number % 3 == 2:
                    folder = candidate(self._home, f"model {number}")
                    self.tell("serves", promote(state, folder, number))
                    if self._chance.random() < 0.5:
                        self.tell("serves", state.serving.roll_back())
                if number % 5 == 4:
                    state.operations.rotate()
                    self.tell("generation", str(state.home.shelf.generation))
                number += 1

    def _take_in(self, state: Any, number: int) -> None:
        kind = self._chance.choice(("page", "page", "page", "bad", "bad", "doubt"))
        names = [(f"scan-{number}-.png", f"{kind} {number} ".encode() * self._chance.choice((1, 1, 9000)))]
        if kind == "page" and self._chance.random() < 0.3:
            names.append((f"copy-{number}-.png", names[0][1]))
        for age, (name, content) in enumerate(names):
            put(state.home.settings.inbox_dir, name, content, age=-float(number * 10 + age))
            syncfs.sync_file_system(state.home.settings.inbox_dir)
            ending = {"page": "done", "bad": "failed", "doubt": "quarantined"}[kind]
            self.tell("dropped", name, "duplicate" if age else ending, content.decode())
        drain(state.home, state.database, lambda text: self.tell("ended", *text.split()))
        for document in retry.failed(state.database)[-1:]:
            state.operations.retry([document])
            self.tell("retried", document)
            drain(state.home, state.database, lambda text: self.tell("ended", *text.split()))

    def _forget(self, state: Any) -> None:
        """One of the documents that lie there, and its copies."""
        rows = state.database.rows("SELECT id FROM documents WHERE state IN ('done', 'failed') ORDER BY slot")
        if not rows:
            return
        chosen = self._chance.choice(rows)["id"]
        self.tell("forgets", chosen)
        state.operations.forget([chosen])
        self.tell("forgotten", chosen)
