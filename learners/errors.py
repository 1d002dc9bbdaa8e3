"""What can go wrong while learning. No message carries a document's content."""

from __future__ import annotations


class BadLabel(ValueError):
    """A label sidecar that cannot be read."""

    def __init__(self, row: int, came: str, expected: str) -> None:
        super().__init__(f"Row {row}: expected {expected}, got {came}.")
        self.row = row


class TooFewDocuments(RuntimeError):
    """A round that noise would drown: nothing was spent."""

    def __init__(self, present: int, needed: int) -> None:
        super().__init__(
            f"A round needs {needed} documents with unspent budget and there are {present}: "
            f"{needed - present} are missing. Nothing was spent."
        )
        self.present, self.needed, self.missing = present, needed, needed - present


class MissingGlyph(ValueError):
    """Public text that a face cannot draw."""


class FontUnavailable(RuntimeError):
    """A typeface whose pinned package is missing or holds other bytes."""
