"""Rounds, from the service's side: who is in, what it costs, what came of it.

The round itself runs in a process of its own (`daemon.round`), which holds no key and asks for what
it needs. This side answers: it unseals the snapshot, refuses or debits, judges the evidence, and puts
a version that passed into service. A debit is on disk in the ledger before the answer goes out, so no
noise is drawn that was not paid for; a crash wastes what was paid and hides nothing.
"""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from daemon import cgroups, claims, judging, offering, opening, start, trouble, workers
from daemon.budget import Budget
from daemon.errors import DiskRefused, Interrupted, OcrdError, Refused, WorkerDied
from daemon.home import Home
from daemon.offering import Beginning
from daemon.records import Rounds
from daemon.serving import Serving
from daemon.state import Database
from learners.replay import Pool
from models import evidence
from privacy.accountant import RoundEvent
from privacy.chain import Entry
from privacy.errors import BudgetExhausted
from privacy.ledger import Ledger, verify

log = logging.getLogger("ocrd.learning")
T = TypeVar("T")

ROUND_LIMITS = workers.Limits(memory=-1, open_files=1024)
SILENCE_SECONDS = 1800.0
"""A round's process says something at least this often, or it is taken for hung."""
PROGRESS_KEY = "progress"
NOBODY = "no unit is left that may take part: drop documents, or wait for new ones"
BREAK_OFF_SECONDS = 10.0


