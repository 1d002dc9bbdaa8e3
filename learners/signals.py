"""What documents agree on at the released model, adapter by adapter: measured once, by `bench/signals.py --record`.

A plan measures the adapters that it may take. The others' gradients would cost it some minutes, for numbers that change
with the release alone, so they are kept in `signals.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from learners.lines import TrainDocument
from models.trainee import Trainee

PATH = Path(__file__).with_name("signals.json")


def recorded(model: Trainee, charset: str, closed: bool, rank: int) -> Mapping[str, float]:
    """The norm of the mean clipped gradient, by adapter; nothing of another model or of settings not measured."""
    kept = json.loads(PATH.read_text())
    if kept["model"] != model_digest(model):
        return {}
    found: Mapping[str, float] = kept["signals"].get(key(charset, closed, rank), {})
    return found


def key(charset: str, closed: bool, rank: int) -> str:
    return f"{charset} {'closed' if closed else 'open'} {rank}"


def model_digest(model: Trainee) -> str:
    """SHA-256 (hex) of every parameter."""
    digest = hashlib.sha256()
    for name, value in sorted(model.weights().items()):
        digest.update(f"{name} {value.shape}\0".encode() + value.tobytes())
    return digest.hexdigest()


def documents_digest(documents: Sequence[TrainDocument]) -> str:
    """SHA-256 (hex) of what the documents say and of their lines' widths."""
    lines = ((line.text, line.image.shape[1]) for each in documents for line in each.lines)
    return hashlib.sha256(json.dumps(list(lines)).encode()).hexdigest()
