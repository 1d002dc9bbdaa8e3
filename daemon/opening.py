"""What a round's process is told and handed: public numbers, and the unsealed lines of both pools in memory files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from daemon.budget import Budget
from daemon.home import Home
from daemon.pipeline import LINES_BLOB
from learners import replay
from learners.replay import Pool
from privacy.errors import NotSealed, SealBroken

log = logging.getLogger("ocrd.learning")


def compose(
    home: Home, budget: Budget, train: replay.Snapshot, holdout: replay.Snapshot, last: int
) -> tuple[dict[str, Any], list[bytes | int]]:
    """The first message to the process: its header, and one blob a pool with the units' lines end to end."""
    settings = home.settings
    blobs: list[bytes | int] = []
    header: dict[str, Any] = {
        "weights": str(settings.weights_dir),
        "model": str((settings.models_dir / "current").resolve(strict=True)),
        "learning": settings.learning.model_dump(),
        "gates": settings.gates.model_dump(),
        "members": train.members,
        "holdout_members": len(holdout.members),
        "gate_event": budget.gate_event.to_body(),
        "attempt": 1 + budget.tries(),
    }
    for pool, snapshot in ((Pool.TRAIN, train), (Pool.HOLDOUT, holdout)):
        index, parts, offset = [], [], 0
        for unit, part in _lines(home, budget, pool, snapshot, last):
            index.append((unit, offset, len(part)))
            parts.append(part)
            offset += len(part)
        header[str(pool)] = index
        blobs.append(b"".join(parts))
    return header, blobs


def _lines(home: Home, budget: Budget, pool: Pool, snapshot: replay.Snapshot, last: int) -> Iterator[tuple[int, bytes]]:
    """Each unit with the unsealed lines of one of its documents, as often as it has documents."""
    for unit, ids in budget.documents(pool, last, snapshot.present).items():
        for id in replay.spread(ids, replay.MAX_DOCUMENTS):
            try:
                yield unit, home.vault.get(id, LINES_BLOB)
            except (SealBroken, NotSealed) as error:  # an empty slot, as for any document that teaches nothing
                log.error("document %s teaches nothing: %s", id, error)