class Learning:
    """At most one round at a time, in a thread that talks to the round's process."""

    def __init__(self, home: Home, database: Database, groups: cgroups.Subtree | None = None) -> None:
        self._home, self._database, self._groups = home, database, groups
        self._rounds = Rounds(database)
        interrupted = self._rounds.interrupt_running(time.time())
        self._ledger = Ledger(home.settings.ledger_path, home.signing)
        try:
            self._budget = Budget(home, database, self._ledger)
            self._serving = Serving(home, self._ledger)
        except BaseException:
            self._ledger.close()
            raise
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._worker: workers.Worker | None = None
        self._stopping = threading.Event()
        self._broken_off = self._told = ""
        self.evict: Callable[[float], Any] = lambda now: None
        """Called with the time a round began, before its snapshot: eviction follows the same public rule in it."""
        if interrupted:
            log.warning("a round was interrupted; what it was charged stays charged")

    def start(self, cause: str) -> int:
        """Begins a round; returns its number.

        Raises:
            Refused: one is running.
        """
        with self._lock:
            if self.running():
                raise Refused("a round is running; `ocrd status` shows it")
            self._broken_off, self._worker = "", None
            number = self._rounds.begin(cause, time.time())
            self._told = "starting"
            self._database.set(PROGRESS_KEY, self._told)
            self._thread = threading.Thread(target=self._run, args=(number,), daemon=True, name="round")
            self._thread.start()
        log.info("round %d has begun (%s)", number, cause)
        return number

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    def settle(self) -> None:
        """Finishes a roll-out that the disk broke off, unless a round is at it."""
        self.between_rounds(self._serving.settle)

    @contextmanager
    def paused(self, reason: str) -> Iterator[int | None]:
        """No round runs inside; one that does is broken off, and stays charged. Yields its number, if there was one.

        A round's process holds the lines of its documents in memory, and what it makes would have learned from them.
        """
        with self._lock:
            if running := self.running():
                self._broken_off = reason
                if self._worker is not None:
                    self._worker.close()
                self._thread.join(BREAK_OFF_SECONDS)  # type: ignore[union-attr]
            row = self._database.row("SELECT MAX(id) AS id FROM rounds") if running else None
            yield None if row is None else int(row["id"])

    def between_rounds(self, work: Callable[[], Any]) -> None:
        """Does some work now, if no round runs, and none begins meanwhile; else leaves it."""
        with self._lock:
            if not self.running():
                work()

    def rollback(self) -> str:
        """Puts the version before the present one into service; returns it. Raises Refused if there is none."""
        return self._serving.roll_back(lambda version: self._rounds.replace_live("rolled back", version))

    def stop(self) -> None:
        """Ends a running round's process; the round counts as interrupted and stays charged."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.close()
        if self._thread is not None:
            self._thread.join(2.0)
        self._ledger.close()

    def _run(self, number: int) -> None:
        scratch = self._home.settings.models_dir / f".round-{number}.part"
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(mode=0o700)
            self._converse(number, scratch)
        except (Refused, BudgetExhausted) as error:
            self._end(number, "refused", reason=str(error))
        except (Interrupted, WorkerDied) as error:
            self._end(number, "interrupted", reason=self._broken_off or str(error))
        except OcrdError as error:
            self._end(number, "failed", reason=str(error))
        except (OSError, sqlite3.OperationalError) as error:
            self._end(number, "failed", reason=trouble.explain(error, self._home.settings.home))
        except Exception as error:
            self._end(number, "failed", reason=workers.where(error))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            if self._worker is not None:
                self._worker.close()

    def _end(self, number: int, state: str, **columns: str | None) -> None:
        with suppress(DiskRefused):  # the service stops: the next start says that it was interrupted
            self._when_possible(lambda: self._rounds.end(number, state, time.time(), **columns))
        reason = columns.get("reason")
        log.info("round %d: %s%s", number, state, f": {reason}" if reason else "")

    def _converse(self, number: int, scratch: Path) -> None:
        """The child asks, this side answers, until the evidence is there."""
        began = time.time()
        last = self._settled()
        self.evict(began)
        train, holdout = self._budget.snapshot(Pool.TRAIN, last), self._budget.snapshot(Pool.HOLDOUT, last)
        if not train.members and not holdout.members:
            raise Refused(NOBODY)
        current = self._serving.live  # before all that is read of it: what goes into service meanwhile ends the round
        begins = self._begins(scratch, len(holdout.members))
        if begins.start:
            train = replace(train, present=())  # it learns from nobody, so it is shown nobody
        elif not train.members:
            raise Refused(NOBODY)
        self._worker = self._round_process(scratch)
        with opening.composed(self._home, self._budget, train, holdout, last, self._go_on) as (header, files):
            ask = self._ask({**header, "round": number, "scratch": str(scratch), **begins.header()}, files)
        plan: dict[str, Any] = {}
        debits: dict[str, Entry] = {}
        while True:
            answer: dict[str, Any] = {}
            match ask["ask"]:
                case "progress":
                    self._tell(ask["text"])
                case "refuse":
                    raise Refused(ask["reason"])
                case "debit":
                    purpose, event = ask["purpose"], RoundEvent(**ask["event"])
                    pool = train if purpose == "round" else holdout
                    plan = ask.get("plan", plan)
                    entry = self._budget.charge(number, purpose, pool.members, event, **ask["epsilons"])
                    debits[purpose] = entry
                    answer = {"entry": asdict(entry), "public": self._home.signing.public.hex()}
                case "offer":
                    if begins.start is None:
                        raise RuntimeError("Expected no offer: the public start is not due.")
                    plan, attempt = ask["plan"], 1 + self._budget.tries()
                    name, digest = begins.start.stem, plan["public_start"]
                    debits[offering.OFFER] = offering.offer(self._ledger, number, name, digest, attempt)
                case "evidence":
                    break
                case other:
                    raise RuntimeError(f"Expected a known ask from the round's process, got {other!r}.")
            ask = self._ask(answer)
        self._decide(number, scratch, current, plan, debits, ask)

    def _go_on(self) -> None:
        """Raises Interrupted if the round was broken off."""
        if self._broken_off:
            raise Interrupted(self._broken_off)

    def _tell(self, text: str) -> None:
        """For `ocrd status`. A process that says the same again is alive, and nothing is written."""
        if text != self._told:
            self._when_possible(lambda: self._database.set(PROGRESS_KEY, text))
            self._told = text

    def _ask(self, answer: dict[str, Any], files: Sequence[int] = ()) -> dict[str, Any]:
        """What the round's process wants next."""
        with self._worker.call(answer, files, SILENCE_SECONDS) as reply:  # type: ignore[union-attr]
            return reply.header

    def _begins(self, scratch: Path, looks: int) -> Beginning:
        """Where a round begins; the start that it offers is made if it is not there. Raises as `beginning` does."""
        settings, learning = self._home.settings, self._home.settings.learning
        kept = start.path(settings.weights_dir, learning.charset, learning.closed)
        wanted = learning.public_start and start.replaces(settings.weights_dir, settings.models_dir / "current")
        look, attempt, tolerance = self._budget.gate_event, 1 + self._budget.tries(), settings.gates.holdout_tolerance
        begins = offering.beginning(self._ledger.entries, kept, wanted, looks, look, attempt, tolerance)
        if begins.start and not start.sound(begins.start):
            self._make(begins.start, scratch)
        return begins

    def _make(self, kept: Path, scratch: Path) -> None:
        def tell(done: int) -> None:
            self._tell(f"making the public start, once, an hour or two: {done} trainings done")

        settings, learning = self._home.settings, self._home.settings.learning
        self._worker = start.worker(settings.weights_dir, scratch, settings.sandbox, self._limit, learning.device)
        self._go_on()
        start.make(self._worker, learning.charset, learning.closed, scratch, kept, tell=tell)

    def _round_process(self, scratch: Path) -> workers.Worker:
        settings = self._home.settings
        folders = {"weights": str(settings.weights_dir), "model": str((settings.models_dir / "current").resolve())}
        told = {**folders, "scratch": str(scratch)}
        return workers.Worker(
            "daemon.round", told, ROUND_LIMITS, recycle_after=None, policy=settings.sandbox, started=self._limit
        )

    def _limit(self, pid: int) -> None:
        if self._groups is not None:
            self._groups.move(pid, cgroups.ROUND)

    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _decide(
        self,
        number: int,
        scratch: Path,
        current: str,
        plan: dict[str, Any],
        debits: dict[str, Entry],
        found: dict[str, Any],
    ) -> None:
        if self._serving.live != current:
            raise Interrupted("another model went into service while the round ran; it was compared with the old one")
        claim = claims.compose(self._home, self._ledger, self._budget, debits, plan, scratch)
        version = self._when_possible(lambda: self._serving.add(scratch, claim))
        verified = verify(self._ledger.path, self._home.signing.public).ok
        cost = evidence.Privacy(self._budget.worst(), self._home.settings.learning.epsilon, verified)
        report = judging.judge(
            self._home.settings, version, current, found["evidence"], self._budget.tries(), number, cost
        )
        columns = {"plan": json.dumps(plan), "report": json.dumps(report.as_dict()), "version": version}
        live = self._when_possible(lambda: self._serving.decide(report))
        if live:
            self._when_possible(lambda: self._rounds.replace_live("superseded"))
        self._end(number, "live" if live else "rejected", reason=report.reason, **columns)

    def _when_possible(self, work: Callable[[], T]) -> T:
        """A candidate that is paid for is not given up because the disk is full."""
        return trouble.patiently(work, self._home.settings.home, self._stopping, log)

    def _settled(self) -> int:
        """The last slot there is now, once every document up to it has ended.

        Who takes part must not depend on how long a document takes, so the round waits for them all; that
        it began later is timing, which the claim leaves out.
        """
        row = self._database.row("SELECT MAX(slot) AS last FROM documents")
        last = -1 if row is None or row["last"] is None else int(row["last"])
        waiting = "SELECT COUNT(*) AS n FROM documents WHERE state = 'claimed' AND slot <= ?"
        while (found := self._database.row(waiting, last)) is not None and found["n"]:
            if self._stopping.wait(0.5):
                raise Interrupted("the service stopped")
            self._go_on()
            self._tell("waiting for documents that came before the round")
        return last
