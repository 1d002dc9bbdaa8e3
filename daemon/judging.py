"""What a round's process found of its candidate, before the gates."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from daemon.config import Settings
from models import evidence, gates

T = TypeVar("T")


def judge(
    settings: Settings,
    version: str,
    current: str,
    found: dict[str, Any],
    attempt: int,
    number: int,
    privacy: evidence.Privacy,
) -> gates.GateReport:
    """The gates' answers of round `number`; what the process did not bring stays None, and None never passes."""
    shown = evidence.Evidence(
        candidate=version,
        current=current,
        attempt=attempt,
        rapidocr=_made(evidence.Parity, found.get("rapidocr")),
        paddle=_made(evidence.Parity, found.get("paddle")),
        anchor=tuple(evidence.AnchorDocument(**row) for row in found.get("anchor") or ()) or None,
        latency=_latency(found.get("latency")),
        holdout=_made(evidence.Holdout, found.get("holdout")),
        privacy=privacy,
    )
    chosen = settings.gates
    limits = gates.Limits(
        anchor_documents=chosen.anchor_documents,
        cer_margin=chosen.anchor_margin,
        latency_ratio=chosen.latency_ratio,
        holdout_tolerance=chosen.holdout_tolerance,
    )
    return gates.judge(shown, limits, np.random.default_rng(number))


def _made(kind: type[T], values: dict[str, Any] | None) -> T | None:
    return None if values is None else kind(**values)


def _latency(values: dict[str, list[float]] | None) -> evidence.Latency | None:
    return None if values is None else evidence.Latency(tuple(values["current"]), tuple(values["candidate"]))
