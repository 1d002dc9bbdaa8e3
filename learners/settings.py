"""What a configuration says of learning: public numbers, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from learners.adapters import CHARSETS
from learners.lines import MAX_LINES
from learners.recipes import RECIPES


@dataclass(frozen=True)
class Settings:
    """The public numbers that a configuration may set."""

    capacity: int = 256
    epsilon_lifetime: float = 8.0
    delta: float = 1e-6
    rounds_per_document: int = 4
    charset: str = "latin"
    closed: bool = False
    adapter: str = "auto"
    rank: int = 64
    lines: int = MAX_LINES
    """Of a document, at most."""
    public_start: bool = False
    memory: int | None = None
    """Bytes that a round may take, if that is limited."""

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.rounds_per_document < 1 or not 1 <= self.lines <= MAX_LINES:
            raise ValueError(f"Expected capacity, rounds_per_document >= 1 and lines in 1..{MAX_LINES}, got {self}.")
        if not (self.epsilon_lifetime > 0 and 0 < self.delta < 1 and 1 <= self.rank <= 120):
            raise ValueError(f"Expected epsilon_lifetime > 0, delta in (0, 1), rank in 1..120, got {self}.")
        if self.adapter != "auto" and self.adapter not in RECIPES:
            raise ValueError(f"Expected adapter auto, {', '.join(RECIPES)}, got {self.adapter!r}.")

    @property
    def characters(self) -> str:
        """The public set of characters that learn: a named set, or the characters themselves."""
        return CHARSETS.get(self.charset, self.charset)
