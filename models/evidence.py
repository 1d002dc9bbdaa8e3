"""What is known of a candidate when it is judged. Numbers only: no text, no name, no path.

Everything is measured on public documents, except `Holdout`: its look at private ones was charged and noised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Parity:
    """The exported file read through its own runtime, against the model that was trained, on the same lines.

    `max_difference` is the largest difference of a class probability; None where only texts were compared.
    """

    lines: int
    identical: int
    max_difference: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.identical <= self.lines:
            raise ValueError(f"Expected 0 <= identical={self.identical} <= lines={self.lines}.")


@dataclass(frozen=True)
class AnchorDocument:
    """One public document, read by both models: true characters, edits, lines, exact lines."""

    characters: int
    edits_current: int
    edits_candidate: int
    lines: int
    exact_current: int
    exact_candidate: int

    def __post_init__(self) -> None:
        if self.characters < 1 or self.lines < 1 or min(self.edits_current, self.edits_candidate) < 0:
            raise ValueError(f"Expected characters and lines >= 1 and edits >= 0, got {self}.")
        if not (0 <= self.exact_current <= self.lines and 0 <= self.exact_candidate <= self.lines):
            raise ValueError(f"Expected 0 <= exact <= lines, got {self}.")


@dataclass(frozen=True)
class Latency:
    """Seconds for the same work, timed in turn in one run: `current[i]` and `candidate[i]` are neighbours."""

    current: tuple[float, ...]
    candidate: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.current) != len(self.candidate):
            raise ValueError(f"Expected pairs, got {len(self.current)} and {len(self.candidate)} times.")
        if not all(0 < seconds < math.inf for seconds in (*self.current, *self.candidate)):
            raise ValueError("Expected every time to be positive and finite.")


GAIN_BOUND = 0.5
"""What one hold-out unit's gain in exact lines counts at most, either way: half the bound is half the noise, and few
documents gain or lose more than half of their lines."""


@dataclass(frozen=True)
class Holdout:
    """The mean, over public `slots`, of each document's clipped gain, plus Gaussian noise.

    `noise_std` is the standard deviation of the noise on that mean. `charged` says that the look is in the
    ledger: an unpaid look at private documents must not decide anything.
    """

    gain: float
    noise_std: float
    slots: int
    charged: bool


@dataclass(frozen=True)
class Privacy:
    """The lifetime epsilon of the unit that spent most, this round included; whether the ledger verifies."""

    worst_epsilon: float
    cap: float
    ledger_verified: bool


@dataclass(frozen=True)
class Evidence:
    """All that is known of a candidate; None where nothing is. `attempt` counts every look ever, from 1."""

    candidate: str
    current: str
    attempt: int
    rapidocr: Parity | None = None
    paddle: Parity | None = None
    anchor: tuple[AnchorDocument, ...] | None = None
    latency: Latency | None = None
    holdout: Holdout | None = None
    privacy: Privacy | None = None

    def __post_init__(self) -> None:
        if self.attempt < 1:
            raise ValueError(f"Expected attempt={self.attempt} >= 1.")
