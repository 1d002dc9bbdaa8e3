"""What can go wrong while learning. No message carries a document's content."""

from __future__ import annotations

from collections.abc import Sequence


class BadLabel(ValueError):
    """A label sidecar that cannot be read."""

    def __init__(self, row: int, came: str, expected: str) -> None:
        super().__init__(f"Row {row}: expected {expected}, got {came}.")
        self.row = row


class TooFewDocuments(RuntimeError):
    """A round that noise would drown: nothing was spent. `needed` is None where no number would do."""

    def __init__(self, present: int, needed: int | None, considered: Sequence[str] = ()) -> None:
        self.present, self.needed = present, needed
        self.missing = None if needed is None else needed - present
        asked = "more documents than can be said" if needed is None else f"{needed} documents"
        super().__init__(
            f"A round needs {asked} with unspent budget and there are {present}"
            + (f": {self.missing} are missing" if self.missing else "")
            + ". Nothing was spent. "
            + "; ".join(considered)
        )


class NoDevice(RuntimeError):
    """A card was asked for that can't be used."""

    def __init__(self, why: str) -> None:
        super().__init__(f'Expected an NVIDIA card, as learning.device = "cuda" asks for, but {why}.')


class MissingGlyph(ValueError):
    """Public text that a face cannot draw."""


class FontUnavailable(RuntimeError):
    """A typeface whose pinned package is missing or holds other bytes."""
