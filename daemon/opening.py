"""What a round's process is told and handed: public numbers, and the unsealed lines of both pools in memory files."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from daemon import cgroups, wire
from daemon.budget import Budget
from daemon.home import Home
from daemon.pipeline import LINES_BLOB
from learners import replay
from learners.replay import Pool
from privacy.errors import NotSealed, SealBroken

log = logging.getLogger("ocrd.learning")


@contextmanager
def composed(
    home: Home,
    budget: Budget,
    train: replay.Snapshot,
    holdout: replay.Snapshot,
    last: int,
    go_on: Callable[[], None] = lambda: None,
) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """The first message to the process: its header, and one memory file a pool with the units' lines end to end.

    This side holds one document's lines at a time, and the files until the end of the block. `go_on` is asked before
    each document is unsealed, and ends it all by what it raises.
    """
    settings = home.settings
    files: list[int] = []
    header: dict[str, Any] = {
        "weights": str(settings.weights_dir),
        "model": str((settings.models_dir / "current").resolve(strict=True)),
        "learning": settings.learning.model_dump(),
        "gates": settings.gates.model_dump(),
        "members": train.members,
        "holdout_members": len(holdout.members),
        "gate_event": budget.gate_event.to_body(),
        "attempt": 1 + budget.tries(),
        "memory": cgroups.memory_of_a_round(settings.learning.memory_share),
    }
    try:
        for pool, snapshot in ((Pool.TRAIN, train), (Pool.HOLDOUT, holdout)):
            index: list[tuple[int, int, int]] = []
            header[str(pool)] = index
            files.append(wire.memfd_of(indexed(_lines(home, budget, pool, snapshot, last, go_on), index)))
        yield header, files
    finally:
        for file in files:
            os.close(file)


def indexed(lines: Iterator[tuple[int, bytes]], index: list[tuple[int, int, int]]) -> Iterator[bytes]:
    """The lines alone; `index` gets each one's unit, offset and size."""
    offset = 0
    for unit, part in lines:
        index.append((unit, offset, len(part)))
        offset += len(part)
        yield part


def _lines(
    home: Home, budget: Budget, pool: Pool, snapshot: replay.Snapshot, last: int, go_on: Callable[[], None]
) -> Iterator[tuple[int, bytes]]:
    """Each unit with the unsealed lines of one of its documents, as often as it has documents."""
    for unit, ids in budget.documents(pool, last, snapshot.present).items():
        for id in replay.spread(ids, replay.MAX_DOCUMENTS):
            go_on()
            try:
                yield unit, home.vault.get(id, LINES_BLOB)
            except (SealBroken, NotSealed) as error:  # an empty slot, as for any document that teaches nothing
                log.error("document %s teaches nothing: %s", id, error)
