"""What documents agree on at the released model, adapter by adapter: measured once, by `bench/signals.py --record`.

A plan measures the adapters that it may take. The others' gradients would cost it some minutes for numbers that change
with the release and with this code alone, so they are kept in `signals.json`; tests/test_signals.py sees that they
still hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learners.catalogue import PUBLIC_DOCUMENTS
from learners.lines import TrainDocument
from models.trainee import Trainee

PATH = Path(__file__).with_name("signals.json")
SAMPLE = 20
"""Public documents whose signal is recorded beside that of all, to be measured again by tests."""


def recorded(model: Trainee, charset: str, closed: bool, rank: int) -> Mapping[str, float]:
    """The norm of the mean clipped gradient, by adapter; nothing of another model or of settings not measured."""
    kept = json.loads(PATH.read_text())
    if kept["model"] != model_digest(model):
        return {}
    found: Mapping[str, float] = kept[str(PUBLIC_DOCUMENTS)]["signals"].get(key(charset, closed, rank), {})
    return found


def record(model: Trainee, documents: Sequence[TrainDocument], found: Mapping[str, Mapping[str, float]]) -> None:
    """Keeps what so many documents agree on, by `key` and adapter, beside other counts of this model."""
    kept: dict[str, Any] = json.loads(PATH.read_text()) if PATH.exists() else {}
    if kept.get("model") != (digest := model_digest(model)):
        kept = {"model": digest}
    kept[str(len(documents))] = {**about(documents), "signals": found}
    PATH.write_text(json.dumps(kept, indent=1) + "\n")


def key(charset: str, closed: bool, rank: int) -> str:
    return f"{charset} {'closed' if closed else 'open'} {rank}"


def about(documents: Sequence[TrainDocument]) -> dict[str, Any]:
    """SHA-256 (hex) of what the documents say and of their lines' widths; and the mean of their pixels, `[0, 255]`."""
    lines = [line for each in documents for line in each.lines]
    said = json.dumps([(line.text, line.image.shape[1]) for line in lines])
    pixel = float(np.mean([line.image.mean() for line in lines]))
    return {"documents": hashlib.sha256(said.encode()).hexdigest(), "pixel": round(pixel, 3)}


def model_digest(model: Trainee) -> str:
    """SHA-256 (hex) of every parameter."""
    digest = hashlib.sha256()
    for name, value in sorted(model.weights().items()):
        digest.update(f"{name} {value.shape}\0".encode() + value.tobytes())
    return digest.hexdigest()
